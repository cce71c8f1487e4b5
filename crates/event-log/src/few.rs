//! Questions about one thing or one request.
//!
//! Their events lie all over the log, so each that a page looks at costs some reads of its own. They
//! are read by the index on the thing's versions, which are in the order of positions, or by that on
//! the request's order of writing: newest first, as in the log, but for events that waited for their
//! place longer than those behind them.

use sqlx::{FromRow, PgConnection};

use crate::{
    Event, EventLog,
    audit::{Answer, Question, Window},
    feed::{PAGE_BYTES, is_full},
    stored::{event_columns, page_of_bytes},
};

/// Most events that one page looks at.
const LOOKED_AT: i64 = 300;

/// What has few events.
pub(crate) enum Few<'a> {
    /// One thing: its kind and its id. The next page begins before a version.
    Aggregate(&'a str, &'a str),
    /// One request. The next page begins before a sequence.
    Correlation(&'a str),
}

#[derive(FromRow)]
struct Found {
    #[sqlx(flatten)]
    event: Event,
    /// Where the next page begins, if this is the last of a page.
    key: i64,
}

/// The events that a page looks at, but for those of another request with the same hash. Their order
/// is that of their own index and of no other, and none other has what they are found by.
macro_rules! looked_at {
    (aggregate) => {
        "select *, version as key from event_log.events
         where aggregate_type = $1 and aggregate_id = $2 and version < $3
         order by aggregate_type desc, aggregate_id desc, version desc limit $4"
    };
    (correlation) => {
        "select *, sequence as key from event_log.events
         where hashtextextended(correlation_id, 0) = hashtextextended($1, 0)
             and correlation_id <> 'none' and $2::text is null and sequence < $3
         order by hashtextextended(correlation_id, 0) desc, sequence desc limit $4"
    };
}
/// Those of them that a question is about.
macro_rules! page {
    ($few:tt) => {
        page_of_bytes!(
            concat!(
                "select ",
                event_columns!(),
                ", key from (",
                looked_at!($few),
                ") events join lateral (
                     select position, placed_at from event_log.log
                     where event_id = events.event_id limit 1
                 ) log on position > $5 and position < $6
                 where ($7::text is null or correlation_id = $7)
                     and ($8::text is null or event_type = $8) and ($9::text is null or actor = $9)
                 order by key desc limit $10"
            ),
            "key desc",
            "$11"
        )
    };
}
/// The last one, where there are as many as a page looks at.
macro_rules! last_looked_at {
    ($few:tt) => {
        concat!(
            "select key from (",
            looked_at!($few),
            ") looked offset $4 - 1 limit 1"
        )
    };
}

impl Few<'_> {
    pub(crate) async fn ask(
        &self,
        log: &EventLog,
        connection: &mut PgConnection,
        question: &Question,
        (from, until): Window,
    ) -> sqlx::Result<Answer> {
        let (page, last, key, second) = match self {
            Self::Aggregate(kind, id) => (
                page!(aggregate),
                last_looked_at!(aggregate),
                kind,
                Some(*id),
            ),
            Self::Correlation(id) => (page!(correlation), last_looked_at!(correlation), id, None),
        };
        let before = question.before.unwrap_or(i64::MAX);
        let query = sqlx::query_as(log.sql(page)).bind(key).bind(second);
        let query = query.bind(before).bind(LOOKED_AT).bind(from).bind(until);
        let query = query.bind(question.correlation());
        let query = query.bind(&question.event_type).bind(&question.actor);
        let query = query.bind(i64::from(question.limit)).bind(PAGE_BYTES);
        let found: Vec<Found> = query.fetch_all(&mut *connection).await?;
        let (events, keys): (Vec<_>, Vec<_>) =
            found.into_iter().map(|it| (it.event, it.key)).unzip();
        let next = if is_full(&events, question.limit) {
            keys.last().copied()
        } else {
            let query = sqlx::query_scalar(log.sql(last)).bind(key).bind(second);
            let query = query.bind(before).bind(LOOKED_AT);
            query.fetch_optional(connection).await?
        };
        Ok(Answer { events, next })
    }
}
