//! Events as they are stored, and the bytes that are hashed of each.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sqlx::{
    Decode, Encode, FromRow, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgTypeInfo, PgValueRef, types::Oid},
};
use uuid::Uuid;

use crate::tree::{Hash, leaf_hash};

/// What [`canonical`](Event::canonical) bytes begin with. Another layout gets another number.
const FORM: u8 = 1;

/// An event that has its place in the log.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Event {
    /// Its place: 1 for the first, without gaps.
    pub position: i64,
    /// Its id.
    pub event_id: Uuid,
    /// The kind of thing that changed.
    pub aggregate_type: String,
    /// Which one changed.
    pub aggregate_id: String,
    /// Its version after the change.
    pub version: i64,
    /// What happened.
    pub event_type: String,
    /// When it was written.
    pub occurred_at: Timestamp,
    /// Who caused it.
    pub actor: String,
    /// The id of the request in which everything began, or `none`.
    pub correlation_id: String,
    /// The event that led to this one.
    pub causation_id: Option<Uuid>,
    /// The `traceparent` of the request.
    pub traceparent: Option<String>,
    /// When it got its place; never falls with the position.
    pub placed_at: Timestamp,
    /// What happened in detail: JSON, as it was given.
    pub data: String,
}

/// The columns of an [`Event`], out of `events` and of a `log` that has its place and time.
macro_rules! event_columns {
    () => {
        "position, events.event_id, aggregate_type, aggregate_id, version, events.event_type,
         occurred_at, events.actor, correlation_id, causation_id, traceparent, placed_at,
         data::text as data"
    };
}
pub(crate) use event_columns;

/// Events in an order, up to the one with which their data exceeds so many bytes.
macro_rules! page_of_bytes {
    ($events:expr, $order:literal, $bytes:literal) => {
        concat!(
            "select * from (
                 select *, sum(octet_length(data)) over (order by ",
            $order,
            ") - octet_length(data) as before from (",
            $events,
            ") found
             ) page where before <= ",
            $bytes,
            " order by ",
            $order
        )
    };
}
pub(crate) use page_of_bytes;

impl Event {
    /// The hash of the event as a leaf of the tree.
    pub(crate) fn leaf_hash(&self) -> Hash {
        leaf_hash(&self.canonical())
    }

    /// Everything that any answer shows of the event: a form byte, then each field as 0 where it is
    /// null, or else as 1, its length in 4 bytes and its bytes. Numbers are big-endian.
    fn canonical(&self) -> Vec<u8> {
        let mut bytes = vec![FORM];
        let mut put = |field: Option<&[u8]>| match field {
            None => bytes.push(0),
            Some(field) => {
                bytes.push(1);
                // No field comes near 4 GiB: the schema bounds all of them.
                let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
                bytes.extend(length.to_be_bytes());
                bytes.extend(field);
            }
        };
        put(Some(&self.position.to_be_bytes()));
        put(Some(self.event_id.as_bytes()));
        put(Some(self.aggregate_type.as_bytes()));
        put(Some(self.aggregate_id.as_bytes()));
        put(Some(&self.version.to_be_bytes()));
        put(Some(self.event_type.as_bytes()));
        put(Some(&self.occurred_at.0.to_be_bytes()));
        put(Some(self.actor.as_bytes()));
        put(Some(self.correlation_id.as_bytes()));
        put(self
            .causation_id
            .as_ref()
            .map(|id| id.as_bytes().as_slice()));
        put(self.traceparent.as_ref().map(String::as_bytes));
        put(Some(&self.placed_at.0.to_be_bytes()));
        put(Some(self.data.as_bytes()));
        bytes
    }
}

/// A moment as PostgreSQL keeps it: microseconds since 1970, UTC. Shown as RFC 3339 has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

/// The type's number in `pg_type`, the same one on every server.
const TIMESTAMPTZ: Oid = Oid(1184);
/// On the wire it counts from 2000 (in microseconds since 1970).
const WIRE_EPOCH: i64 = 946_684_800_000_000;

impl Type<Postgres> for Timestamp {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ)
    }
}

impl Encode<'_, Postgres> for Timestamp {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Postgres>::encode(self.0.saturating_sub(WIRE_EPOCH), buffer)
    }
}

impl Decode<'_, Postgres> for Timestamp {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        // Prepared statements answer in binary.
        let bytes = value.as_bytes()?.try_into()?;
        Ok(Self(i64::from_be_bytes(bytes).saturating_add(WIRE_EPOCH)))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_micros(time.0.try_into().unwrap_or_default())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_micros((*self).into()).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            position: 1,
            event_id: Uuid::from_u128(0x0192_f3c4_0000_7000_8000_0000_0000_0001),
            aggregate_type: "policy".to_owned(),
            aggregate_id: "1000000".to_owned(),
            version: 1,
            event_type: "policy.drafted.v1".to_owned(),
            occurred_at: Timestamp(1_795_256_130_123_456),
            actor: "key/desk".to_owned(),
            correlation_id: "none".to_owned(),
            causation_id: None,
            traceparent: None,
            placed_at: Timestamp(1_795_256_130_125_000),
            data: "{}".to_owned(),
        }
    }

    /// Old checkpoints are worth nothing once this changes: add a form instead.
    #[test]
    fn the_bytes_of_an_event_stay_as_they_are() {
        let expected = [
            "01",
            "01 00000008 0000000000000001",
            "01 00000010 0192f3c4000070008000000000000001",
            "01 00000006 706f6c696379",
            "01 00000007 31303030303030",
            "01 00000008 0000000000000001",
            "01 00000011 706f6c6963792e647261667465642e7631",
            "01 00000008 000660c6a3eab6c0",
            "01 00000008 6b65792f6465736b",
            "01 00000004 6e6f6e65",
            "00",
            "00",
            "01 00000008 000660c6a3eabcc8",
            "01 00000002 7b7d",
        ];
        let expected = expected.concat().replace(' ', "");
        assert_eq!(hex::encode(event().canonical()), expected);
    }

    #[test]
    fn every_member_changes_the_hash() {
        let other = Some(Uuid::from_u128(2));
        let changes: [fn(&mut Event, Option<Uuid>); 13] = [
            |it, _| it.position = 2,
            |it, other| it.event_id = other.unwrap(),
            |it, _| it.aggregate_type.push('x'),
            |it, _| it.aggregate_id.push('x'),
            |it, _| it.version = 2,
            |it, _| it.event_type.push('x'),
            |it, _| it.occurred_at.0 += 1,
            |it, _| it.actor.push('x'),
            |it, _| it.correlation_id.push('x'),
            |it, other| it.causation_id = other,
            |it, _| it.traceparent = Some(String::new()),
            |it, _| it.placed_at.0 += 1,
            |it, _| it.data.push(' '),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut other_event = event();
            change(&mut other_event, other);
            assert_ne!(other_event.leaf_hash(), event().leaf_hash(), "{number}");
        }
    }

    /// Lengths keep members apart.
    #[test]
    fn what_moves_from_one_member_to_the_next_changes_the_hash() {
        let (mut one, mut other) = (event(), event());
        (one.aggregate_type, one.aggregate_id) = ("policy1".to_owned(), "2".to_owned());
        (other.aggregate_type, other.aggregate_id) = ("policy".to_owned(), "12".to_owned());
        assert_ne!(one.leaf_hash(), other.leaf_hash());
        let (mut one, mut other) = (event(), event());
        one.causation_id = Some(Uuid::nil());
        other.traceparent = Some("\0".repeat(16));
        assert_ne!(one.leaf_hash(), other.leaf_hash());
    }

    #[test]
    fn a_moment_is_shown_to_the_microsecond() {
        assert_eq!(
            event().occurred_at.to_string(),
            "2026-11-21T10:15:30.123456Z"
        );
    }
}
