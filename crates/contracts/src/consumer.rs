use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use crate::{
    UncheckedText,
    operations::{from_name, is_owner, is_reason},
    wire_enum,
};

wire_enum! {
    /// What a consumer does.
    pub enum ConsumerMode {
        /// It applies each event that comes.
        Follow = "follow",
        /// An operator has stopped it. Its copy is still read, and grows old.
        Paused = "paused",
        /// It makes a new copy of everything beside the one that is read, and then follows.
        Snapshot = "snapshot",
    }
}

/// All that consume events here.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerList {
    /// By name.
    pub consumers: Vec<Consumer>,
}

/// Who consumes the events of another service, and how far it is. All replicas share it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Consumer {
    /// Its name.
    #[schema(example = "vehicle_replica")]
    pub consumer: String,
    /// What it does.
    pub mode: ConsumerMode,
    /// The order that the mode comes from; `null` where there was none.
    #[schema(required)]
    pub control: Option<ConsumerControl>,
    /// The log that it reads; `null` before the first copy is there.
    #[schema(required, example = "0192f3c4-5b8f-7a60-9d5c-0c3f5e7d2b11")]
    pub log_id: Option<String>,
    /// The place of the last event that it applied.
    #[schema(minimum = 0)]
    pub position: i64,
    /// The last place of the log when it was last asked; `null` before that.
    #[schema(required, minimum = 0)]
    pub source_position: Option<i64>,
    /// Events that it has not applied yet, as far as it knows.
    #[schema(required, minimum = 0)]
    pub lag_events: Option<i64>,
    /// Seconds since its copy was last known to have everything; `null` before the first time.
    #[schema(required, minimum = 0)]
    pub lag_seconds: Option<i64>,
    /// Which copy is read: 0 before the first one, and higher with each new one.
    #[schema(minimum = 0)]
    pub generation: i64,
    /// The copy that is being made; `null` where none is.
    #[schema(required)]
    pub snapshot: Option<ConsumerSnapshot>,
    /// Tries of what is in hand that did not end, as after a crash.
    #[schema(minimum = 0)]
    pub attempts: i64,
    /// Dead letters that nobody has closed.
    #[schema(minimum = 0)]
    pub open_dead_letters: i64,
    /// The kind of the last failure; `null` while all goes well.
    #[schema(required, example = "timeout")]
    pub last_error: Option<String>,
    /// When it last wrote how far it is (RFC 3339, UTC).
    #[schema(format = DateTime, example = "2026-01-01T12:00:00Z")]
    pub updated_at: String,
}

/// An order to a consumer.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerControl {
    /// Who gave it: `key/<id>`, `token/<subject>`, or `worker/<name>` where the consumer stopped by
    /// itself.
    #[schema(example = "key/operations")]
    pub by: String,
    /// Why; `null` where `lastError` says it.
    #[schema(required, example = "the log of Vehicle is restored")]
    pub reason: Option<String>,
    /// Who answers for it; `null` where nobody was asked.
    #[schema(required, example = "on-call team")]
    pub owner: Option<String>,
    /// When it came (RFC 3339, UTC).
    #[schema(format = DateTime, example = "2026-01-01T12:00:00Z")]
    pub since: String,
}

/// A copy that is being made.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerSnapshot {
    /// Its number.
    #[schema(minimum = 1)]
    pub generation: i64,
    /// Things that it has.
    #[schema(minimum = 0)]
    pub copied: i64,
}

/// Changes what a consumer does. It is logged with its reason and its owner.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsumerChange {
    /// What it is to do.
    #[serde(deserialize_with = "from_name")]
    pub mode: ConsumerMode,
    /// Why: 1 to 200 characters, none of them a control character, invisible or changing the
    /// direction of writing, and nothing that may hold a personal identity number.
    #[validate(custom(function = "is_reason", code = "invalid_reason"))]
    #[schema(value_type = String, min_length = 1, max_length = 200, example = "the log of Vehicle is restored")]
    pub reason: UncheckedText,
    /// Who answers for it: 1 to 100 characters, by the same rules.
    #[validate(custom(function = "is_owner", code = "invalid_owner"))]
    #[schema(value_type = String, min_length = 1, max_length = 100, example = "on-call team")]
    pub owner: UncheckedText,
}

wire_enum! {
    /// Why an event could not be applied.
    pub enum DeadLetterReason {
        /// It is no event.
        Unreadable = "unreadable",
        /// It breaks the contract of its type.
        Contract = "contract",
        /// The database refused what it says, three times.
        Effect = "effect",
        /// The process ended each time it was applied.
        Crash = "crash",
    }
}

wire_enum! {
    /// What becomes of a dead letter.
    pub enum DeadLetterStatus {
        /// It waits for somebody.
        Parked = "parked",
        /// It is tried once more.
        Retrying = "retrying",
        /// It is done: applied, superseded by a later event of the same thing, or by hand.
        Resolved = "resolved",
        /// It was given up.
        Discarded = "discarded",
    }
}

/// An event that could not be applied.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// Its id: a UUID.
    #[schema(example = "0192f3c4-5b8f-7a60-9d5c-0c3f5e7d2b11")]
    pub dead_letter_id: String,
    /// Who could not apply it.
    #[schema(example = "vehicle_replica")]
    pub consumer: String,
    /// The event.
    #[schema(example = "0192f3c4-5b8f-7a60-9d5c-0c3f5e7d2b11")]
    pub event_id: String,
    /// The place of the event in the log.
    #[schema(minimum = 1)]
    pub position: i64,
    /// Why it could not be applied.
    pub reason: DeadLetterReason,
    /// More about why, without anything of the event's content.
    pub detail: String,
    /// How often it was tried.
    #[schema(minimum = 0)]
    pub attempts: i64,
    /// What becomes of it.
    pub status: DeadLetterStatus,
    /// When it was parked (RFC 3339, UTC).
    #[schema(format = DateTime, example = "2026-01-01T12:00:00Z")]
    pub parked_at: String,
    /// When it was closed (RFC 3339, UTC); `null` while it is open.
    #[schema(required, format = DateTime, example = "2026-01-01T12:15:00Z")]
    pub closed_at: Option<String>,
    /// Who closed it: `key/<id>`, `token/<subject>` or `worker/<name>`; `null` while it is open.
    #[schema(required, example = "key/operations")]
    pub closed_by: Option<String>,
    /// What was said when it was closed; `superseded` where a later event of the same thing did.
    #[schema(required)]
    pub note: Option<String>,
}

/// Dead letters of a consumer.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterPage {
    /// By id.
    pub dead_letters: Vec<DeadLetter>,
    /// Where the next page begins (`after`); `null` after the last one.
    #[schema(required, example = "0192f3c4-5b8f-7a60-9d5c-0c3f5e7d2b11")]
    pub next: Option<String>,
}

/// A dead letter with its event.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterWithEvent {
    /// The letter.
    #[serde(flatten)]
    pub dead_letter: DeadLetter,
    /// The event as it came. It may be no JSON; what is no UTF-8 in it is replaced by `U+FFFD`.
    pub event: String,
}

/// Closes a dead letter. It is logged with its note.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeadLetterNote {
    /// Why: 1 to 200 characters, by the rules of reasons.
    #[validate(custom(function = "is_reason", code = "invalid_note"))]
    #[schema(value_type = String, min_length = 1, max_length = 200, example = "corrected at the source")]
    pub note: UncheckedText,
}

/// Has the oldest dead letters tried again. It is logged with its reason.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeadLetterRetry {
    /// How many at most.
    #[validate(range(
        min = 1,
        max = 100,
        code = "invalid_limit",
        message = "is a whole number from 1 to 100"
    ))]
    #[schema(minimum = 1, maximum = 100, example = 100)]
    pub limit: u64,
    /// Why: 1 to 200 characters, by the rules of reasons.
    #[validate(custom(function = "is_reason", code = "invalid_reason"))]
    #[schema(value_type = String, min_length = 1, max_length = 200, example = "the constraint is corrected")]
    pub reason: UncheckedText,
}

/// Dead letters that are tried again.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLettersRetried {
    /// How many.
    #[schema(minimum = 0)]
    pub retrying: u64,
}
