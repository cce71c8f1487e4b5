//! Events that answer a question about the past, newest first, and counts of them.
//!
//! Each question is read by an index in the order of positions, and a page looks at
//! [`LOOKED_AT`] rows at most, so that page n costs as much as page 1. Those about one thing or one
//! request are read [by indexes in orders of their own](crate::few).

use std::time::SystemTime;

use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::{
    Event, EventLog, Timestamp,
    feed::{LOOKED_AT, PAGE_BYTES, is_full},
    few::Few,
    stored::{event_columns, page_of_bytes},
};

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

/// Rows of the log in the order of positions: those of a type, of an actor or all of a window.
/// `$1` is the type or the actor. Its order is that of its own index and of no other, so that no plan
/// walks over the rows of all types, however it guesses their numbers.
macro_rules! looked_at {
    (window) => {
        "select position, event_id, placed_at, actor from event_log.log
         where $1::text is null and position > $2 and position < $3 order by position desc"
    };
    ($key:ident) => {
        concat!(
            "select position, event_id, placed_at, event_type, actor from event_log.log where (",
            stringify!($key),
            ", position) > ($1, $2) and (",
            stringify!($key),
            ", position) < ($1, $3) order by ",
            newest_first!($key)
        )
    };
}
macro_rules! newest_first {
    (window) => {
        "position desc"
    };
    ($key:ident) => {
        concat!(stringify!($key), " desc, position desc")
    };
}
macro_rules! page_in_order {
    ($key:ident) => {
        page_of_bytes!(
            concat!(
                "select ",
                event_columns!(),
                " from (
                     select * from (",
                looked_at!($key),
                " limit $4) looked
                     where $5::text is null or actor = $5 order by ",
                newest_first!($key),
                " limit $6
                 ) log join lateral (
                     select * from event_log.events where event_id = log.event_id limit 1
                 ) events on true"
            ),
            "position desc",
            "$7"
        )
    };
}

/// By the index on types, else on actors, else on positions.
async fn in_order(
    log: &EventLog,
    connection: &mut PgConnection,
    question: &Question,
    (from, until): Window,
) -> sqlx::Result<Answer> {
    let (event_type, actor) = (question.event_type.as_ref(), question.actor.as_ref());
    let (page, key) = match (event_type, actor) {
        (Some(_), _) => (page_in_order!(event_type), event_type),
        (None, Some(_)) => (page_in_order!(actor), actor),
        (None, None) => (page_in_order!(window), None),
    };
    let filter = event_type.and(actor);
    let query = sqlx::query_as(log.sql(page))
        .bind(key)
        .bind(from)
        .bind(until);
    let query = query
        .bind(LOOKED_AT)
        .bind(filter)
        .bind(i64::from(question.limit))
        .bind(PAGE_BYTES);
    let events: Vec<Event> = query.fetch_all(&mut *connection).await?;
    let mut next = None;
    if is_full(&events, question.limit) {
        next = events.last().map(|it| it.position);
    } else if filter.is_some() {
        let last = sqlx::query_scalar(log.sql(concat!(
            "select position from (",
            looked_at!(event_type),
            " offset $4 - 1 limit 1) last"
        )));
        let last = last.bind(key).bind(from).bind(until).bind(LOOKED_AT);
        next = last.fetch_optional(connection).await?;
    }
    Ok(Answer { events, next })
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
