use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::{Validate, ValidationError};

use crate::{
    UncheckedText,
    operations::{from_name, is_reason},
    wire_enum,
};

wire_enum! {
    /// What a state of Vehicle is beside that of the copy.
    pub enum ComparisonOutcome {
        /// Both say the same.
        Equal = "equal",
        /// The copy has an older state.
        ReplicaBehind = "replica_behind",
        /// The copy has a newer state.
        ReplicaAhead = "replica_ahead",
        /// The copy does not have the vehicle.
        OnlyLive = "only_live",
        /// Only the copy has the vehicle.
        OnlyReplica = "only_replica",
        /// Both have the same version, or one cannot be told, and say something else.
        Different = "different",
    }
}

/// How often something was found by a comparison.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComparisonCount {
    /// What was found.
    pub outcome: ComparisonOutcome,
    /// How often.
    #[schema(minimum = 0)]
    pub count: i64,
}

/// Live answers of Vehicle beside the copy. Only a share of them is compared.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaComparison {
    /// How often each outcome was found in the last 24 hours, in whole hours.
    pub outcomes: Vec<ComparisonCount>,
    /// The latest 20 differences, the newest first.
    pub differences: Vec<ReplicaDifference>,
}

/// A difference between a live answer and the copy. Of what, and what both say, is kept nowhere.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaDifference {
    /// When it was seen (RFC 3339, UTC).
    #[schema(format = DateTime, example = "2026-01-01T12:00:00Z")]
    pub seen_at: String,
    /// What was found.
    pub outcome: ComparisonOutcome,
    /// The members that differ.
    #[schema(example = json!(["model"]))]
    pub fields: Vec<String>,
}

wire_enum! {
    /// What a replay does.
    pub enum ReplayMode {
        /// It reads a part of the log and compares the last state of each vehicle in it with the copy.
        /// Nothing is changed.
        DryRun = "dry_run",
        /// It makes a new copy beside the one that is read, and swaps them once it is whole.
        Rebuild = "rebuild",
    }
}

wire_enum! {
    /// What becomes of a replay.
    pub enum ReplayStatus {
        /// It has not begun.
        Pending = "pending",
        /// It is at work.
        Running = "running",
        /// It was told to end and does so after its page.
        Cancelling = "cancelling",
        /// It has done everything.
        Completed = "completed",
        /// It could not go on; `failure` says why.
        Failed = "failed",
        /// It was told to end before it was done.
        Cancelled = "cancelled",
    }
}

/// Starts a replay.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[validate(schema(function = "has_one_beginning", skip_on_field_errors = false))]
#[schema(example = json!({
    "consumer": "vehicle_replica", "mode": "dry_run", "fromPosition": 1,
    "reason": "trust, but verify"
}))]
pub struct ReplayRequest {
    /// Whose copy.
    #[schema(example = "vehicle_replica")]
    pub consumer: String,
    /// What to do.
    #[serde(deserialize_with = "from_name")]
    pub mode: ReplayMode,
    /// The first place in the log of a dry run. It needs this or `from`; a rebuild has neither.
    #[validate(range(
        min = 1,
        max = 9_223_372_036_854_775_807_u64,
        code = "invalid_from_position",
        message = "is a whole number from 1 on"
    ))]
    #[schema(minimum = 1, maximum = 9_223_372_036_854_775_807_u64, example = 1)]
    pub from_position: Option<u64>,
    /// The last place, with `fromPosition`. The dry run ends where the copy is, if that is before it
    /// or nothing is said.
    #[validate(range(
        min = 1,
        max = 9_223_372_036_854_775_807_u64,
        code = "invalid_until_position",
        message = "is a whole number from 1 on"
    ))]
    #[schema(minimum = 1, maximum = 9_223_372_036_854_775_807_u64)]
    pub until_position: Option<u64>,
    /// Events that got their place at this moment or later (RFC 3339, UTC), for a dry run.
    #[schema(format = DateTime, example = "2026-01-01T00:00:00Z")]
    pub from: Option<String>,
    /// Events that got their place before this moment (RFC 3339, UTC), with `from`.
    #[schema(format = DateTime, example = "2026-01-02T00:00:00Z")]
    pub until: Option<String>,
    /// Why: 1 to 200 characters, none of them a control character, invisible or changing the
    /// direction of writing, and nothing that may hold a personal identity number.
    #[validate(custom(function = "is_reason", code = "invalid_reason"))]
    #[schema(value_type = String, min_length = 1, max_length = 200, example = "trust, but verify")]
    pub reason: UncheckedText,
    /// Whether a dry run of over 30 days or 1000000 events is meant.
    #[serde(default)]
    #[schema(default = false)]
    pub confirm: bool,
}

/// A dry run begins at a place or at a moment, and a rebuild with everything.
fn has_one_beginning(request: &ReplayRequest) -> Result<(), ValidationError> {
    let place = request.from_position.is_some();
    let moment = request.from.is_some();
    let place_ends = request.until_position.is_some();
    let moment_ends = request.until.is_some();
    let (code, rule) = match request.mode {
        ReplayMode::Rebuild if place || place_ends => {
            ("invalid_from_position", "is for the mode dry_run only")
        }
        ReplayMode::Rebuild if moment || moment_ends => {
            ("invalid_from", "is for the mode dry_run only")
        }
        ReplayMode::DryRun if place == moment => (
            "invalid_from_position",
            "a dry run needs either fromPosition or from",
        ),
        ReplayMode::DryRun if place_ends && !place => (
            "invalid_until_position",
            "stands with fromPosition, as until does with from",
        ),
        ReplayMode::DryRun if moment_ends && !moment => (
            "invalid_until",
            "stands with from, as untilPosition does with fromPosition",
        ),
        ReplayMode::Rebuild | ReplayMode::DryRun => return Ok(()),
    };
    Err(ValidationError::new(code).with_message(rule.into()))
}

/// A replay and how far it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    /// Its id: a UUID.
    #[schema(example = "0192f3c4-5b8f-7a60-9d5c-0c3f5e7d2b11")]
    pub replay_id: String,
    /// Whose copy.
    #[schema(example = "vehicle_replica")]
    pub consumer: String,
    /// What it does.
    pub mode: ReplayMode,
    /// What becomes of it.
    pub status: ReplayStatus,
    /// The first place in the log of a dry run; `null` for a rebuild.
    #[schema(required, minimum = 1)]
    pub from_position: Option<i64>,
    /// The last place of a dry run; `null` for a rebuild.
    #[schema(required, minimum = 1)]
    pub until_position: Option<i64>,
    /// The last place that a dry run has looked at; `null` before, and for a rebuild.
    #[schema(required, minimum = 1)]
    pub position: Option<i64>,
    /// Events that were read, or vehicles that were copied.
    #[schema(minimum = 0)]
    pub seen: i64,
    /// How many there are; for a rebuild as many as the copy before it had.
    #[schema(minimum = 0)]
    pub expected: i64,
    /// What a dry run has found so far, for the last state of each vehicle that it has read.
    pub outcomes: Vec<ComparisonCount>,
    /// The members that differ in any vehicle.
    #[schema(example = json!(["model"]))]
    pub fields: Vec<String>,
    /// Events that could not be read.
    #[schema(minimum = 0)]
    pub failed: i64,
    /// How many are seen in a second; `null` before it has begun.
    #[schema(required, minimum = 0)]
    pub per_second: Option<f64>,
    /// When it would be done at this rate (RFC 3339, UTC); `null` where that cannot be told.
    #[schema(required, format = DateTime, example = "2026-01-01T12:15:00Z")]
    pub estimated_end_at: Option<String>,
    /// Why it failed; `null` where it did not.
    #[schema(required, example = "log_changed")]
    pub failure: Option<String>,
    /// Why it was started.
    pub reason: String,
    /// Id of the API key that started it, or `token/<subject>`.
    #[schema(example = "operations")]
    pub requested_by: String,
    /// When it was asked for (RFC 3339, UTC).
    #[schema(format = DateTime, example = "2026-01-01T12:00:00Z")]
    pub created_at: String,
    /// When it ended (RFC 3339, UTC); `null` before.
    #[schema(required, format = DateTime, example = "2026-01-01T12:15:00Z")]
    pub ended_at: Option<String>,
}

/// Replays, the newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplayList {
    /// The latest 50.
    pub replays: Vec<Replay>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use validator::Validate;

    use super::ReplayRequest;

    /// The code of the rule that a request with these members breaks.
    fn broken(members: &Value) -> Option<String> {
        let mut request =
            json!({ "consumer": "vehicle_replica", "mode": "dry_run", "reason": "r" });
        for (member, value) in members.as_object().unwrap() {
            request[member] = value.clone();
        }
        let request: ReplayRequest = serde_json::from_value(request).unwrap();
        let errors = request.validate().err()?;
        let mut codes = errors.field_errors().into_values().flatten();
        codes.next().map(|it| it.code.to_string())
    }

    #[test]
    fn a_dry_run_has_one_beginning_and_a_rebuild_none() {
        let (moment, later) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        for (members, code) in [
            (json!({ "fromPosition": 1 }), None),
            (json!({ "fromPosition": 1, "untilPosition": 9 }), None),
            (json!({ "from": moment }), None),
            (json!({ "from": moment, "until": later }), None),
            (json!({ "mode": "rebuild" }), None),
            (json!({}), Some("invalid_from_position")),
            (
                json!({ "from": moment, "fromPosition": 1 }),
                Some("invalid_from_position"),
            ),
            (json!({ "fromPosition": 0 }), Some("invalid_from_position")),
            (
                json!({ "fromPosition": 1, "until": later }),
                Some("invalid_until"),
            ),
            (
                json!({ "from": moment, "untilPosition": 9 }),
                Some("invalid_until_position"),
            ),
            (
                json!({ "mode": "rebuild", "untilPosition": 9 }),
                Some("invalid_from_position"),
            ),
            (
                json!({ "mode": "rebuild", "until": later }),
                Some("invalid_from"),
            ),
            (
                json!({ "mode": "rebuild", "reason": " " }),
                Some("invalid_reason"),
            ),
        ] {
            assert_eq!(broken(&members).as_deref(), code, "{members}");
        }
    }
}
