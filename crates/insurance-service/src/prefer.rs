use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    http::{HeaderName, HeaderValue, request::Parts},
};

/// `Preference-Applied`.
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// The preference that is honoured.
pub(crate) const HANDLING_STRICT: HeaderValue = HeaderValue::from_static("handling=strict");

/// Whether the caller asks for all or nothing: `Prefer: handling=strict` (RFC 7240, section 4.4).
/// Other preferences are ignored, as the RFC asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strict(pub(crate) bool);

impl<S: Sync> FromRequestParts<S> for Strict {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let values = parts.headers.get_all("prefer");
        Ok(Self(
            handling(values.iter().filter_map(|value| value.to_str().ok()))
                .is_some_and(|value| value == "strict"),
        ))
    }
}

/// The value of the first `handling` preference; later ones do not count.
fn handling<'a>(values: impl Iterator<Item = &'a str>) -> Option<String> {
    values
        .flat_map(|value| value.split(','))
        .filter_map(|preference| preference.split(';').next()?.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("handling"))
        .map(|(_, value)| value.trim().trim_matches('"').to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::handling;

    #[test]
    fn the_first_handling_preference_counts() {
        for (values, expected) in [
            (vec!["handling=strict"], Some("strict")),
            (
                vec!["respond-async, Handling = \"Strict\"; x=1"],
                Some("strict"),
            ),
            (
                vec!["wait=10", "handling=lenient, handling=strict"],
                Some("lenient"),
            ),
            (vec!["strict", "handling"], None),
            (vec![], None),
        ] {
            assert_eq!(handling(values.into_iter()).as_deref(), expected);
        }
    }
}
