//! What a key opens: a key that is known is still refused where it lacks the route's scope.

/// A part of a service's routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The API, and every path that is no route.
    Api,
    /// Manual control, for the people who operate the service.
    Operations,
}

const ALL: [Scope; 2] = [Scope::Api, Scope::Operations];

impl Scope {
    /// Name of its security scheme: two, so that Swagger UI takes a key for each.
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Api => "apiKey",
            Self::Operations => "operationsKey",
        }
    }

    /// What its security scheme says.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Api => "A key with the scope `api`",
            Self::Operations => "A key with the scope `operations`, for manual control",
        }
    }

    /// Its name in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Operations => "operations",
        }
    }
}

/// The scopes of these names, or the rule that they break.
pub(crate) fn named(names: &[String]) -> Result<Vec<Scope>, String> {
    let known = || ALL.map(Scope::name).join(", ");
    if names.is_empty() {
        return Err(format!("is empty; a key has one or more of {}", known()));
    }
    let scope = |name: &String| {
        let found = ALL.into_iter().find(|scope| scope.name() == name);
        found.ok_or_else(|| format!("`{name}` is none of {}", known()))
    };
    names.iter().map(scope).collect()
}
