use contracts::may_hold_personal_identity_number;
use uuid::Uuid;

/// An event that is to be appended. No member may hold personal data: an event is never erased.
#[derive(Clone, Copy, Debug)]
pub struct NewEvent<'a> {
    /// Its id, of [`new_event_id`]; unique in the log.
    pub id: Uuid,
    /// The kind of thing that changed, such as `policy`; the schema's check knows all.
    pub aggregate_type: &'a str,
    /// Which one changed; 1 to 64 characters.
    pub aggregate_id: &'a str,
    /// Its version after the change, from 1 on; each is told once.
    pub version: i64,
    /// What happened, such as `policy.activated.v1`.
    pub event_type: &'a str,
    /// Who caused it.
    pub origin: &'a Origin,
    /// What happened in detail: JSON, at most 16 KiB, kept byte for byte.
    pub data: &'a str,
}

/// Who caused a change, and within what.
#[derive(Clone, Debug)]
pub struct Origin {
    /// `key/<id>`, `token/<subject>`, `worker/<name>` or `database/<role>`; at most 100 characters.
    pub actor: String,
    /// The id of the request in which everything began, at most 128 characters; `none` outside of
    /// one.
    pub correlation_id: String,
    /// The event that led to this one.
    pub causation_id: Option<Uuid>,
    /// The `traceparent` of the request (W3C Trace Context).
    pub traceparent: Option<String>,
}

/// A new id for an event: a UUIDv7 (RFC 9562), so that the index on it grows at its end. Its time
/// orders nothing, because clocks differ. Ids are shown everywhere, so one that may hold a personal
/// identity number is drawn again.
pub fn new_event_id() -> Uuid {
    loop {
        let id = Uuid::now_v7();
        if !may_hold_personal_identity_number(&id.to_string()) {
            return id;
        }
    }
}
