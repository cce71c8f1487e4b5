//! The command `new-log`: after a restore or a failover that lost events, positions are given to
//! other events than before. With a new id nobody takes the one log for the other.

use contracts::may_hold_personal_identity_number;
use service_database::{DatabaseSettings, MigrateError, Schema};
use service_defaults::{process::NewLog, telemetry::AUDIT};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::{
    EventLog, EventLogSettings, Head, Report, SigningKey, VerifyError, keep::exported,
    signer::sign_first,
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
    /// What is there differs from what was signed, and no restore explains it.
    #[error("the log was changed, keep it as it is: {0}")]
    Changed(Box<Report>),
    /// Nothing says that events were lost.
    #[error("no checkpoint shows that events were lost: give the newest one, or --even-if-whole")]
    Whole,
    /// Nothing says that what is left is what it was.
    #[error(
        "no checkpoint that was given agrees with the log, so what is left of it may have been changed: \
         give an older one as well, or --even-if-none-agrees"
    )]
    NoneAgrees,
    /// A service is placing events.
    #[error("the log grows: stop the service first")]
    Grows,
}

/// Gives the log of a service a new id, where a checkpoint shows that events were lost, and signs
/// its first checkpoint. `skip` is SQL that leaves out the numbers that may have been given to what
/// one log has lost.
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
    let key = settings.key(service);
    let public = key.as_ref().map(SigningKey::public);
    let notes = exported(&wanted.checkpoint, public.as_ref()).map_err(NewLogError::Checkpoint)?;

    let log = EventLog::new(service);
    let mut connection = schema.connect(database).await?;
    let head = log.head(&mut connection).await?;
    let mut verification = connection.begin().await?;
    let report = log
        .verify(&mut verification, &notes, public.as_ref())
        .await?;
    verification.rollback().await?;
    if report.fault.is_some() {
        return Err(NewLogError::Changed(report.into()));
    }
    if !report.needs_another_id && !wanted.even_if_whole {
        return Err(NewLogError::Whole);
    }
    // Those that are stored do not count: whoever made the log anew may have let a service sign it.
    if report.given == 0 && !wanted.even_if_none_agrees {
        return Err(NewLogError::NoneAgrees);
    }
    let mut transaction = connection.begin().await?;
    let log_id = renew(&log, &mut transaction, head).await?;
    let mut former = vec![(head.log_id, head.position)];
    // It is not known what is left of them. Each had left out as many numbers.
    former.extend(report.lost_logs.into_iter().map(|lost| (lost, 0)));
    for (former, position) in former {
        let insert = log.sql(
            "insert into event_log.former_logs (log_id, position, because) values ($1, $2, $3)",
        );
        let insert = sqlx::query(insert).bind(former).bind(position);
        insert.bind(because).execute(&mut *transaction).await?;
        sqlx::raw_sql(skip).execute(&mut *transaction).await?;
    }
    let note = match &key {
        Some(key) => sign_first(&log, &mut transaction, key).await?,
        None => None,
    };
    transaction.commit().await?;
    let Head {
        log_id: former,
        position,
    } = head;
    tracing::info!(target: AUDIT, %former, position, %log_id, because, "the event log has a new id");
    let mut said = format!(
        "the log {former} ended at the position {position}\nthe log {log_id} goes on from there\n"
    );
    if let Some(note) = note {
        tracing::info!(target: AUDIT, note, "a checkpoint of the event log");
        said.push_str("\nits first checkpoint, to be kept:\n\n");
        said.push_str(&note);
    }
    Ok(said)
}

/// Draws the id, if the log has not grown.
async fn renew(
    log: &EventLog,
    connection: &mut PgConnection,
    head: Head,
) -> Result<Uuid, NewLogError> {
    let update = log.sql(
        "update event_log.head set log_id = gen_random_uuid()
         where log_id = $1 and position = $2 returning log_id",
    );
    let update = sqlx::query_scalar(update)
        .bind(head.log_id)
        .bind(head.position);
    let renewed = update.fetch_optional(connection).await?;
    renewed.ok_or(NewLogError::Grows)
}
