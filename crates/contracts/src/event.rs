use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// An event as `CloudEvents` 1.0 has it, in the structured JSON form. A member that is `null` is
/// unset.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct CloudEvent {
    /// The version of `CloudEvents`.
    #[schema(value_type = String, example = "1.0")]
    pub specversion: &'static str,
    /// The id, unique in the log: a UUID.
    #[schema(example = "0192f3c4-5b8f-7a60-9d5c-0c3f5e7d2b11")]
    pub id: String,
    /// The log that it is of: `/<instance>/<service>`.
    #[schema(example = "/local/vehicle")]
    pub source: String,
    /// What happened, with the version of its `data`.
    #[schema(example = "vehicle.registered.v1")]
    pub r#type: String,
    /// What it happened to: a kind of thing and which one.
    #[schema(example = "vehicle/JKL012")]
    pub subject: String,
    /// When it was written (RFC 3339, UTC). It orders nothing.
    #[schema(example = "2026-11-21T10:15:30.123456Z")]
    pub time: String,
    /// The media type of `data`.
    #[schema(value_type = String, example = "application/json")]
    pub datacontenttype: &'static str,
    /// The place in the log: 20 digits, without gaps, so that texts are in the order of places.
    #[schema(example = "00000000000000012345")]
    pub sequence: String,
    /// What must be kept in its order: the `subject`.
    #[schema(example = "vehicle/JKL012")]
    pub partitionkey: String,
    /// The version of the thing after the change. It rises with each event of the thing; the next one
    /// need not be the next number.
    #[schema(minimum = 1, example = 7)]
    pub aggregateversion: i64,
    /// The id of the request in which everything began; `none` outside of one.
    #[schema(example = "order-42")]
    pub correlationid: String,
    /// The event that led to this one.
    #[schema(required)]
    pub causationid: Option<String>,
    /// The place of the change in its trace (W3C Trace Context).
    #[schema(required)]
    pub traceparent: Option<String>,
    /// What kind of somebody caused it: `api_key`, `unknown` (the subject of a token, a person or
    /// a program) or `system`.
    #[schema(value_type = String, example = "api_key")]
    pub authtype: &'static str,
    /// Who caused it: `key/<id>`, `token/<subject>`, `worker/<name>` or `database/<role>`.
    #[schema(example = "key/core_system")]
    pub authid: String,
    /// `DELETE` where the thing is gone; `data` is `null` then.
    #[schema(value_type = Option<String>, required)]
    pub method: Option<&'static str>,
    /// What happened in detail, byte for byte as it was written.
    #[schema(value_type = Option<Object>, required)]
    pub data: Box<RawValue>,
}

/// Events that answer a question about the past.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditPage {
    /// The newest first.
    pub events: Vec<CloudEvent>,
    /// Where the next page begins (`after`); `null` after the last one. A page may hold fewer events
    /// than asked for, or none, and still have a next one: it looks at 1000 at most, of
    /// one thing or request at 300.
    #[schema(required, example = "12345")]
    pub next: Option<String>,
    /// The time that was looked at.
    pub window: AuditWindow,
}

/// The time that an answer is about: from the first moment on, before the second.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditWindow {
    /// RFC 3339, UTC.
    #[schema(example = "2026-10-22T10:15:30Z")]
    pub from: String,
    /// RFC 3339, UTC.
    #[schema(example = "2026-11-21T10:15:30Z")]
    pub until: String,
}

/// An event with its place.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// The place in the log, from 1 on.
    #[schema(minimum = 1)]
    pub position: i64,
    /// When it got its place (RFC 3339, UTC, to the microsecond); never falls with the position.
    #[schema(example = "2026-11-21T10:15:30.125000Z")]
    pub placed_at: String,
    /// The event.
    pub event: CloudEvent,
}

/// How many events there were.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditStatistics {
    /// The largest first, or hours in their order.
    pub buckets: Vec<AuditBucket>,
    /// The time that was looked at, in whole hours.
    pub window: AuditWindow,
}

/// How many events there were of a type, by an actor or in an hour.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditBucket {
    /// The type, the actor or the beginning of the hour.
    #[schema(example = "vehicle.registered.v1")]
    pub key: String,
    /// How many events.
    #[schema(minimum = 1)]
    pub count: i64,
}

/// The proof that an event is in the log of a checkpoint (RFC 9162, 2.1.3).
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InclusionProof {
    /// The place of the event, from 1 on; its leaf has the index `position - 1`.
    #[schema(minimum = 1)]
    pub position: i64,
    /// The hash of its leaf, in Base64. Anybody can make it of what `GET
    /// /api/v1/audit/events/{eventId}` answers: SHA-256 over a 0 and the bytes of the event. These
    /// are a 1, and then each field as 0 where it is null, else as 1, its length in 4 bytes and its
    /// bytes: `position`, `id`, the two parts of `subject`, `aggregateversion`, `type`, `time`,
    /// `authid`, `correlationid`, `causationid`, `traceparent`, `placedAt`, `data`. Numbers are 8
    /// bytes, big-endian, and so are times, in microseconds since 1970; UUIDs are 16 bytes, texts
    /// are UTF-8, and `data` is as it was answered, byte for byte.
    pub leaf_hash: String,
    /// How many events the checkpoint is over.
    #[schema(minimum = 1)]
    pub size: i64,
    /// The hashes on the way to the root, in Base64.
    pub hashes: Vec<String>,
    /// The checkpoint: a signed note (C2SP tlog-checkpoint).
    pub checkpoint: String,
}

/// The proof that the log of one size begins with that of a smaller one (RFC 9162, 2.1.4).
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsistencyProof {
    /// The smaller size.
    #[schema(minimum = 1)]
    pub from: i64,
    /// The larger one.
    #[schema(minimum = 1)]
    pub to: i64,
    /// The hashes, in Base64.
    pub hashes: Vec<String>,
}
