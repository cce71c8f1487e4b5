//! Replays in SQL.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{
    ComparisonCount, ComparisonOutcome, ConsumerMode, Replay, ReplayMode, ReplayStatus,
};
use service_database::Error;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    compare::{Details, Differences, Findings, Kept},
    window::Window,
};
use crate::consumer::{Order, give, known};

struct Row {
    replay_id: Uuid,
    consumer: String,
    mode: String,
    status: String,
    from_position: Option<i64>,
    until_position: Option<i64>,
    position: i64,
    seen: i64,
    expected: i64,
    equal: i64,
    newer: i64,
    failed: i64,
    differences: String,
    per_second: Option<f64>,
    estimated_end_at: Option<String>,
    failure: Option<String>,
    reason: String,
    requested_by: String,
    created_at: String,
    ended_at: Option<String>,
}

impl Row {
    fn into_wire(self) -> sqlx::Result<Replay> {
        let mode = known(ReplayMode::named(&self.mode))?;
        let differences: Differences = read(&self.differences)?;
        let mut counts = BTreeMap::from([
            (ComparisonOutcome::Equal.name(), self.equal),
            (ComparisonOutcome::ReplicaAhead.name(), self.newer),
        ]);
        for difference in differences.values() {
            *counts.entry(&difference.outcome).or_default() += 1;
        }
        let outcomes = counts.into_iter().filter(|(_, count)| *count > 0);
        let outcomes = outcomes.map(|(outcome, count)| {
            let outcome = known(ComparisonOutcome::named(outcome))?;
            Ok(ComparisonCount { outcome, count })
        });
        let fields: BTreeSet<_> = differences.values().flat_map(|it| &it.fields).collect();
        Ok(Replay {
            replay_id: self.replay_id.to_string(),
            mode,
            status: known(ReplayStatus::named(&self.status))?,
            position: Some(self.position).filter(|position| *position > 0),
            outcomes: outcomes.collect::<sqlx::Result<_>>()?,
            fields: fields.into_iter().cloned().collect(),
            consumer: self.consumer,
            from_position: self.from_position,
            until_position: self.until_position,
            seen: self.seen,
            expected: self.expected,
            failed: self.failed,
            per_second: self.per_second,
            estimated_end_at: self.estimated_end_at,
            failure: self.failure,
            reason: self.reason,
            requested_by: self.requested_by,
            created_at: self.created_at,
            ended_at: self.ended_at,
        })
    }
}

fn read(differences: &str) -> sqlx::Result<Differences> {
    serde_json::from_str(differences).map_err(|error| sqlx::Error::Decode(error.into()))
}

fn written(differences: &Differences) -> Result<String, Error> {
    let written = serde_json::to_string(differences);
    Ok(written.map_err(|error| sqlx::Error::Encode(error.into()))?)
}

/// The replay of this id, or the latest ones.
pub(crate) async fn replays(
    connection: &mut PgConnection,
    id: Option<Uuid>,
) -> sqlx::Result<Vec<Replay>> {
    // A rate is told once there was a second to measure it in.
    let rows = sqlx::query_as!(
        Row,
        r#"select replay_id, consumer, mode, status, from_position, until_position, position, seen,
             expected, equal, newer, failed, differences::text as "differences!",
             seen / nullif(lasted, 0) as per_second,
             case when ended_at is null then
                 to_char((clock_timestamp() + make_interval(
                     secs => greatest(expected - seen, 0) * lasted / nullif(seen, 0)
                 )) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
             end as estimated_end_at,
             failure, reason, requested_by,
             to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as "created_at!",
             to_char(ended_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as ended_at
         from insurance_replica.replays, lateral (
             select extract(epoch from coalesce(ended_at, clock_timestamp()) - started_at)::float8
                 as lasted
         ) as measured
         where $1::uuid is null or replay_id = $1
         order by replays.created_at desc, replay_id limit 50"#,
        id
    );
    let rows = rows.fetch_all(connection).await?;
    rows.into_iter().map(Row::into_wire).collect()
}

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
}

/// What has become of the wish for a replay.
pub(crate) enum Start {
    Started,
    /// This one has not ended.
    Running(Uuid),
    /// Nobody has the name.
    NoConsumer,
}

/// Writes a dry run down, for the worker to begin, or orders a rebuild.
pub(crate) async fn start(connection: &mut PgConnection, new: &New) -> Result<Start, Error> {
    // Orders come one after the other.
    let locked = sqlx::query!(
        "select generations, filling from insurance_replica.consumers
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
    } else {
        // A copy that is being made already is the one that is wanted.
        let generation = consumer.filling.unwrap_or(consumer.generations + 1);
        start_rebuild(connection, new, generation).await?;
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
        by: format!("key/{}", new.key_id),
        reason: new.reason.clone(),
        owner: None,
    };
    give(connection, &order).await?;
    sqlx::query!(
        "insert into insurance_replica.replays
             (replay_id, consumer, mode, status, generation, expected, requested_by, reason,
              started_at)
         select $1, $2, 'rebuild', 'running', $3, count(vehicles), $4, $5, clock_timestamp()
         from insurance_replica.consumers left join insurance_replica.vehicles
             on vehicles.generation = consumers.generation and deleted_at is null
         where consumer = $2",
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
    let row = sqlx::query!(
        "select consumer, mode, status, generation from insurance_replica.replays
         where replay_id = $1 for update",
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
            if !stop_filling(connection, &row.consumer, row.generation).await? {
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

/// Has the consumer go on with the copy that is read, and sweep the one that it was filling.
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
             and copy_log_id is not distinct from log_id",
        consumer,
        generation
    );
    Ok(stopped.execute(connection).await?.rows_affected() > 0)
}

/// Gives a replay that has not ended another status.
async fn end(
    connection: &mut PgConnection,
    id: Uuid,
    status: &str,
    failure: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update insurance_replica.replays
         set status = $2, failure = $3,
             ended_at = case when $2 <> 'cancelling' then clock_timestamp() end
         where replay_id = $1 and status in ('pending', 'running', 'cancelling')",
        id,
        status,
        failure
    )
    .execute(connection)
    .await
    .map(drop)
}

/// A replay that has not ended.
pub(super) struct Active {
    pub(super) id: Uuid,
    pub(super) mode: ReplayMode,
}

/// The oldest replay that has not ended.
pub(super) async fn active(connection: &mut PgConnection) -> sqlx::Result<Option<Active>> {
    let row = sqlx::query!(
        "select replay_id, mode from insurance_replica.replays
         where status in ('pending', 'running', 'cancelling') order by created_at limit 1"
    );
    let row = row.fetch_optional(connection).await?;
    row.map(|row| {
        let mode = known(ReplayMode::named(&row.mode))?;
        Ok(Active {
            id: row.replay_id,
            mode,
        })
    })
    .transpose()
}

/// A dry run, as far as it is.
#[derive(Clone, Debug)]
pub(super) struct DryRun {
    pub(super) id: Uuid,
    pub(super) from: i64,
    pub(super) until: i64,
    pub(super) log_id: Uuid,
    /// After which event it goes on.
    pub(super) event_id: Option<Uuid>,
    pub(super) position: i64,
    pub(super) seen: i64,
    pub(super) failed: i64,
    pub(super) findings: Findings,
}

/// Begins a dry run, or goes on with it. `None`: it has ended, also because it was told to.
pub(super) async fn resume(
    connection: &mut PgConnection,
    id: Uuid,
) -> Result<Option<DryRun>, Error> {
    if cancelled(connection, id).await? {
        return Ok(None);
    }
    let row = sqlx::query!(
        r#"update insurance_replica.replays
         set status = 'running', started_at = coalesce(started_at, clock_timestamp())
         where replay_id = $1 and status in ('pending', 'running')
         returning from_position as "from!", until_position as "until!", log_id as "log_id!",
             event_id, position, seen, failed, equal, newer, differences::text as "differences!""#,
        id
    );
    let Some(row) = row.fetch_optional(connection).await? else {
        return Ok(None);
    };
    Ok(Some(DryRun {
        id,
        from: row.from,
        until: row.until,
        log_id: row.log_id,
        event_id: row.event_id,
        position: row.position,
        seen: row.seen,
        failed: row.failed,
        findings: Findings {
            equal: row.equal,
            newer: row.newer,
            differences: read(&row.differences)?,
        },
    }))
}

/// Ends a replay that was told to, and keeps its row locked otherwise.
async fn cancelled(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<bool> {
    let status = sqlx::query_scalar!(
        "select status from insurance_replica.replays where replay_id = $1 for update",
        id
    );
    let status = status.fetch_one(&mut *connection).await?;
    if status == "cancelling" {
        end(connection, id, "cancelled", None).await?;
        forget(connection, id).await?;
    }
    Ok(!matches!(status.as_str(), "pending" | "running"))
}

/// What the copy that is read has of these vehicles.
pub(super) async fn kept(
    connection: &mut PgConnection,
    numbers: &[String],
) -> sqlx::Result<BTreeMap<String, Kept>> {
    let rows = sqlx::query!(
        r#"select registration_number, version, make, model, model_year,
             deleted_at is not null as "deleted!"
         from insurance_replica.vehicles
         where generation = (select max(generation) from insurance_replica.consumers)
             and registration_number = any($1)"#,
        numbers
    );
    let rows = rows.fetch_all(connection).await?;
    let kept = rows.into_iter().map(|row| {
        let details = Details {
            make: row.make,
            model: row.model,
            model_year: row.model_year,
        };
        let kept = Kept {
            version: row.version,
            details: Some(details).filter(|_| !row.deleted),
        };
        (row.registration_number, kept)
    });
    Ok(kept.collect())
}

/// Writes down how far a dry run is. `false`: it has ended, also because it was told to.
pub(super) async fn advance(connection: &mut PgConnection, run: &DryRun) -> Result<bool, Error> {
    if cancelled(connection, run.id).await? {
        return Ok(false);
    }
    let differences = written(&run.findings.differences)?;
    let advanced = sqlx::query!(
        "update insurance_replica.replays
         set event_id = $2, position = $3, seen = $4, failed = $5, equal = $6, newer = $7,
             differences = $8::text::jsonb
         where replay_id = $1",
        run.id,
        run.event_id,
        run.position,
        run.seen,
        run.failed,
        run.findings.equal,
        run.findings.newer,
        differences
    );
    advanced.execute(connection).await?;
    Ok(true)
}

/// Ends a dry run, and forgets which vehicles differ.
pub(super) async fn finish(
    connection: &mut PgConnection,
    id: Uuid,
    failure: Option<&str>,
) -> Result<(), Error> {
    if !cancelled(connection, id).await? {
        let status = if failure.is_some() {
            "failed"
        } else {
            "completed"
        };
        end(connection, id, status, failure).await?;
        forget(connection, id).await?;
    }
    Ok(())
}

async fn forget(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "update insurance_replica.replays
         set differences = (
             select coalesce(jsonb_object_agg(number::text, found), '{}')
             from jsonb_path_query(differences, '$.*') with ordinality as each (found, number)
         )
         where replay_id = $1",
        id
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Looks what the consumer has made of a rebuild; `None` while it is at work.
pub(super) async fn watch(
    connection: &mut PgConnection,
    id: Uuid,
) -> Result<Option<ReplayStatus>, Error> {
    let row = sqlx::query!(
        "update insurance_replica.replays
         set seen = next.seen, status = next.status,
             failure = case when next.status = 'failed' then 'given_up' end,
             ended_at = case when next.status <> 'running' then clock_timestamp() end
         from (
             select replay_id as id,
                 case when one.generation in (its.generation, its.filling)
                     then filled else seen end as seen,
                 case
                     when its.generation = one.generation then 'completed'
                     when its.filling = one.generation then 'running'
                     when generations < one.generation and its.mode <> 'follow' then 'running'
                     else 'failed'
                 end as status
             from insurance_replica.replays as one
                 join insurance_replica.consumers as its using (consumer)
             where replay_id = $1
         ) as next
         where replay_id = next.id and replays.status = 'running'
         returning replays.status",
        id
    );
    let row = row.fetch_optional(connection).await?;
    let status = row.map(|row| known(ReplayStatus::named(&row.status)));
    let status = status.transpose()?;
    Ok(status.filter(|status| *status != ReplayStatus::Running))
}
