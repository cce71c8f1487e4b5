//! What a key opens: a key that is known is still refused where it lacks the route's scope.

/// What a key may do. No scope implies another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Looks things up. It also learns that a path is no route.
    Read,
    /// Changes things.
    Write,
    /// Operates the service, and sets what holds for everybody.
    Admin,
    /// Follows all events, and copies all that they are about.
    Feed,
    /// Asks who changed what, and for proofs of it.
    Audit,
    /// The lookups that were there before the scopes above, and nothing new.
    Api,
    /// The control of the guard, which was there before the scopes above, and nothing new.
    Operations,
}

const ALL: [Scope; 7] = [
    Scope::Read,
    Scope::Write,
    Scope::Admin,
    Scope::Feed,
    Scope::Audit,
    Scope::Api,
    Scope::Operations,
];

impl Scope {
    /// Those that a token may have.
    pub(crate) const OF_TOKENS: [Self; 5] = [
        Self::Read,
        Self::Write,
        Self::Admin,
        Self::Feed,
        Self::Audit,
    ];

    /// Name of its security scheme: two, so that Swagger UI takes an operator's key beside another.
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Admin | Self::Operations => "operationsKey",
            _ => "apiKey",
        }
    }

    /// What its security scheme says.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Admin | Self::Operations => "An operator's key, with the scope `admin`",
            _ => "A key with the scopes of the operations to call, such as `read`",
        }
    }

    /// The scope of this name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        ALL.into_iter().find(|scope| scope.name() == name)
    }

    /// Its name in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
            Self::Feed => "feed",
            Self::Audit => "audit",
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
        Scope::of_name(name).ok_or_else(|| format!("`{name}` is none of {}", known()))
    };
    names.iter().map(scope).collect()
}

#[cfg(test)]
mod tests {
    use ::settings::parse;
    use access_tokens::ScopeSettings;

    use super::Scope;

    #[test]
    fn a_token_may_have_each_of_its_scopes() {
        let scopes: ScopeSettings = parse("tokens.scopes", "").unwrap();
        for own in Scope::OF_TOKENS {
            assert_eq!(scopes.name_of(own.name()), Some(own.name()));
        }
    }
}
