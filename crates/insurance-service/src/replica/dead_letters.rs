//! Events that could not be applied, put aside so that the others go on.

use contracts::RegistrationNumber;
use sqlx::PgConnection;
use uuid::Uuid;
use vehicle_client::{EventFaultKind, VehicleEvent};

use super::{ACTOR, CONSUMER, store};

/// More open ones stop the consumer: a broken contract is no poison message.
const MOST_OPEN: i64 = 1_000;
/// Longest body that is kept, in bytes.
const LONGEST_BODY: usize = 65_536;

/// Why an event was put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Unreadable,
    Contract,
    /// Its statement failed.
    Effect,
    /// The process died of it, again and again.
    Crash,
}

impl From<EventFaultKind> for Reason {
    fn from(kind: EventFaultKind) -> Self {
        match kind {
            EventFaultKind::Unreadable => Self::Unreadable,
            EventFaultKind::Contract | EventFaultKind::Later { .. } => Self::Contract,
        }
    }
}

impl Reason {
    pub(super) const ALL: [Self; 4] = [Self::Unreadable, Self::Contract, Self::Effect, Self::Crash];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Contract => "contract",
            Self::Effect => "effect",
            Self::Crash => "crash",
        }
    }
}

/// An event to be put aside.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) event_id: Uuid,
    pub(super) position: i64,
    pub(super) registration_number: Option<RegistrationNumber>,
    pub(super) reason: Reason,
    pub(super) detail: &'static str,
    pub(super) event: String,
}

impl Letter {
    pub(super) fn is_unreadable(&self) -> bool {
        self.reason == Reason::Unreadable
    }
}

/// Puts an event aside. One that may be innocent is tried again by itself: its statement failed, or
/// the process died while it had the event in hand. `true`: so many are open now that the consumer
/// has to stop.
pub(super) async fn park(connection: &mut PgConnection, letter: &Letter) -> sqlx::Result<bool> {
    let bytes = letter.event.as_bytes();
    let body = &bytes[..bytes.len().min(LONGEST_BODY)];
    sqlx::query!(
        "insert into insurance_replica.dead_letters as known
             (dead_letter_id, consumer, event_id, position, registration_number, reason, detail,
              event, attempts, status, next_try_at)
         select gen_random_uuid(), $1, $2, $3, $4, $5, $6, $7,
             case when again then 1 else 0 end, case when again then 'retrying' else 'parked' end,
             case when again then clock_timestamp() + interval '1 second' end
         from (select $5 in ('effect', 'crash') as again) as tried
         on conflict (consumer, event_id) do update
         set position = excluded.position, reason = excluded.reason, detail = excluded.detail,
             attempts = excluded.attempts, status = excluded.status,
             next_try_at = excluded.next_try_at, parked_at = excluded.parked_at,
             closed_at = null, closed_by = null, note = null, superseded_at = null",
        CONSUMER,
        letter.event_id,
        letter.position,
        letter
            .registration_number
            .as_ref()
            .map(RegistrationNumber::as_str),
        letter.reason.label(),
        letter.detail,
        body
    )
    .execute(&mut *connection)
    .await?;
    let open: i64 = open(connection).await?.iter().map(|(_, count)| count).sum();
    Ok(open > MOST_OPEN)
}

/// How many are open, by reason.
pub(super) async fn open(connection: &mut PgConnection) -> sqlx::Result<Vec<(String, i64)>> {
    let counts = sqlx::query!(
        r#"select reason, count(*) as "count!" from insurance_replica.dead_letters
         where consumer = $1 and status in ('parked', 'retrying') group by reason"#,
        CONSUMER
    )
    .fetch_all(connection)
    .await?;
    Ok(counts.into_iter().map(|it| (it.reason, it.count)).collect())
}

/// How many events the copy lacks although an operator has closed them, and how many that name no
/// vehicle, open or closed: by those every vehicle is in doubt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lacking {
    pub(super) closed: i64,
    pub(super) nameless: i64,
}

pub(super) async fn lacking(connection: &mut PgConnection) -> sqlx::Result<Lacking> {
    sqlx::query_as!(
        Lacking,
        r#"select count(*) filter (where closed_at is not null) as "closed!",
             count(*) filter (where registration_number is null) as "nameless!"
         from insurance_replica.dead_letters
         where consumer = $1 and superseded_at is null
             and closed_by is distinct from 'worker/vehicle_replica'"#,
        CONSUMER
    )
    .fetch_one(connection)
    .await
}

/// Closes those of vehicles whose whole state a later event has told: their numbers, and where. What
/// an operator has closed stays as it was closed, and is in doubt no more.
pub(super) async fn supersede(
    connection: &mut PgConnection,
    numbers: &[String],
    positions: &[i64],
) -> sqlx::Result<()> {
    sqlx::query!(
        "update insurance_replica.dead_letters as letters
         set superseded_at = clock_timestamp(),
             status = case when closed_at is null then 'resolved' else status end,
             note = case when closed_at is null then 'superseded' else note end,
             closed_at = coalesce(closed_at, clock_timestamp()), closed_by = coalesce(closed_by, $4),
             next_try_at = null
         from unnest($2::text[], $3::bigint[]) as told (number, position)
         where letters.consumer = $1 and superseded_at is null
             and closed_by is distinct from 'worker/vehicle_replica'
             and letters.registration_number = told.number and letters.position < told.position",
        CONSUMER,
        numbers,
        positions,
        ACTOR
    )
    .execute(connection)
    .await
    .map(drop)
}

/// The same where the copy that is filled has what they told: it was begun later, has a later event
/// of the vehicle, or got the vehicle from the register later.
pub(super) async fn supersede_all(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!(
        "update insurance_replica.dead_letters as letters
         set superseded_at = clock_timestamp(),
             status = case when closed_at is null then 'resolved' else status end,
             note = case when closed_at is null then 'superseded' else note end,
             closed_at = coalesce(closed_at, clock_timestamp()), closed_by = coalesce(closed_by, $2),
             next_try_at = null
         from insurance_replica.consumers as now
         where now.consumer = $1 and letters.consumer = $1 and superseded_at is null
             and closed_by is distinct from 'worker/vehicle_replica'
             and (parked_at < now.filling_since or exists (
                 select from insurance_replica.vehicles as kept
                 where kept.generation = now.filling
                     and kept.registration_number = letters.registration_number
                     and (kept.position > letters.position
                         or (kept.position is null and kept.loaded_at > letters.parked_at))
             ))",
        CONSUMER,
        ACTOR
    )
    .execute(connection)
    .await
    .map(drop)
}

/// One that is to be tried again.
#[derive(Clone, Debug)]
pub(super) struct Due {
    dead_letter_id: Uuid,
    event: Vec<u8>,
}

/// The oldest one whose time has come. That it is tried is written before: one of which the process
/// dies is tried after 1 s, 5 s and 30 s, and then left to an operator.
pub(super) async fn take_due(connection: &mut PgConnection) -> sqlx::Result<Option<Due>> {
    sqlx::query_as!(
        Due,
        "update insurance_replica.dead_letters
         set attempts = least(attempts + 1, 1000),
             status = case when attempts < 3 then 'retrying' else 'parked' end,
             next_try_at = case attempts
                 when 0 then clock_timestamp() + interval '1 second'
                 when 1 then clock_timestamp() + interval '5 seconds'
                 when 2 then clock_timestamp() + interval '30 seconds'
             end
         where dead_letter_id in (
             select dead_letter_id from insurance_replica.dead_letters
             where consumer = $1 and status = 'retrying' and next_try_at <= clock_timestamp()
             order by position limit 1
         )
         returning dead_letter_id, event",
        CONSUMER
    )
    .fetch_optional(connection)
    .await
}

/// Applies one to these copies, which may know a newer state already.
pub(super) async fn apply(
    connection: &mut PgConnection,
    generations: &[i64],
    due: &Due,
) -> sqlx::Result<()> {
    let text = String::from_utf8_lossy(&due.event);
    match VehicleEvent::read(&text) {
        Ok(event) => {
            let kept = store::keep(connection, generations, &[(&event).into()]).await?;
            let number = event.registration_number.as_str().to_owned();
            supersede(connection, &[number], &[event.position]).await?;
            let note = if kept > 0 { "applied" } else { "superseded" };
            close(connection, due, note).await
        }
        // No time mends it: an operator tries it again with another version of the service.
        Err(fault) => give_up(connection, due, fault.detail).await,
    }
}

async fn close(connection: &mut PgConnection, due: &Due, note: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "update insurance_replica.dead_letters
         set status = 'resolved', closed_at = clock_timestamp(), closed_by = $2, note = $3,
             next_try_at = null
         where dead_letter_id = $1",
        due.dead_letter_id,
        ACTOR,
        note
    )
    .execute(connection)
    .await
    .map(drop)
}

async fn give_up(connection: &mut PgConnection, due: &Due, detail: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "update insurance_replica.dead_letters
         set status = 'parked', detail = $2, next_try_at = null where dead_letter_id = $1",
        due.dead_letter_id,
        detail
    )
    .execute(connection)
    .await
    .map(drop)
}
