//! What operators see and change, in SQL.

use contracts::{
    ComparisonCount, ComparisonOutcome, Consumer, ConsumerControl, ConsumerMode, ConsumerSnapshot,
    DeadLetter, DeadLetterPage, DeadLetterReason, DeadLetterStatus, DeadLetterWithEvent,
    ReplicaComparison, ReplicaDifference,
};
use service_database::Error;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::consumer::{Order, give, known};

/// The consumer of this name, or all of them.
pub(super) async fn consumers(
    connection: &mut PgConnection,
    name: Option<&str>,
) -> sqlx::Result<Vec<Consumer>> {
    let rows = sqlx::query!(
        r#"select consumer, mode, mode_by, mode_reason, mode_owner, log_id, position,
             source_position, generation, filling, filled, attempts, last_error,
             to_char(mode_since at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as mode_since,
             to_char(updated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as "updated_at!",
             floor(extract(epoch from clock_timestamp() - caught_up_at))::bigint as lag_seconds,
             (select count(*) from insurance_replica.dead_letters
              where dead_letters.consumer = consumers.consumer
                  and status in ('parked', 'retrying')) as "open_dead_letters!"
         from insurance_replica.consumers
         where $1::text is null or consumer = $1
         order by consumer"#,
        name
    );
    let rows = rows.fetch_all(connection).await?;
    let consumers = rows.into_iter().map(|row| {
        let control = row.mode_by.map(|by| ConsumerControl {
            reason: row.mode_reason,
            owner: row.mode_owner,
            by,
            since: row.mode_since.unwrap_or_default(),
        });
        let source_position = row.log_id.map(|_| row.source_position);
        Ok(Consumer {
            mode: known(ConsumerMode::named(&row.mode))?,
            control,
            position: row.position,
            source_position,
            lag_events: source_position.map(|source| (source - row.position).max(0)),
            lag_seconds: row.lag_seconds.map(|lag| lag.max(0)),
            log_id: row.log_id.map(|it| it.to_string()),
            generation: row.generation,
            snapshot: row.filling.map(|generation| ConsumerSnapshot {
                generation,
                copied: row.filled,
            }),
            attempts: row.attempts.into(),
            open_dead_letters: row.open_dead_letters,
            last_error: row.last_error,
            updated_at: row.updated_at,
            consumer: row.consumer,
        })
    });
    consumers.collect()
}

/// Gives an order, and says what has become of the consumer; `None` where there is none.
pub(super) async fn set_mode(
    connection: &mut PgConnection,
    order: &Order,
) -> Result<Option<Consumer>, Error> {
    give(connection, order).await?;
    Ok(consumers(connection, Some(&order.consumer)).await?.pop())
}

/// Which dead letters are wanted.
pub(super) struct Asked {
    pub(super) consumer: String,
    pub(super) status: Option<DeadLetterStatus>,
    pub(super) after: Option<Uuid>,
    pub(super) limit: i64,
}

struct Letter {
    dead_letter_id: Uuid,
    consumer: String,
    event_id: Uuid,
    position: i64,
    reason: String,
    detail: String,
    attempts: i16,
    status: String,
    parked_at: String,
    closed_at: Option<String>,
    closed_by: Option<String>,
    note: Option<String>,
}

impl Letter {
    fn into_wire(self) -> sqlx::Result<DeadLetter> {
        Ok(DeadLetter {
            dead_letter_id: self.dead_letter_id.to_string(),
            consumer: self.consumer,
            event_id: self.event_id.to_string(),
            position: self.position,
            reason: known(DeadLetterReason::named(&self.reason))?,
            detail: self.detail,
            attempts: self.attempts.into(),
            status: known(DeadLetterStatus::named(&self.status))?,
            parked_at: self.parked_at,
            closed_at: self.closed_at,
            closed_by: self.closed_by,
            note: self.note,
        })
    }
}

/// A page of dead letters; `None` where there is no such consumer.
pub(super) async fn dead_letters(
    connection: &mut PgConnection,
    asked: &Asked,
) -> sqlx::Result<Option<DeadLetterPage>> {
    if !exists(connection, &asked.consumer).await? {
        return Ok(None);
    }
    // One more than asked for tells whether others follow.
    let rows = sqlx::query_as!(
        Letter,
        r#"select dead_letter_id, consumer, event_id, position, reason, detail, attempts, status,
             to_char(parked_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as "parked_at!",
             to_char(closed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as closed_at,
             closed_by, note
         from insurance_replica.dead_letters
         where consumer = $1 and ($2::text is null or status = $2)
             and ($3::uuid is null or dead_letter_id > $3)
         order by dead_letter_id limit $4::bigint + 1"#,
        asked.consumer,
        asked.status.map(DeadLetterStatus::name),
        asked.after,
        asked.limit
    );
    let rows = rows.fetch_all(connection).await?;
    let letters: sqlx::Result<Vec<_>> = rows.into_iter().map(Letter::into_wire).collect();
    let mut dead_letters = letters?;
    let whole = usize::try_from(asked.limit).unwrap_or(usize::MAX);
    let more = dead_letters.len() > whole;
    dead_letters.truncate(whole);
    let last = dead_letters.last().filter(|_| more);
    let next = last.map(|letter| letter.dead_letter_id.clone());
    Ok(Some(DeadLetterPage { dead_letters, next }))
}

async fn exists(connection: &mut PgConnection, consumer: &str) -> sqlx::Result<bool> {
    let found = sqlx::query_scalar!(
        r#"select exists(select from insurance_replica.consumers where consumer = $1) as "found!""#,
        consumer
    );
    found.fetch_one(connection).await
}

/// A dead letter with its event.
pub(super) async fn dead_letter(
    connection: &mut PgConnection,
    consumer: &str,
    id: Uuid,
) -> sqlx::Result<Option<DeadLetterWithEvent>> {
    let Some(dead_letter) = letter(connection, consumer, id).await? else {
        return Ok(None);
    };
    let event = sqlx::query_scalar!(
        "select event from insurance_replica.dead_letters where dead_letter_id = $1",
        id
    );
    // Closed ones are deleted after a while.
    let event = event.fetch_optional(connection).await?;
    Ok(event.map(|event| DeadLetterWithEvent {
        dead_letter,
        event: String::from_utf8_lossy(&event).into_owned(),
    }))
}

async fn letter(
    connection: &mut PgConnection,
    consumer: &str,
    id: Uuid,
) -> sqlx::Result<Option<DeadLetter>> {
    let row = sqlx::query_as!(
        Letter,
        r#"select dead_letter_id, consumer, event_id, position, reason, detail, attempts, status,
             to_char(parked_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as "parked_at!",
             to_char(closed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as closed_at,
             closed_by, note
         from insurance_replica.dead_letters where consumer = $1 and dead_letter_id = $2"#,
        consumer,
        id
    );
    let row = row.fetch_optional(connection).await?;
    row.map(Letter::into_wire).transpose()
}

/// What is to become of a dead letter.
pub(super) struct Move {
    pub(super) consumer: String,
    pub(super) id: Uuid,
    pub(super) status: DeadLetterStatus,
    pub(super) by: String,
    pub(super) note: Option<String>,
}

/// The dead letter, and whether it was open; `None` where there is none.
pub(super) async fn move_dead_letter(
    connection: &mut PgConnection,
    wanted: &Move,
) -> Result<Option<(DeadLetter, bool)>, Error> {
    let retrying = wanted.status == DeadLetterStatus::Retrying;
    let moved = sqlx::query!(
        "update insurance_replica.dead_letters
         set status = $3, note = $4,
             next_try_at = case when $5 then clock_timestamp() end,
             closed_at = case when not $5 then clock_timestamp() end,
             closed_by = case when not $5 then $6 end
         where consumer = $1 and dead_letter_id = $2 and status in ('parked', 'retrying')",
        wanted.consumer,
        wanted.id,
        wanted.status.name(),
        wanted.note,
        retrying,
        wanted.by
    );
    let moved = moved.execute(&mut *connection).await?.rows_affected() > 0;
    let letter = letter(connection, &wanted.consumer, wanted.id).await?;
    Ok(letter.map(|letter| (letter, moved)))
}

/// How many parked dead letters are tried again; `None` where there is no such consumer.
pub(super) async fn retry_oldest(
    connection: &mut PgConnection,
    consumer: &str,
    limit: i64,
) -> Result<Option<u64>, Error> {
    if !exists(connection, consumer).await? {
        return Ok(None);
    }
    let retried = sqlx::query!(
        "update insurance_replica.dead_letters
         set status = 'retrying', next_try_at = clock_timestamp()
         where dead_letter_id in (
             select dead_letter_id from insurance_replica.dead_letters
             where consumer = $1 and status = 'parked'
             order by position limit $2 for update
         )",
        consumer,
        limit
    );
    Ok(Some(retried.execute(connection).await?.rows_affected()))
}

/// What the comparison of live answers has found.
pub(super) async fn comparison(connection: &mut PgConnection) -> sqlx::Result<ReplicaComparison> {
    let counts = sqlx::query!(
        r#"select outcome, sum(samples)::bigint as "count!" from insurance_replica.comparisons
         where bucket > clock_timestamp() - interval '24 hours'
         group by outcome order by outcome"#
    );
    let counts = counts.fetch_all(&mut *connection).await?;
    let outcomes = counts.into_iter().map(|row| {
        Ok(ComparisonCount {
            outcome: known(ComparisonOutcome::named(&row.outcome))?,
            count: row.count,
        })
    });
    let differences = sqlx::query!(
        r#"select outcome, fields,
             to_char(seen_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as "seen_at!"
         from insurance_replica.differences order by difference_id desc limit 20"#
    );
    let differences = differences.fetch_all(connection).await?;
    let differences = differences.into_iter().map(|row| {
        Ok(ReplicaDifference {
            seen_at: row.seen_at,
            outcome: known(ComparisonOutcome::named(&row.outcome))?,
            fields: row.fields,
        })
    });
    Ok(ReplicaComparison {
        outcomes: outcomes.collect::<sqlx::Result<_>>()?,
        differences: differences.collect::<sqlx::Result<_>>()?,
    })
}
