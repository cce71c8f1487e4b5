//! The orders of operators: to start a replay, and to end one.

use contracts::ConsumerMode;
use service_database::Error;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{super::window::Window, end, watch};
use crate::consumer::{Order, give};

/// The copy that a dry run is to be compared with.
pub(crate) struct Copied {
    /// Its log and the last place that it has; `None` before the first copy.
    pub(crate) has: Option<(Uuid, i64)>,
}

/// How far the copy of a consumer is; `None` where there is no such consumer.
pub(crate) async fn copy(
    connection: &mut PgConnection,
    consumer: &str,
) -> sqlx::Result<Option<Copied>> {
    let row = sqlx::query!(
        "select generation, log_id, copy_log_id, position
         from insurance_replica.consumers where consumer = $1",
        consumer
    );
    let row = row.fetch_optional(connection).await?;
    Ok(row.map(|row| Copied {
        has: row
            .copy_log_id
            .filter(|log| row.generation > 0 && row.log_id == Some(*log))
            .map(|log| (log, row.position)),
    }))
}

/// A replay that is to be started.
pub(crate) struct New {
    pub(crate) id: Uuid,
    pub(crate) consumer: String,
    /// Of a dry run; a rebuild has none.
    pub(crate) window: Option<Window>,
    pub(crate) reason: String,
    pub(crate) key_id: String,
    /// The same, as it is kept beside what changes.
    pub(crate) actor: String,
}

/// What has become of the wish for a replay.
pub(crate) enum Start {
    Started,
    /// This one has not ended.
    Running(Uuid),
    /// The consumer of a rebuild does something else: it is paused, or makes a copy already.
    NotFollowing,
    /// Nobody has the name.
    NoConsumer,
}

/// Writes a dry run down, for the worker to begin, or orders a rebuild.
pub(crate) async fn start(connection: &mut PgConnection, new: &New) -> Result<Start, Error> {
    // Orders come one after the other.
    let locked = sqlx::query!(
        "select mode, generations, filling from insurance_replica.consumers
         where consumer = $1 for update",
        new.consumer
    );
    let Some(consumer) = locked.fetch_optional(&mut *connection).await? else {
        return Ok(Start::NoConsumer);
    };
    let running = sqlx::query_scalar!(
        "select replay_id from insurance_replica.replays
         where consumer = $1 and status in ('pending', 'running', 'cancelling')",
        new.consumer
    );
    if let Some(running) = running.fetch_optional(&mut *connection).await? {
        return Ok(Start::Running(running));
    }
    if let Some(window) = &new.window {
        start_dry_run(connection, new, window).await?;
    } else if consumer.mode != ConsumerMode::Follow.name() || consumer.filling.is_some() {
        return Ok(Start::NotFollowing);
    } else {
        start_rebuild(connection, new, consumer.generations + 1).await?;
    }
    Ok(Start::Started)
}

async fn start_dry_run(
    connection: &mut PgConnection,
    new: &New,
    window: &Window,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into insurance_replica.replays
             (replay_id, consumer, mode, from_position, until_position, log_id, expected,
              requested_by, reason)
         values ($1, $2, 'dry_run', $3, $4, $5, $4::bigint - $3::bigint + 1, $6, $7)",
        new.id,
        new.consumer,
        window.from,
        window.until,
        window.log_id,
        new.key_id,
        new.reason
    )
    .execute(connection)
    .await
    .map(drop)
}

async fn start_rebuild(
    connection: &mut PgConnection,
    new: &New,
    generation: i64,
) -> sqlx::Result<()> {
    let order = Order {
        consumer: new.consumer.clone(),
        mode: ConsumerMode::Snapshot,
        by: new.actor.clone(),
        reason: new.reason.clone(),
        owner: None,
    };
    give(connection, &order).await?;
    sqlx::query!(
        "insert into insurance_replica.replays
             (replay_id, consumer, mode, status, generation, expected, requested_by, reason,
              started_at)
         select $1, $2, 'rebuild', 'running', $3, filled, $4, $5, clock_timestamp()
         from insurance_replica.consumers where consumer = $2",
        new.id,
        new.consumer,
        generation,
        new.key_id,
        new.reason
    )
    .execute(connection)
    .await
    .map(drop)
}

/// What has become of the wish to end a replay.
pub(crate) enum Cancel {
    /// It ends, or has ended by it.
    Cancelled,
    /// It has ended before.
    Ended,
    /// The copy that is read is of another log: there must be a new one.
    Needed,
}

/// Ends a replay, or has the worker end it after its page; `None` where there is none.
pub(crate) async fn cancel(
    connection: &mut PgConnection,
    id: Uuid,
) -> Result<Option<Cancel>, Error> {
    // What changes the consumer locks it first, one after the other. A dry run leaves it alone, so its
    // end does not wait for the page that the consumer is at.
    let lock = sqlx::query!(
        "select from insurance_replica.consumers where consumer = (
             select consumer from insurance_replica.replays
             where replay_id = $1 and mode = 'rebuild'
         ) for update",
        id
    );
    lock.execute(&mut *connection).await?;
    let row = sqlx::query!(
        r#"select one.consumer, one.mode, status, one.generation,
             coalesce(its.mode = 'snapshot' and mode_since > started_at, false)
                 as "other_is_ordered!"
         from insurance_replica.replays as one
             join insurance_replica.consumers as its using (consumer)
         where replay_id = $1 for update of one"#,
        id
    );
    let Some(row) = row.fetch_optional(&mut *connection).await? else {
        return Ok(None);
    };
    let next = match row.status.as_str() {
        "running" if row.mode == "rebuild" => {
            if watch(connection, id).await?.is_some() {
                return Ok(Some(Cancel::Ended));
            }
            // Somebody else has ordered a copy since, and that one is made.
            if !row.other_is_ordered
                && !stop_filling(connection, &row.consumer, row.generation).await?
            {
                return Ok(Some(Cancel::Needed));
            }
            "cancelled"
        }
        "running" => "cancelling",
        "cancelling" => return Ok(Some(Cancel::Cancelled)),
        "pending" => "cancelled",
        _ => return Ok(Some(Cancel::Ended)),
    };
    end(connection, id, next, None).await?;
    Ok(Some(Cancel::Cancelled))
}

/// Has the consumer go on with the copy that is read, as it did before the rebuild, and sweep the one
/// that it was filling. `false`: that copy is of another log, or of one that is lost.
async fn stop_filling(
    connection: &mut PgConnection,
    consumer: &str,
    generation: Option<i64>,
) -> sqlx::Result<bool> {
    let stopped = sqlx::query!(
        "update insurance_replica.consumers
         set filling = null, snapshot_at = null,
             mode = case when mode = 'paused' then mode else 'follow' end
         where consumer = $1 and generation > 0 and generation < $2
             and copy_log_id = log_id",
        consumer,
        generation
    );
    Ok(stopped.execute(connection).await?.rows_affected() > 0)
}
