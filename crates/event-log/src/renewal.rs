//! The command `new-log`: after a restore or a failover that lost events, positions are given to
//! other events than before. With a new id nobody takes the one log for the other.

use contracts::may_hold_personal_identity_number;
use service_database::{DatabaseSettings, MigrateError, Schema};
use service_defaults::{process::NewLog, telemetry::AUDIT};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::{
    EventLog, EventLogSettings, Head, Report, VerifyError, keep::exported, lineage::Lineage,
};

/// Longest reason.
const LONGEST_REASON: usize = 200;

/// Why a log keeps its id.
#[derive(Debug, thiserror::Error)]
pub enum NewLogError {
    /// The reason is kept for ever.
    #[error(
        "--because has 1 to {LONGEST_REASON} characters and nothing that may hold a personal identity number"
    )]
    Reason,
    /// A checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(VerifyError),
    /// There is no connection to the database.
    #[error(transparent)]
    Connect(#[from] MigrateError),
    /// The database refuses it.
    #[error("the database refuses it")]
    Database(#[from] sqlx::Error),
    /// What is there differs from what was signed, which no restore explains.
    #[error("the log was changed, keep it as it is: {0}")]
    Changed(Report),
    /// Nothing says that events were lost.
    #[error("no checkpoint is larger than the log: give the newest one, or --even-if-whole")]
    Whole,
    /// A service is placing events.
    #[error("the log grows: stop the service first")]
    Grows,
}

/// Gives the log of a service a new id, where a checkpoint shows that events were lost. `skip` is
/// SQL that leaves out the numbers that may have been given to what was lost.
pub async fn new_log(
    service: &'static str,
    settings: &EventLogSettings,
    (schema, database): (&Schema, &DatabaseSettings),
    wanted: &NewLog,
    skip: &'static str,
) -> Result<String, NewLogError> {
    let because = wanted.because.trim();
    let short = (1..=LONGEST_REASON).contains(&because.chars().count());
    if !short || may_hold_personal_identity_number(because) {
        return Err(NewLogError::Reason);
    }
    let key = settings.key(service).map(|key| key.public());
    let files = wanted.checkpoint.iter();
    let checkpoints: Result<Vec<_>, _> = files.map(|file| exported(file, key.as_ref())).collect();
    let checkpoints = checkpoints.map_err(NewLogError::Checkpoint)?;

    let log = EventLog::new(service);
    let mut connection = schema.connect(database).await?;
    let head = log.head(&mut connection).await?;
    let lineage = Lineage::read(&log, &mut connection, head.log_id).await?;
    let (lost, kept): (Vec<_>, Vec<_>) = checkpoints.into_iter().partition(|it| {
        let is_ours = lineage.largest_of(&it.origin) == Some(u64::MAX);
        is_ours && it.size > head.position.unsigned_abs()
    });
    let mut verification = connection.begin().await?;
    let report = log.verify(&mut verification, &kept, key.as_ref()).await?;
    verification.rollback().await?;
    if report.fault.is_some() {
        return Err(NewLogError::Changed(report));
    }
    if lost.is_empty() && !wanted.even_if_whole {
        return Err(NewLogError::Whole);
    }
    let log_id = renew(&log, &mut connection, head, because, skip).await?;
    let Head {
        log_id: former,
        position,
    } = head;
    tracing::info!(target: AUDIT, %former, position, %log_id, because, "the event log has a new id");
    Ok(format!(
        "the log {former} ended at the position {position}\nthe log {log_id} goes on from there\n"
    ))
}

async fn renew(
    log: &EventLog,
    connection: &mut PgConnection,
    head: Head,
    because: &str,
    skip: &'static str,
) -> Result<Uuid, NewLogError> {
    let mut transaction = connection.begin().await?;
    let update = log.sql(
        "update event_log.head set log_id = gen_random_uuid()
         where log_id = $1 and position = $2 returning log_id",
    );
    let update = sqlx::query_scalar(update)
        .bind(head.log_id)
        .bind(head.position);
    let renewed = update.fetch_optional(&mut *transaction).await?;
    let log_id = renewed.ok_or(NewLogError::Grows)?;
    let insert = log
        .sql("insert into event_log.former_logs (log_id, position, because) values ($1, $2, $3)");
    let insert = sqlx::query(insert).bind(head.log_id).bind(head.position);
    insert.bind(because).execute(&mut *transaction).await?;
    sqlx::raw_sql(skip).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(log_id)
}
