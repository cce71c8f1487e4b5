use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, de::IntoDeserializer};
use utoipa::ToSchema;
use validator::{Validate, ValidationError};

use crate::{UncheckedText, may_hold_personal_identity_number, wire_enum};

/// What the guard around Vehicle is doing in the process that answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VehicleGuard {
    /// Who decides whether Vehicle is called.
    pub mode: GuardMode,
    /// The isolation in force; `null` in the mode `automatic`.
    #[schema(required)]
    pub isolation: Option<GuardIsolation>,
    /// The circuit breaker. An isolation leaves it as it is.
    pub breaker: GuardBreaker,
    /// What Vehicle asked for by `Retry-After`.
    pub retry_after_gate: RetryAfterGate,
    /// Retries that could be made at once; each takes 1.
    #[schema(example = 2.5, minimum = 0)]
    pub retries_left: f64,
    /// Single calls.
    pub single: GuardCalls,
    /// Batch calls.
    pub batch: GuardCalls,
    /// What is kept of Vehicle's answers; `null` where none are kept.
    #[schema(required)]
    pub cache: Option<GuardCache>,
}

wire_enum! {
    /// Who decides whether Vehicle is called.
    pub enum GuardMode {
        /// The guard, by what it sees.
        Automatic = "automatic",
        /// An operator: no call goes out.
        Isolated = "isolated",
    }
}

/// An isolation in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuardIsolation {
    /// Why.
    #[schema(example = "planned maintenance of the register")]
    pub reason: String,
    /// Who answers for it.
    #[schema(example = "on-call team")]
    pub owner: String,
    /// Id of the API key that it came with, or `token/<subject>`.
    #[schema(example = "operations")]
    pub key_id: String,
    /// Since when no call goes out (RFC 3339, UTC), replaced orders included.
    #[schema(format = DateTime, example = "2026-01-01T12:00:00Z")]
    pub since: String,
    /// When it ends by itself (RFC 3339, UTC), by the clock as it was when the order came.
    #[schema(format = DateTime, example = "2026-01-01T12:15:00Z")]
    pub until: String,
    /// Seconds that are left of it, whatever is done to the clock.
    #[schema(example = 900, minimum = 0)]
    pub remaining_seconds: u64,
}

/// How the circuit breaker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuardBreaker {
    /// Its state.
    pub state: BreakerState,
    /// Seconds until it lets a probe through; `null` unless it is open.
    #[schema(required, minimum = 0)]
    pub retry_after_seconds: Option<u64>,
}

wire_enum! {
    /// The state of a circuit breaker.
    pub enum BreakerState {
        /// Calls go out.
        Closed = "closed",
        /// No call goes out.
        Open = "open",
        /// One call at a time goes out, to see whether Vehicle works again.
        HalfOpen = "half_open",
    }
}

/// What Vehicle asked for by `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetryAfterGate {
    /// Seconds for which nobody may call; `null` when everybody may.
    #[schema(required, minimum = 0)]
    pub closed_for_seconds: Option<u64>,
}

/// Calls of one kind, in the whole process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuardCalls {
    /// Calls in flight.
    #[schema(example = 2)]
    pub in_flight: usize,
    /// Calls that wait for their turn.
    #[schema(example = 0)]
    pub waiting: usize,
    /// Most calls in flight at once.
    #[schema(example = 5)]
    pub maximum: usize,
}

/// How full the cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuardCache {
    /// Registration numbers of which something is kept.
    #[schema(example = 1000)]
    pub entries: u64,
    /// Memory that they take, in bytes, about.
    #[schema(example = 270_000)]
    pub bytes: u64,
}

/// Changes who decides whether Vehicle is called. It is logged with its reason and its owner.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[validate(schema(function = "ends_if_isolated", skip_on_field_errors = false))]
#[schema(example = json!({
    "mode": "automatic", "reason": "the maintenance is done", "owner": "on-call team"
}))]
pub struct VehicleGuardChange {
    /// Who is to decide.
    #[serde(deserialize_with = "from_name")]
    pub mode: GuardMode,
    /// Why: 1 to 200 characters, none of them a control character, invisible or changing the
    /// direction of writing, and nothing that may hold a personal identity number.
    #[validate(custom(function = "is_reason", code = "invalid_reason"))]
    #[schema(value_type = String, min_length = 1, max_length = 200, example = "planned maintenance of the register")]
    pub reason: UncheckedText,
    /// Who answers for it: 1 to 100 characters, by the same rules.
    #[validate(custom(function = "is_owner", code = "invalid_owner"))]
    #[schema(value_type = String, min_length = 1, max_length = 100, example = "on-call team")]
    pub owner: UncheckedText,
    /// After how many seconds an isolation ends by itself: 1 to 86400. Required for `isolated`,
    /// refused for `automatic`.
    #[validate(range(
        min = 1,
        max = 86_400,
        code = "invalid_expires_in_seconds",
        message = "an isolation ends after 1 to 86400 seconds"
    ))]
    #[schema(minimum = 1, maximum = 86_400, example = 900)]
    pub expires_in_seconds: Option<u64>,
}

/// Reads an enum from its name only: serde would take `{"isolated": null}` for it as well.
pub(crate) fn from_name<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    T::deserialize(Cow::<str>::deserialize(deserializer)?.into_deserializer())
}

/// An isolation has an end, and nothing else has.
fn ends_if_isolated(change: &VehicleGuardChange) -> Result<(), ValidationError> {
    let rule = match (change.mode, change.expires_in_seconds) {
        (GuardMode::Automatic, None) | (GuardMode::Isolated, Some(_)) => return Ok(()),
        (GuardMode::Automatic, Some(_)) => "is for the mode isolated only",
        (GuardMode::Isolated, None) => "an isolation ends after 1 to 86400 seconds",
    };
    Err(ValidationError::new("invalid_expires_in_seconds").with_message(rule.into()))
}

/// Whether a text says why, or something else in so many characters.
pub(crate) fn is_reason(text: &UncheckedText) -> Result<(), ValidationError> {
    is_short(text, 200)
}

/// Whether a text says who answers for something.
pub(crate) fn is_owner(text: &UncheckedText) -> Result<(), ValidationError> {
    is_short(text, 100)
}

fn is_short(text: &UncheckedText, most: usize) -> Result<(), ValidationError> {
    if (1..=most).contains(&text.expose().chars().count()) {
        return is_loggable(text);
    }
    let rule = format!("has 1 to {most} characters, not all blank");
    Err(ValidationError::new("not_short").with_message(rule.into()))
}

/// Whether a text may be written to the log, or kept in an event.
pub(crate) fn is_loggable(text: &UncheckedText) -> Result<(), ValidationError> {
    let text = text.expose();
    let rule = if text.chars().any(|it| it.is_control() || is_unseen(it)) {
        "holds no control characters, such as line breaks, and none that is invisible or \
         changes the direction of writing"
    } else if !text.is_empty() && text.trim().is_empty() {
        "is not all blank"
    } else if may_hold_personal_identity_number(text) {
        "is kept, so it holds no 10 or 12 digits that begin with a date: they could be a \
         personal identity number"
    } else {
        return Ok(());
    };
    Err(ValidationError::new("not_loggable").with_message(rule.into()))
}

/// Whether a character shows nothing or reorders what others show, so that a log line could say
/// something else than it seems to: `Default_Ignorable_Code_Point` of Unicode 17, which has the
/// zero-width and the bidirectional ones, and the separators of lines, paragraphs and annotations.
fn is_unseen(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use validator::Validate;

    use super::VehicleGuardChange;

    /// The broken rules as `member code`.
    fn broken(json: &str) -> Vec<String> {
        let change: VehicleGuardChange = serde_json::from_str(json).unwrap();
        let Err(errors) = change.validate() else {
            return Vec::new();
        };
        let mut broken: Vec<_> = errors
            .field_errors()
            .iter()
            .flat_map(|(member, errors)| {
                errors.iter().map(move |it| format!("{member} {}", it.code))
            })
            .collect();
        broken.sort();
        broken
    }

    fn with(reason: &str, owner: &str) -> Vec<String> {
        let json = serde_json::json!({ "mode": "automatic", "reason": reason, "owner": owner });
        broken(&json.to_string())
    }

    #[test]
    fn texts_have_their_length_in_characters_and_no_control_characters() {
        assert_eq!(with("x", "y"), [""; 0]);
        assert_eq!(with(&"å".repeat(200), &"å".repeat(100)), [""; 0]);
        let both = ["owner invalid_owner", "reason invalid_reason"];
        assert_eq!(with(&"x".repeat(201), &"x".repeat(101)), both);
        for text in ["", " ", "a\nb", "a\u{7f}", "\t", "\u{85}x"] {
            assert_eq!(with(text, text), both, "{text:?}");
        }
    }

    #[test]
    fn an_isolation_has_an_end_and_nothing_else_has() {
        let of = |mode: &str, end: &str| {
            broken(&format!(
                r#"{{"mode":"{mode}","reason":"x","owner":"y"{end}}}"#
            ))
        };
        for end in ["1", "900", "86400"] {
            let end = format!(r#","expiresInSeconds":{end}"#);
            assert_eq!(of("isolated", &end), [""; 0]);
            assert_eq!(
                of("automatic", &end),
                ["__all__ invalid_expires_in_seconds"]
            );
        }
        assert_eq!(of("automatic", ""), [""; 0]);
        assert_eq!(of("isolated", ""), ["__all__ invalid_expires_in_seconds"]);
        for end in [r#","expiresInSeconds":0"#, r#","expiresInSeconds":86401"#] {
            assert_eq!(
                of("isolated", end),
                ["expires_in_seconds invalid_expires_in_seconds"]
            );
        }
    }

    #[test]
    fn texts_hold_nothing_unseen_and_no_number() {
        let both = ["owner invalid_owner", "reason invalid_reason"];
        for text in [
            // Right-to-left override, its isolate, a mark, and the Arabic one.
            "a\u{202e}b",
            "a\u{2067}b\u{2069}",
            "a\u{200f}",
            "a\u{61c}",
            // Zero-width space and joiners, word joiner, byte order mark, soft hyphen, tags.
            "a\u{200b}b",
            "a\u{200d}b",
            "a\u{2060}b",
            "\u{feff}a",
            "a\u{ad}b",
            "a\u{e0041}",
            "a\u{2028}b",
            "asked for 19900101-1234",
            "see /api/v1/insurances/19900101%2D1234",
        ] {
            assert_eq!(with(text, text), both, "{text:?}");
        }
        for text in ["übung «β» – 50 % はい", "שלום", "e\u{301}"] {
            assert_eq!(with(text, text), [""; 0], "{text:?}");
        }
    }
}
