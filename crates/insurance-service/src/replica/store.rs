//! The copy and how far it follows, in SQL.

use std::time::Duration;

use contracts::RegistrationNumber;
use sqlx::{PgConnection, postgres::PgQueryResult};
use uuid::Uuid;
use vehicle_client::RegisterPage;

use super::{ACTOR, CONSUMER, dead_letters, page::ReadTo};

/// Most rows that one statement of the sweep deletes of each kind.
const SWEPT: i64 = 1_000;

/// How far the consumer is, as its row says.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// The log that is followed; `None` before the first page of a snapshot.
    pub(super) log_id: Option<Uuid>,
    /// The last event that was applied; `None` at the beginning of the log.
    pub(super) event_id: Option<Uuid>,
    pub(super) position: i64,
    /// The last position of a page that was begun and not ended.
    pub(super) page_until: Option<i64>,
    /// How often it was begun.
    pub(super) attempts: i16,
    /// The copy that is read; 0 for none.
    pub(super) generation: i64,
    /// The log whose versions it has.
    pub(super) copy_log_id: Option<Uuid>,
    /// The copy that is being filled.
    pub(super) filling: Option<i64>,
    /// After which number its next page begins; `None` where all are copied.
    pub(super) snapshot_at: Option<String>,
    pub(super) mode: String,
}

impl State {
    /// The next place is not known where the register did not say from which its events are
    /// followed.
    pub(super) fn read_to(&self) -> ReadTo {
        let is_known = self.position > 0 || self.event_id.is_none();
        ReadTo {
            log_id: self.log_id,
            position: self.position,
            next: is_known.then_some(self.position + 1),
        }
    }

    /// Whether the copy that is read is of the log that is followed.
    pub(super) fn is_followed(&self) -> bool {
        self.generation > 0 && self.log_id.is_some() && self.copy_log_id == self.log_id
    }

    /// Whether there is one copy, and it is followed.
    pub(super) fn is_settled(&self) -> bool {
        self.is_followed() && self.filling.is_none()
    }

    /// Whether a copy is to be begun beside the one that is read.
    pub(super) fn lacks_copy(&self) -> bool {
        self.filling.is_none() && (self.mode == "snapshot" || !self.is_followed())
    }

    /// The copies that events go into. Versions of two logs are never compared.
    pub(super) fn followed(&self) -> Vec<i64> {
        let read = self.is_followed().then_some(self.generation);
        read.into_iter().chain(self.filling).collect()
    }
}

/// A state of a vehicle, to be kept where it is newer.
pub(super) struct Row {
    pub(super) registration_number: RegistrationNumber,
    pub(super) make: Option<String>,
    pub(super) model: Option<String>,
    pub(super) model_year: Option<i16>,
    pub(super) gone: bool,
    pub(super) version: i64,
    /// Of the event that told it.
    pub(super) position: Option<i64>,
}

/// The state, which nobody else changes until the end of the transaction.
pub(super) async fn lock(connection: &mut PgConnection) -> sqlx::Result<State> {
    sqlx::query_as!(
        State,
        "select log_id, event_id, position, page_until, attempts, generation, copy_log_id, filling,
             snapshot_at, mode
         from insurance_replica.consumers where consumer = $1 for update",
        CONSUMER
    )
    .fetch_one(connection)
    .await
}

/// Begins a copy beside the one that is read. Where the log is lost, nothing is known of the next
/// one, and the copy that is read is followed no more.
pub(super) async fn begin_filling(connection: &mut PgConnection, lost: bool) -> sqlx::Result<()> {
    sqlx::query!(
        "update insurance_replica.consumers
         set generations = generations + 1, filling = generations + 1,
             filling_since = clock_timestamp(), snapshot_at = '', filled = 0, mode = 'snapshot',
             log_id = case when $2 then null else log_id end,
             event_id = case when $2 then null else event_id end,
             position = case when $2 then 0 else position end,
             source_position = case when $2 then 0 else source_position end,
             copy_log_id = case when $2 then null else copy_log_id end,
             page_until = case when $2 then null else page_until end,
             attempts = case when $2 then 0 else attempts end
         where consumer = $1",
        CONSUMER,
        lost
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Notes that a page of the register was copied. The first one says where to follow from. What goes
/// wrong is told as long as the feed fails.
pub(super) async fn copied(
    connection: &mut PgConnection,
    page: &RegisterPage,
    vehicles: i64,
    other_fails: bool,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update insurance_replica.consumers
         set snapshot_at = $2, filled = filled + $3, log_id = coalesce(log_id, $4),
             event_id = case when log_id is null then $5 else event_id end,
             position = case when log_id is null then $6 else position end,
             source_position = case when log_id is null then $6 else source_position end,
             updated_at = clock_timestamp(),
             last_error = case when $7 then last_error end,
             last_error_at = case when $7 then last_error_at end
         where consumer = $1",
        CONSUMER,
        page.next.as_ref().map(RegistrationNumber::as_str),
        vehicles,
        page.log_id,
        page.last_event,
        page.position.unwrap_or_default(),
        other_fails
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Makes the copy that was filled the one that is read. How old the copy of another log was says
/// nothing of it.
pub(super) async fn turn(connection: &mut PgConnection) -> sqlx::Result<()> {
    dead_letters::supersede_all(connection).await?;
    sqlx::query!(
        "update insurance_replica.consumers
         set generation = filling, copy_log_id = log_id, filling = null, mode = 'follow',
             caught_up_at = case when copy_log_id = log_id then caught_up_at end
         where consumer = $1",
        CONSUMER
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Writes that the next events are begun, so that a crash in their midst shows.
pub(super) async fn begin_page(connection: &mut PgConnection, events: i64) -> sqlx::Result<()> {
    sqlx::query!(
        "update insurance_replica.consumers
         set attempts = attempts + 1, page_until = greatest(page_until, position + $2)
         where consumer = $1",
        CONSUMER,
        events
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Which of these states none of the copies has, by their order from 1 on: neither it nor a newer
/// one.
pub(super) async fn lacking(
    connection: &mut PgConnection,
    generations: &[i64],
    (numbers, versions): (&[String], &[i64]),
) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!(
        r#"select place as "place!"
         from unnest($2::text[], $3::bigint[]) with ordinality as told (number, version, place)
         where not exists (
             select from insurance_replica.vehicles as kept
             where generation = any($1) and registration_number = number
                 and kept.version >= told.version
         )"#,
        generations,
        numbers,
        versions
    )
    .fetch_all(connection)
    .await
}

/// Where the consumer is after a page.
pub(super) struct Reached {
    pub(super) event_id: Option<Uuid>,
    pub(super) position: i64,
    pub(super) source_position: i64,
    /// Where that was the end of the log: how long ago it was asked for.
    pub(super) all_since: Option<Duration>,
    /// Whether the register fails.
    pub(super) other_fails: bool,
}

/// Notes that. What goes wrong is told as long as the register fails.
pub(super) async fn advance(connection: &mut PgConnection, to: &Reached) -> sqlx::Result<()> {
    sqlx::query!(
        "update insurance_replica.consumers
         set event_id = $2, position = $3::bigint, attempts = 0,
             source_position = greatest($3::bigint, $4::bigint),
             page_until = case when page_until > $3::bigint then page_until end,
             caught_up_at = case
                 when copy_log_id = log_id and $5::float8 is not null then
                     greatest(caught_up_at, clock_timestamp() - make_interval(secs => $5))
                 else caught_up_at
             end,
             updated_at = clock_timestamp(),
             last_error = case when $6 then last_error end,
             last_error_at = case when $6 then last_error_at end
         where consumer = $1",
        CONSUMER,
        to.event_id,
        to.position,
        to.source_position,
        to.all_since.map(|it| it.as_secs_f64()),
        to.other_fails
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Keeps the kind of what went wrong, until something goes well.
pub(super) async fn failed(connection: &mut PgConnection, kind: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "update insurance_replica.consumers
         set last_error = $2, last_error_at = clock_timestamp() where consumer = $1",
        CONSUMER,
        kind
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Follows no further until an operator says so.
pub(super) async fn stop(connection: &mut PgConnection, kind: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "update insurance_replica.consumers
         set mode = 'paused', mode_by = $3, mode_reason = $2, mode_owner = null,
             mode_since = clock_timestamp(), last_error = $2, last_error_at = clock_timestamp()
         where consumer = $1",
        CONSUMER,
        kind,
        ACTOR
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Keeps each state in each of the copies, unless what is there is as new or newer: how many were
/// written. Each vehicle is there once.
pub(super) async fn keep(
    connection: &mut PgConnection,
    generations: &[i64],
    rows: &[Row],
) -> sqlx::Result<u64> {
    let numbers: Vec<_> = rows
        .iter()
        .map(|row| row.registration_number.as_str().to_owned())
        .collect();
    let makes: Vec<_> = rows.iter().map(|row| row.make.clone()).collect();
    let models: Vec<_> = rows.iter().map(|row| row.model.clone()).collect();
    let years: Vec<_> = rows.iter().map(|row| row.model_year).collect();
    let gone: Vec<_> = rows.iter().map(|row| row.gone).collect();
    let versions: Vec<_> = rows.iter().map(|row| row.version).collect();
    let positions: Vec<_> = rows.iter().map(|row| row.position).collect();
    let kept = sqlx::query!(
        "insert into insurance_replica.vehicles as kept
             (generation, registration_number, make, model, model_year, deleted_at, version, position)
         select generation, number, make, model, model_year,
             case when gone then clock_timestamp() end, version, position
         from unnest($1::bigint[]) as generation,
             unnest($2::text[], $3::text[], $4::text[], $5::smallint[], $6::boolean[], $7::bigint[],
                 $8::bigint[])
                 as told (number, make, model, model_year, gone, version, position)
         on conflict (generation, registration_number) do update
         set make = excluded.make, model = excluded.model, model_year = excluded.model_year,
             deleted_at = excluded.deleted_at, version = excluded.version,
             position = excluded.position, loaded_at = excluded.loaded_at
         where kept.version < excluded.version",
        generations,
        &numbers,
        &makes as _,
        &models as _,
        &years as _,
        &gone,
        &versions,
        &positions as _
    )
    .execute(connection)
    .await?;
    Ok(kept.rows_affected())
}

/// Deletes some of what nobody reads any more: tombstones, closed dead letters and changes of this
/// age, and copies that were replaced or given up. Of a letter that is closed and whose event the copy still
/// lacks, that much is kept. How many rows.
pub(super) async fn sweep(
    connection: &mut PgConnection,
    state: &State,
    age: Duration,
) -> sqlx::Result<u64> {
    let tombstones = sqlx::query!(
        "with old as (
             select generation, registration_number from insurance_replica.vehicles
             where deleted_at < clock_timestamp() - make_interval(secs => $1)
             order by deleted_at limit $2
         )
         delete from insurance_replica.vehicles as kept using old
         where kept.generation = old.generation
             and kept.registration_number = old.registration_number",
        age.as_secs_f64(),
        SWEPT
    )
    .execute(&mut *connection)
    .await?;
    // In two ranges of the key, so that the rows that are read are not looked at.
    let copies = sqlx::query!(
        "with old as (
             (select generation, registration_number from insurance_replica.vehicles
              where generation < $1 order by generation, registration_number limit $3)
             union all
             (select generation, registration_number from insurance_replica.vehicles
              where generation > $1 and generation < coalesce($2, 9223372036854775807)
              order by generation, registration_number limit $3)
         )
         delete from insurance_replica.vehicles as kept using old
         where kept.generation = old.generation
             and kept.registration_number = old.registration_number",
        state.generation,
        state.filling,
        SWEPT
    )
    .execute(&mut *connection)
    .await?;
    let letters = sqlx::query!(
        "delete from insurance_replica.dead_letters where dead_letter_id in (
             select dead_letter_id from insurance_replica.dead_letters
             where closed_at < clock_timestamp() - make_interval(secs => $1)
                 and (superseded_at is not null or closed_by = $3)
             order by closed_at limit $2
         )",
        age.as_secs_f64(),
        SWEPT,
        ACTOR
    )
    .execute(&mut *connection)
    .await?;
    let bodies = sqlx::query!(
        "update insurance_replica.dead_letters set event = '' where dead_letter_id in (
             select dead_letter_id from insurance_replica.dead_letters
             where closed_at < clock_timestamp() - make_interval(secs => $1) and event <> ''
             order by closed_at limit $2
         )",
        age.as_secs_f64(),
        SWEPT
    )
    .execute(&mut *connection)
    .await?;
    let changes = sqlx::query!(
        "delete from insurance_replica.changes
         where changed_at < clock_timestamp() - make_interval(secs => $1)",
        age.as_secs_f64()
    )
    .execute(connection)
    .await?;
    let done = [tombstones, copies, letters, bodies, changes];
    Ok(done.iter().map(PgQueryResult::rows_affected).sum())
}

/// What everybody may know of the consumer.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) position: i64,
    pub(super) source_position: i64,
    pub(super) mode: String,
    /// The copy that is read; 0 for none.
    pub(super) generation: i64,
    /// Seconds since the copy had everything, or since the first one was begun.
    pub(super) lag: f64,
    pub(super) last_error: Option<String>,
}

pub(super) async fn see(connection: &mut PgConnection) -> sqlx::Result<Seen> {
    sqlx::query_as!(
        Seen,
        r#"select position, source_position, mode, generation, last_error,
             coalesce(extract(epoch from
                 clock_timestamp() - coalesce(caught_up_at, filling_since))::float8, 0) as "lag!"
         from insurance_replica.consumers where consumer = $1"#,
        CONSUMER
    )
    .fetch_one(connection)
    .await
}

/// How many vehicles the copy that is read has, and how many tombstones there are. It reads an
/// index of all of them.
pub(super) async fn count(connection: &mut PgConnection) -> sqlx::Result<(i64, i64)> {
    let longer = sqlx::raw_sql("set local statement_timeout = '8s'");
    longer.execute(&mut *connection).await?;
    let counts = sqlx::query!(
        r#"select
             (select count(*) from insurance_replica.vehicles where generation = (
                 select generation from insurance_replica.consumers where consumer = $1
             )) as "rows!",
             (select count(*) from insurance_replica.vehicles where deleted_at is not null)
                 as "tombstones!""#,
        CONSUMER
    )
    .fetch_one(connection)
    .await?;
    Ok((counts.rows, counts.tombstones))
}
