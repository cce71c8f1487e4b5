//! Events in the order of their positions, for readers who follow the log.

use std::time::SystemTime;

use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::{
    Event, EventLog, Timestamp,
    stored::{event_columns, page_of_bytes},
};

/// Most rows of the log that one page looks at. What it found is given with where to go on.
pub const LOOKED_AT: i64 = 10_000;
/// The data of a page's events in bytes; the last event may exceed it.
pub(crate) const PAGE_BYTES: i64 = 1 << 20;

/// Where a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct Head {
    /// Which log this is. Another one after a restore that lost events.
    pub log_id: Uuid,
    /// The last position; 0 for none.
    pub position: i64,
}

/// Which events a reader wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Only events after this position; 0 for all.
    pub after: i64,
    /// Most events of the page.
    pub limit: u16,
    /// Only events of these types; empty for all.
    pub types: Vec<String>,
    /// Only events of this thing: its kind and its id.
    pub subject: Option<(String, String)>,
}

/// Some events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of their positions.
    pub events: Vec<Event>,
    /// The last position that was looked at, and its event. The next page begins after it, also
    /// where no event of this one is wanted. `None` where there was nothing to look at.
    pub last: Option<(i64, Uuid)>,
}

impl EventLog {
    /// Where the log ends.
    pub async fn head(&self, connection: &mut PgConnection) -> sqlx::Result<Head> {
        let select = self.sql("select log_id, position from event_log.head");
        sqlx::query_as(select).fetch_one(connection).await
    }

    /// The position after which whoever has read this event goes on: its own, or the last one while it
    /// waits for its place; `None` where there is no such event.
    pub async fn position_after(
        &self,
        connection: &mut PgConnection,
        event_id: Uuid,
    ) -> sqlx::Result<Option<i64>> {
        // All of one snapshot: what is placed after this end may follow the event.
        let select = self.sql(
            "select coalesce(
                 (select position from event_log.log where event_id = $1),
                 (select position from event_log.head
                  where exists (select from event_log.events where event_id = $1)))",
        );
        let query = sqlx::query_scalar(select).bind(event_id);
        query.fetch_one(connection).await
    }

    /// The last position that was given before this moment; 0 for none. As time never falls with
    /// the position, it is a binary search of at most 63 rows.
    pub async fn position_before(
        &self,
        connection: &mut PgConnection,
        time: SystemTime,
    ) -> sqlx::Result<i64> {
        let search = self.sql(
            "with recursive search (low, high) as (
                 select 0::bigint, position from event_log.head
               union all
                 select case when earlier then middle else low end,
                     case when earlier then high else middle - 1 end
                 from (
                     select low, high, log.position as middle, placed_at < $1 as earlier
                     from search join lateral (
                         select * from event_log.log where position = (low + high + 1) / 2 limit 1
                     ) log on true where low < high
                 ) half
             )
             select low from search where low = high",
        );
        let query = sqlx::query_scalar(search).bind(Timestamp::from(time));
        query.fetch_one(connection).await
    }

    /// The next page for a reader. It costs as much at the end of the log as at its beginning.
    pub async fn page(&self, connection: &mut PgConnection, wanted: &Wanted) -> sqlx::Result<Page> {
        // First the end, so that nothing that is placed meanwhile is passed over.
        let Some(end) = self.end_of_page(connection, wanted).await? else {
            return Ok(Page::default());
        };
        let select = self.sql(page_of_bytes!(
            concat!(
                "select ",
                event_columns!(),
                " from event_log.log log
                 join lateral (
                     select * from event_log.events where event_id = log.event_id limit 1
                 ) events on $4::text is null or (aggregate_type = $4 and aggregate_id = $5)
                 where position > $1 and position <= $2
                     and (cardinality($3::text[]) = 0 or log.event_type = any($3))
                 order by position limit $6"
            ),
            "position",
            "$7"
        ));
        let (kind, id) = wanted.subject.clone().unzip();
        let query = sqlx::query_as(select).bind(wanted.after).bind(end.0);
        let query = query.bind(&wanted.types).bind(kind).bind(id);
        let query = query.bind(i64::from(wanted.limit)).bind(PAGE_BYTES);
        let events: Vec<Event> = query.fetch_all(connection).await?;
        let last = events.last().filter(|_| is_full(&events, wanted.limit));
        Ok(Page {
            last: Some(last.map_or(end, |it| (it.position, it.event_id))),
            events,
        })
    }

    /// The last position, with its event, that a page looks at. Positions are dense, so a range of
    /// them bounds the rows.
    async fn end_of_page(
        &self,
        connection: &mut PgConnection,
        wanted: &Wanted,
    ) -> sqlx::Result<Option<(i64, Uuid)>> {
        let is_filtered = !wanted.types.is_empty() || wanted.subject.is_some();
        let rows = if is_filtered {
            LOOKED_AT
        } else {
            wanted.limit.into()
        };
        let select = self.sql(
            "select position, event_id from event_log.log where position > $1
                 and position = least($2, (select position from event_log.head))",
        );
        let end = wanted.after.saturating_add(rows);
        let query = sqlx::query_as(select).bind(wanted.after).bind(end);
        query.fetch_optional(connection).await
    }
}

/// Whether there may be more events than these, which are those of a page with this limit.
pub(crate) fn is_full(events: &[Event], limit: u16) -> bool {
    let bytes: usize = events.iter().map(|it| it.data.len()).sum();
    events.len() >= limit.into() || bytes as u64 > PAGE_BYTES.unsigned_abs()
}
