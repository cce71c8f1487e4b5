//! What can only be said of a log once all its events were looked at.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Stop, fault};
use crate::{EventLog, Timestamp, tile::signed, tree::Edge};

/// How many events were placed in an hour, by type and actor.
pub(super) type Hours = BTreeMap<(Timestamp, String, String), i64>;

/// Whether `head` says that the log ends as it does.
pub(super) async fn compare_head(
    log: &EventLog,
    connection: &mut PgConnection,
    tree: &Edge,
) -> Result<(), Stop> {
    let select = "select position, edge from event_log.head";
    let (position, edge): (i64, Vec<u8>) = sqlx::query_as(log.sql(select))
        .fetch_one(connection)
        .await?;
    if position.unsigned_abs() != tree.size() || edge != tree.bytes() {
        let what = format!("the log ends here, and `head` says that it ends at {position}");
        return fault(tree.size() + 1, what);
    }
    Ok(())
}

/// An event that neither has a place nor waits for one. Every place from the first on has led to an
/// event of its own, so to count them is enough, and quicker than to look for each one's place.
pub(super) async fn find_lost(
    log: &EventLog,
    connection: &mut PgConnection,
    size: u64,
) -> Result<(), Stop> {
    let select = "select exists (select from event_log.log where position < 1)";
    let outside: bool = sqlx::query_scalar(log.sql(select))
        .fetch_one(&mut *connection)
        .await?;
    if outside {
        return fault(1, "there are places before the first one");
    }
    let select = "select (select count(*) from event_log.events) > $1 + (
            select count(distinct event_id) from event_log.unplaced
            join event_log.events using (event_id)
            where not exists (select from event_log.log where event_id = unplaced.event_id))";
    let is_more: bool = sqlx::query_scalar(log.sql(select))
        .bind(signed(size))
        .fetch_one(&mut *connection)
        .await?;
    if !is_more {
        return Ok(());
    }
    let select = "select event_id from event_log.events events
        where not exists (select from event_log.log where event_id = events.event_id)
            and not exists (select from event_log.unplaced where event_id = events.event_id)
        limit 1";
    let lost: Option<Uuid> = sqlx::query_scalar(log.sql(select))
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(id) = lost {
        let what = format!("the event {id} has no place and waits for none");
        return fault(size + 1, what);
    }
    // The primary key of `events` was dropped.
    let select = "select event_id, position from (
            select event_id from event_log.events group by event_id having count(*) > 1
        ) twice left join event_log.log using (event_id) order by position limit 1";
    let twice: Option<(Uuid, Option<i64>)> = sqlx::query_as(log.sql(select))
        .fetch_optional(connection)
        .await?;
    match twice {
        Some((id, position)) => fault(
            position.map_or(size + 1, i64::unsigned_abs),
            format!("there are several events with the id {id}"),
        ),
        None => fault(size + 1, "there are more events than places"),
    }
}

/// What statistics are made of.
pub(super) async fn compare_counts(
    log: &EventLog,
    connection: &mut PgConnection,
    (counted, size): (&Hours, u64),
) -> Result<(), Stop> {
    let select = "select hour, event_type, actor, events from event_log.hours";
    let hours: Vec<(Timestamp, String, String, i64)> = sqlx::query_as(log.sql(select))
        .fetch_all(connection)
        .await?;
    let hours: Hours = hours
        .into_iter()
        .map(|(hour, event_type, actor, events)| ((hour, event_type, actor), events))
        .collect();
    if hours != *counted {
        let what = "the counts in `hours` are not those of the log";
        return fault(size + 1, what);
    }
    Ok(())
}
