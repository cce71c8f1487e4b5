//! What a service does with its log beside writing to it.

use std::{
    convert::Infallible,
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry::metrics::{Gauge, Meter};
use service_database::{Database, DatabaseSettings};
use service_defaults::{
    health::Check,
    tasks::{OnEnd, Tasks},
};
use tokio::time::sleep;

use crate::{Checkpoint, EventLog, EventLogSettings, Forged, PublicKey, Report, sequencer::Error};

/// Between two looks at what protects the log.
const BETWEEN_LOOKS: Duration = Duration::from_mins(1);

/// Triggers that a service wants armed beside those of its log: their tables and names.
pub type Triggers = &'static [(&'static str, &'static str)];

/// The log of a running service. Clones share it.
#[derive(Clone)]
pub struct Kept {
    log: EventLog,
    database: Database,
    triggers: Triggers,
    /// Whether the signer refuses to sign; `None` without a key.
    refused: Option<Arc<AtomicBool>>,
    disarmed: Gauge<u64>,
}

impl EventLog {
    /// Places and signs events in this process until it stops.
    pub fn keep(
        &self,
        settings: &EventLogSettings,
        database: &Database,
        triggers: Triggers,
        (tasks, meter): (&Tasks, &Meter),
    ) -> Kept {
        self.spawn_sequencer(database, tasks, meter);
        let key = settings.key(self.service());
        let kept = Kept {
            log: self.clone(),
            database: database.clone(),
            triggers,
            refused: key.map(|key| self.spawn_signer(key, database, tasks, meter)),
            disarmed: meter
                .u64_gauge("event_log.disarmed")
                .with_description("What does not protect the log any more, looked at each minute")
                .build(),
        };
        let watched = kept.clone();
        tasks.spawn("event_log", OnEnd::Restart, move |told| {
            let watched = watched.clone();
            async move {
                told.run_until_cancelled(watched.watch()).await;
            }
        });
        kept
    }
}

impl Kept {
    /// Not every platform asks for the readiness.
    async fn watch(&self) -> Infallible {
        loop {
            self.check().await;
            sleep(BETWEEN_LOOKS).await;
        }
    }

    /// What the readiness says of the log. Nothing here keeps a service from serving.
    pub async fn check(&self) -> Check {
        const NAME: &str = "event_log";
        let looked = self.database.read(
            (self.log.clone(), self.triggers),
            |connection, (log, triggers)| Box::pin(log.disarmed(connection, triggers)),
        );
        let disarmed = match looked.await {
            Ok(disarmed) => disarmed,
            Err(error) => return Check::warn(NAME, error.to_string()),
        };
        self.disarmed.record(disarmed.len() as u64, &[]);
        let refused = self.refused.as_ref().map(|it| it.load(Ordering::Relaxed));
        match refused {
            _ if !disarmed.is_empty() => {
                Check::warn(NAME, format!("not protected: {}", disarmed.join(", ")))
            }
            Some(true) => Check::warn(
                NAME,
                "it does not extend its last checkpoint; run verify-log",
            ),
            Some(false) => Check::pass(NAME),
            None => Check {
                detail: Some("event_log.signing_key is not set: no checkpoints".to_owned()),
                ..Check::pass(NAME)
            },
        }
    }
}

/// Why a log is not known to be whole.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file with a checkpoint cannot be read.
    #[error("{0} cannot be read")]
    File(PathBuf, #[source] std::io::Error),
    /// It holds no checkpoint, or one with a signature of our key that is not.
    #[error("{0}")]
    Forged(PathBuf, #[source] Forged),
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Database(#[from] Error),
    /// It is not whole.
    #[error("{0}")]
    NotWhole(Box<Report>),
}

impl From<service_database::Error> for VerifyError {
    fn from(error: service_database::Error) -> Self {
        Self::Database(error.into())
    }
}

/// The command `verify-log`: verifies a service's log against itself and against checkpoints in
/// files, and says what it found.
pub async fn verify_log(
    service: &'static str,
    settings: &EventLogSettings,
    database: &DatabaseSettings,
    files: &[PathBuf],
) -> Result<String, VerifyError> {
    let key = settings.key(service).map(|key| key.public());
    let exported = exported(files, key.as_ref())?;
    let database = Database::patient(database).map_err(service_database::Error::from)?;
    let arguments = (EventLog::new(service), exported, key);
    let report: Result<Report, Error> = database
        .transaction(
            Database::PATIENCE,
            &arguments,
            |connection, (log, exported, key)| {
                Box::pin(async move { Ok(log.verify(connection, exported, key.as_ref()).await?) })
            },
        )
        .await;
    let report = report?;
    if !report.is_whole() {
        return Err(VerifyError::NotWhole(report.into()));
    }
    Ok(report.to_string())
}

/// The notes in these files, each a checkpoint. Signed with a key that was replaced, it is believed:
/// whoever gives it has kept it.
pub(crate) fn exported(
    files: &[PathBuf],
    key: Option<&PublicKey>,
) -> Result<Vec<String>, VerifyError> {
    let read = |file: &PathBuf| {
        let note = fs::read_to_string(file);
        let note = note.map_err(|error| VerifyError::File(file.clone(), error))?;
        let told = Checkpoint::told(&note, key);
        told.map_err(|forged| VerifyError::Forged(file.clone(), forged))?;
        Ok(note)
    };
    files.iter().map(read).collect()
}
