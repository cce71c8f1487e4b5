//! Events that answer a question about the past, newest first, and counts of them.
//!
//! Each question is read by an index in the order of positions, or by two of them where they meet,
//! so that page n costs as much as page 1. Those about one thing or one request are read [by indexes
//! in orders of their own](crate::few).

use std::time::SystemTime;

use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::{
    Event, EventLog, Timestamp,
    feed::{PAGE_BYTES, is_full},
    few::Few,
    stored::{event_columns, page_of_bytes},
};

/// Most looks at both indexes of a page that is about a type and an actor, each at two entries.
const LOOKS: i64 = 300;
/// Most buckets of a statistic.
const BUCKETS: i64 = 1_000;

/// A question about the past. The members narrow it together.
#[derive(Clone, Debug)]
pub struct Question {
    /// Of one thing: its kind and its id.
    pub aggregate: Option<(String, String)>,
    /// Of one request; `none` counts as not asked for.
    pub correlation_id: Option<String>,
    /// Of one type.
    pub event_type: Option<String>,
    /// By one actor.
    pub actor: Option<String>,
    /// Placed at this moment or later.
    pub from: SystemTime,
    /// Placed before this moment.
    pub until: SystemTime,
    /// Where the page before ended: its `next`.
    pub before: Option<i64>,
    /// Most events of the page.
    pub limit: u16,
}

/// Some events that answer a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Newest first.
    pub events: Vec<Event>,
    /// Where the next page of this question begins, as its `before`; `None` after the last one.
    pub next: Option<i64>,
}

/// A statistic has more buckets than an answer may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the question is too broad")]
pub struct TooBroad;

/// What events are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// What happened.
    Type,
    /// Who caused it.
    Actor,
    /// The hour in which they were placed, as RFC 3339, UTC.
    Hour,
}

/// How many events there are of a kind.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Bucket {
    /// The type, the actor or the hour.
    pub key: String,
    /// How many.
    pub count: i64,
}

/// Positions after the first and before the second, which a page looks at.
pub(crate) type Window = (i64, i64);

impl EventLog {
    /// One event; `None` where the log has none of this id.
    pub async fn event(
        &self,
        connection: &mut PgConnection,
        event_id: Uuid,
    ) -> sqlx::Result<Option<Event>> {
        let select = self.sql(concat!(
            "select ",
            event_columns!(),
            " from event_log.log log join event_log.events events using (event_id)
             where log.event_id = $1"
        ));
        let query = sqlx::query_as(select).bind(event_id);
        query.fetch_optional(connection).await
    }

    /// When the last position was given. No event has a place that is later.
    pub async fn last_placed_at(&self, connection: &mut PgConnection) -> sqlx::Result<Timestamp> {
        let select = self.sql("select placed_at from event_log.head");
        sqlx::query_scalar(select).fetch_one(connection).await
    }

    /// Answers a question. The window's ends become positions once, by binary search.
    pub async fn ask(
        &self,
        connection: &mut PgConnection,
        question: &Question,
    ) -> sqlx::Result<Answer> {
        let from = self.position_before(connection, question.from).await?;
        let until = self.position_before(connection, question.until).await? + 1;
        if let Some(few) = question.few() {
            return few.ask(self, connection, question, (from, until)).await;
        }
        let until = question.before.map_or(until, |it| it.min(until));
        in_order(self, connection, question, (from, until)).await
    }

    /// Counts of the events that were placed in these hours, the largest first, or by hour in their
    /// order. Both ends are rounded down to whole hours.
    pub async fn count(
        &self,
        connection: &mut PgConnection,
        by: By,
        (from, until): (SystemTime, SystemTime),
    ) -> sqlx::Result<Result<Vec<Bucket>, TooBroad>> {
        macro_rules! count_by {
            ($key:literal, $order:literal) => {
                concat!(
                    "select ",
                    $key,
                    " as key, sum(events)::bigint as count from event_log.hours
                     where hour >= date_trunc('hour', $1::timestamptz, 'UTC')
                         and hour < date_trunc('hour', $2::timestamptz, 'UTC')
                     group by 1 order by ",
                    $order,
                    " limit $3"
                )
            };
        }
        let select = match by {
            By::Type => count_by!("event_type", "count desc, key"),
            By::Actor => count_by!("actor", "count desc, key"),
            By::Hour => count_by!(
                r#"to_char(hour at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"#,
                "key"
            ),
        };
        let query = sqlx::query_as(self.sql(select));
        let query = query
            .bind(Timestamp::from(from))
            .bind(Timestamp::from(until));
        let buckets: Vec<Bucket> = query.bind(BUCKETS + 1).fetch_all(connection).await?;
        let fits = buckets.len() as u64 <= BUCKETS.unsigned_abs();
        Ok(if fits { Ok(buckets) } else { Err(TooBroad) })
    }
}

/// Places in the order of positions: those of a type, of an actor or all of a window. `$1` is the
/// type or the actor. Its order is that of its own index and of no other, so that no plan walks over
/// the rows of all types, however it guesses their numbers.
macro_rules! places {
    (window) => {
        "select position, event_id, placed_at from event_log.log
         where $1::text is null and position > $2 and position < $3 order by position desc limit $4"
    };
    ($key:ident) => {
        concat!(
            "select position, event_id, placed_at from event_log.log where (",
            stringify!($key),
            ", position) > ($1, $2) and (",
            stringify!($key),
            ", position) < ($1, $3) order by ",
            stringify!($key),
            " desc, position desc limit $4"
        )
    };
}
/// The events at places, newest first.
macro_rules! events_at {
    ($places:expr, $bytes:literal) => {
        page_of_bytes!(
            concat!(
                "select ",
                event_columns!(),
                " from (",
                $places,
                ") log join lateral (
                     select * from event_log.events where event_id = log.event_id limit 1
                 ) events on true"
            ),
            "position desc",
            $bytes
        )
    };
}

/// By the index on types, or on actors, else on positions.
async fn in_order(
    log: &EventLog,
    connection: &mut PgConnection,
    question: &Question,
    (from, until): Window,
) -> sqlx::Result<Answer> {
    let (page, key) = match (&question.event_type, &question.actor) {
        (Some(event_type), Some(actor)) => {
            let both = (event_type.as_str(), actor.as_str());
            return by_both(log, connection, (both, question.limit), (from, until)).await;
        }
        (Some(event_type), None) => (events_at!(places!(event_type), "$5"), Some(event_type)),
        (None, Some(actor)) => (events_at!(places!(actor), "$5"), Some(actor)),
        (None, None) => (events_at!(places!(window), "$5"), None),
    };
    let query = sqlx::query_as(log.sql(page)).bind(key);
    let query = query.bind(from).bind(until);
    let query = query.bind(i64::from(question.limit)).bind(PAGE_BYTES);
    let events: Vec<Event> = query.fetch_all(connection).await?;
    let cut = is_full(&events, question.limit);
    let next = events.last().filter(|_| cut).map(|it| it.position);
    Ok(Answer { events, next })
}

/// Of a type and by an actor: down both indexes in turn, from the last place in the one to the last
/// one in the other that is not above it. Where either is rare, it leaps over what the other has
/// between.
async fn by_both(
    log: &EventLog,
    connection: &mut PgConnection,
    ((event_type, actor), limit): ((&str, &str), u16),
    (from, until): Window,
) -> sqlx::Result<Answer> {
    let walk = log.sql(
        "with recursive walk (looks, found, position, rest) as (
             select 0::bigint, 0::bigint, null::bigint, $4::bigint - 1
           union all
             select looks + 1, found + is_both::int,
                 case when is_both then by_actor.position end, by_actor.position - is_both::int
             from walk join lateral (
                 select position from event_log.log
                 where (event_type, position) > ($1, $3) and (event_type, position) <= ($1, rest)
                 order by event_type desc, position desc limit 1
             ) by_type on true join lateral (
                 select position, position = by_type.position as is_both from event_log.log
                 where (actor, position) > ($2, $3) and (actor, position) <= ($2, by_type.position)
                 order by actor desc, position desc limit 1
             ) by_actor on true
             where looks < $5 and found < $6
         )
         select coalesce(array_agg(position) filter (where position is not null), '{}'),
             min(rest) filter (where looks = $5 or found = $6) + 1
         from walk",
    );
    let walk = sqlx::query_as(walk).bind(event_type).bind(actor);
    let walk = walk.bind(from).bind(until);
    let walk = walk.bind(LOOKS).bind(i64::from(limit));
    let (places, rest): (Vec<i64>, Option<i64>) = walk.fetch_one(&mut *connection).await?;
    let events = events_at!(
        "select log.* from unnest($1::bigint[]) as found (position) join lateral (
             select * from event_log.log where position = found.position limit 1
         ) log on true",
        "$2"
    );
    let events = sqlx::query_as(log.sql(events)).bind(&places);
    let events: Vec<Event> = events.bind(PAGE_BYTES).fetch_all(connection).await?;
    let is_cut = events.len() < places.len();
    let last = events.last().filter(|_| is_cut).map(|it| it.position);
    Ok(Answer {
        events,
        next: last.or(rest),
    })
}

impl Question {
    pub(crate) fn correlation(&self) -> Option<&str> {
        self.correlation_id.as_deref().filter(|id| *id != "none")
    }

    fn few(&self) -> Option<Few<'_>> {
        let correlation = self.correlation().map(Few::Correlation);
        match &self.aggregate {
            Some((kind, id)) => Some(Few::Aggregate(kind, id)),
            None => correlation,
        }
    }
}
