use std::time::Duration;

use service_defaults::{chain, health::Check};
use settings::format_duration;
use sqlx::{Connection, PgConnection, migrate::Migrator};
use tokio::time::{Instant, sleep};

use crate::{Database, DatabaseSettings, Error, Read, error::is_withheld};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long one attempt to connect may take; sqlx itself has no limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a check of the readiness waits for the first connections.
const LONGEST_FILLING: Duration = Duration::from_millis(500);

/// The schema of one service: its migrations and its sample data.
#[derive(Clone, Copy)]
pub struct Schema {
    /// The migrations, embedded in the binary.
    pub migrator: &'static Migrator,
    /// The role that owns the schema, as `migrations/roles.sql` makes it.
    pub owner: &'static str,
    /// SQL that inserts the sample data and may run any number of times.
    pub sample_data: &'static str,
}

/// Why the schema was not brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The wait for it is over.
    #[error("the database server gave no connection within {}", format_duration(*.0))]
    NoServer(Duration, #[source] sqlx::Error),
    /// The server refused the connection for a reason that waiting does not mend.
    #[error("the server refused the connection")]
    Refused(#[source] sqlx::Error),
    /// A step failed, or the database holds steps that differ from ours.
    #[error("a migration failed")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// What there is could not be looked at.
    #[error("the database could not be looked at")]
    Preview(#[source] sqlx::Error),
    /// The sample data was refused.
    #[error("the sample data was not inserted")]
    SampleData(#[source] sqlx::Error),
}

impl Schema {
    /// Applies the steps that are missing. Waits for the server with a bounded back-off and holds
    /// a lock, so that any number of migrators may run at once.
    pub async fn migrate(&self, settings: &DatabaseSettings) -> Result<(), MigrateError> {
        let mut connection = self.connect(settings).await?;
        self.migrator.run(&mut connection).await?;
        tracing::info!(version = self.newest(), "schema is up to date");
        // The work is done; the server notices a lost goodbye by itself.
        let _ = connection.close().await;
        Ok(())
    }

    /// Says which steps [`migrate`](Self::migrate) would apply, and what these `findings` say of the
    /// rows that are there, by the newest step that they went through. Changes nothing.
    pub async fn preview(
        &self,
        settings: &DatabaseSettings,
        applied: Read<(), Option<i64>>,
        findings: Read<i64, String>,
    ) -> Result<String, MigrateError> {
        let mut connection = self.connect(settings).await?;
        let read_only = sqlx::raw_sql("set default_transaction_read_only = on");
        let set = read_only.execute(&mut connection).await;
        set.map_err(MigrateError::Preview)?;
        let applied = match applied(&mut connection, &()).await {
            Ok(version) => version.unwrap_or(0),
            Err(error) if is_missing(&error) => 0,
            Err(error) => return Err(MigrateError::Preview(error)),
        };
        let steps = self.migrator.iter().map(|step| step.version);
        let newest = self.newest();
        let mut said = match steps.filter(|version| *version > applied).min() {
            Some(first) => format!("migrate applies the steps {first} to {newest}\n"),
            None => "schema is up to date: migrate applies nothing\n".to_owned(),
        };
        if applied > 0 {
            let found = findings(&mut connection, &applied).await;
            said.push_str(&found.map_err(MigrateError::Preview)?);
        }
        let _ = connection.close().await;
        Ok(said)
    }

    /// Inserts the sample data where it is missing.
    pub async fn seed(&self, settings: &DatabaseSettings) -> Result<(), MigrateError> {
        let mut connection = self.connect(settings).await?;
        sqlx::raw_sql(self.sample_data)
            .execute(&mut connection)
            .await
            .map_err(MigrateError::SampleData)?;
        tracing::info!("sample data is there");
        let _ = connection.close().await;
        Ok(())
    }

    /// Looks at whether the database answers, its schema is as new as this binary, the service's
    /// own statement runs and its connections are open. A newer schema passes, because every step
    /// leaves the previous release working.
    pub async fn check<T: Send + 'static>(
        &self,
        database: &Database,
        applied: Read<(), Option<i64>>,
        statement: Read<(), T>,
    ) -> Check {
        match database.read((), applied).await {
            Ok(version) if version.unwrap_or(0) >= self.newest() => {}
            Ok(version) => return self.behind(version.unwrap_or(0)),
            Err(Error::Unavailable(error)) if is_missing(&error) => return self.behind(0),
            Err(error) => return self.without_answer(database, &error).await,
        }
        match database.read((), statement).await {
            Ok(_) => self.filled(database, Check::pass("database")).await,
            Err(error) => self.without_answer(database, &error).await,
        }
    }

    /// A connection as the role that owns the schema, for commands. Waits for the server.
    pub async fn connect(&self, settings: &DatabaseSettings) -> Result<PgConnection, MigrateError> {
        let options = settings
            .migration_options(self.owner)
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
                return Err(MigrateError::NoServer(settings.wait_for_server, error));
            }
            tracing::info!(%error, "waiting for the database server");
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn without_answer(&self, database: &Database, error: &Error) -> Check {
        if matches!(error, Error::Busy) {
            // Every connection is at work: the database answers, only not to one more.
            let busy = Check::warn("database", error.to_string());
            return self.filled(database, busy).await;
        }
        tracing::warn!(
            error = chain(error),
            "not ready: the database does not answer"
        );
        Check::fail("database", error.to_string())
    }

    /// This check, once the connections are open.
    async fn filled(&self, database: &Database, check: Check) -> Check {
        match database.filled(LONGEST_FILLING).await {
            Ok(()) => check,
            Err(filling) => {
                tracing::warn!("not ready: {filling}");
                Check::fail("database", filling.to_string())
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

/// Whether an error says that the schema or its table of steps is not there, or not granted yet.
fn is_missing(error: &sqlx::Error) -> bool {
    let answer = error.as_database_error();
    answer
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| is_withheld(&code) && code != "3D000")
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
