//! The query of a URI, taken parameter by parameter: one that nobody asked for is refused.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use axum::{extract::FromRequestParts, http::request::Parts};
use contracts::FieldError;

use crate::{extract::invalid_parameter, problem::Rejection};

/// The parameters of a query, percent-decoded. A handler takes those that it knows and
/// [ends](Query::end) it before it does anything.
pub struct Query(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let query = parts.uri.query().unwrap_or_default();
        let parameters = form_urlencoded::parse(query.as_bytes());
        Ok(Self(parameters.into_owned().collect()))
    }
}

impl Query {
    /// The parameter of this name, if it was sent.
    ///
    /// # Errors
    ///
    /// 400 `invalid_` and its name, where it breaks the rule of its type.
    pub fn take<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, Rejection> {
        let Some(at) = self.0.iter().position(|(known, _)| known == name) else {
            return Ok(None);
        };
        let (_, text) = self.0.swap_remove(at);
        let value = text
            .parse()
            .map_err(|rule| invalid_parameter(name, &rule))?;
        Ok(Some(value))
    }

    /// The whole number of this name, if it was sent.
    ///
    /// # Errors
    ///
    /// 400 `invalid_` and its name, where it is none or out of bounds.
    pub fn number(
        &mut self,
        name: &str,
        bounds: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Rejection> {
        let Some(text) = self.take::<String>(name)? else {
            return Ok(None);
        };
        // A number's own parser would take a sign.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|it| digits && bounds.contains(it));
        let (least, most) = bounds.into_inner();
        let rule = format_args!("is a whole number from {least} to {most}");
        number
            .map(Some)
            .ok_or_else(|| invalid_parameter(name, &rule))
    }

    /// Refuses what was not taken, without an echo.
    ///
    /// # Errors
    ///
    /// 400 `unknown_parameter`.
    pub fn end(self) -> Result<(), Rejection> {
        if self.0.is_empty() {
            return Ok(());
        }
        let detail = "A parameter of the query is unknown or sent twice; see /openapi.json.";
        Err(Rejection::invalid(vec![FieldError {
            pointer: None,
            parameter: None,
            code: "unknown_parameter".into(),
            detail: detail.into(),
        }]))
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        extract::FromRequestParts,
        http::Request,
        response::{IntoResponse, Response},
    };
    use contracts::RegistrationNumber;

    use super::Query;
    use crate::problem::Rejection;

    /// What a handler takes that knows a plate and a limit.
    async fn taken(query: &str) -> Result<(Option<String>, Option<u64>), Rejection> {
        let request = Request::get(format!("/x{query}")).body(()).unwrap();
        let mut query = Query::from_request_parts(&mut request.into_parts().0, &()).await?;
        let plate = query.take::<RegistrationNumber>("after")?;
        let limit = query.number("limit", 1..=500)?;
        query.end()?;
        Ok((plate.map(|it| it.as_str().to_owned()), limit))
    }

    #[tokio::test]
    async fn parameters_are_taken_by_name_and_what_is_left_is_refused() {
        assert_eq!(taken("").await.unwrap(), (None, None));
        let both = taken("?limit=500&after=%C3%A5-c+1").await.unwrap();
        assert_eq!(both, (Some("ÅC1".to_owned()), Some(500)));
        for query in [
            "?limit=0",
            "?limit=501",
            "?limit=%2B5",
            "?limit=",
            "?limit=99999999999999999999999",
            "?after=%00",
            "?Limit=5",
            "?limit=5&limit=5",
            "?x",
            "?199001011234=1",
        ] {
            let refused: Response = taken(query).await.unwrap_err().into_response();
            assert_eq!(refused.status(), 400, "{query}");
        }
    }
}
