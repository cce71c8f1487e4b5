use std::time::Duration;

use service_defaults::{health::Check, process::chain};
use sqlx::{Connection, PgConnection, migrate::Migrator};
use tokio::time::{Instant, sleep};

use crate::{Database, DatabaseSettings, Error};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long one attempt to connect may take; sqlx itself has no limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The schema of one service: its migrations and its sample data.
#[derive(Clone, Copy)]
pub struct Schema {
    /// The migrations, embedded in the binary.
    pub migrator: &'static Migrator,
    /// SQL that inserts the sample data and may run any number of times.
    pub sample_data: &'static str,
}

/// Why the schema was not brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// `database.wait_for_server` ran out.
    #[error("database.wait_for_server: the server did not answer in time")]
    NoServer(#[source] sqlx::Error),
    /// The server refused the connection for a reason that waiting does not mend.
    #[error("the server refused the connection")]
    Refused(#[source] sqlx::Error),
    /// A step failed, or the database holds steps that differ from ours.
    #[error("a migration failed")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The sample data was refused.
    #[error("the sample data was not inserted")]
    SampleData(#[source] sqlx::Error),
}

impl Schema {
    /// Applies the steps that are missing. Waits for the server with a bounded back-off and holds
    /// a lock, so that any number of migrators may run at once.
    pub async fn migrate(&self, settings: &DatabaseSettings) -> Result<(), MigrateError> {
        let mut connection = connect(settings).await?;
        self.migrator.run(&mut connection).await?;
        tracing::info!(version = self.newest(), "schema is up to date");
        // The work is done; the server notices a lost goodbye by itself.
        let _ = connection.close().await;
        Ok(())
    }

    /// Inserts the sample data where it is missing.
    pub async fn seed(&self, settings: &DatabaseSettings) -> Result<(), MigrateError> {
        let mut connection = connect(settings).await?;
        sqlx::raw_sql(self.sample_data)
            .execute(&mut connection)
            .await
            .map_err(MigrateError::SampleData)?;
        tracing::info!("sample data is there");
        let _ = connection.close().await;
        Ok(())
    }

    /// Looks at whether the database answers and its schema is as new as this binary. A newer
    /// one passes, because every step leaves the previous release working.
    pub async fn check(
        &self,
        database: &Database,
        applied: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<Option<i64>>,
    ) -> Check {
        match database.bounded(applied).await {
            Ok(version) if version.unwrap_or(0) >= self.newest() => Check::pass("database"),
            Ok(version) => self.behind(version.unwrap_or(0)),
            Err(Error::Failed(error)) if is_missing(&error) => self.behind(0),
            // Every connection is at work: the database answers, only not to one more.
            Err(Error::Busy) => Check::warn("database", Error::Busy.to_string()),
            Err(error) => {
                let cause = chain(&error);
                tracing::warn!(error = cause, "not ready: the database does not answer");
                Check::fail("database", error.to_string())
            }
        }
    }

    fn behind(&self, version: i64) -> Check {
        let newest = self.newest();
        tracing::warn!(
            version,
            newest,
            "not ready: the schema is behind; run `migrate`"
        );
        let detail = format!("the schema is at {version} of {newest}; run migrate");
        Check::fail("database", detail)
    }

    fn newest(&self) -> i64 {
        self.migrator
            .iter()
            .map(|step| step.version)
            .max()
            .unwrap_or(0)
    }
}

/// Whether an error says that the schema or its table of steps is not there at all.
fn is_missing(error: &sqlx::Error) -> bool {
    // undefined_table, invalid_schema_name, insufficient_privilege (no grant was made yet)
    let codes = ["42P01", "3F000", "42501"];
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| codes.contains(&code.as_ref()))
}

async fn connect(settings: &DatabaseSettings) -> Result<PgConnection, MigrateError> {
    let options = settings
        .migration_options()
        .map_err(MigrateError::Refused)?;
    let deadline = Instant::now() + settings.wait_for_server;
    let mut pause = FIRST_PAUSE;
    loop {
        let attempt = PgConnection::connect_with(&options);
        let error = match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => error,
            Err(_) => sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()),
        };
        if !may_be_starting(&error) {
            return Err(MigrateError::Refused(error));
        }
        if Instant::now() + pause > deadline {
            return Err(MigrateError::NoServer(error));
        }
        tracing::info!(%error, "waiting for the database server");
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether an error of connecting goes away by itself once the server has started.
fn may_be_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => true,
        // cannot_connect_now (starting up), too_many_connections
        sqlx::Error::Database(answer) => answer
            .code()
            .is_some_and(|code| code == "57P03" || code == "53300"),
        _ => false,
    }
}
