use std::{io, path::PathBuf};

use service_database::MigrateError;
use settings::SettingsError;

/// Why the local stack does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "port {port} is taken by another program; stop that program (another threadpilot?) or \
         choose another port with --{service}-port, 0 for any free one"
    )]
    PortTaken { port: u16, service: &'static str },
    #[error("cannot listen on port {port}")]
    Listen { port: u16, source: io::Error },
    #[error("{} cannot be used", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} belongs to somebody else; choose another folder with --data-dir", .0.display())]
    NotOurs(PathBuf),
    #[error(transparent)]
    NoBinaries(#[from] private_postgres::NoBinaries),
    #[error(transparent)]
    Cluster(#[from] private_postgres::Error),
    #[error(
        "--database-url or the variable THREADPILOT_DATABASE_URL is no URL such as postgres://user:password@host:5432/database"
    )]
    DatabaseUrl,
    #[error(
        "the database cannot be prepared; the role of --database-url or THREADPILOT_DATABASE_URL must be able to create roles and databases"
    )]
    Prepare(#[source] service_database::PrepareError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    #[error("the certificate cannot be made")]
    Certificate(#[from] rcgen::Error),
    #[error("the {0} service cannot be started")]
    Spawn(&'static str, #[source] io::Error),
    #[error("the {service} service stopped; the end of {}:\n{end}", log.display())]
    ServiceStopped {
        service: &'static str,
        log: PathBuf,
        end: String,
    },
    #[error("the start broke off")]
    BrokeOff(#[from] tokio::task::JoinError),
    #[error("signals cannot be received")]
    Signals(#[source] io::Error),
}

impl Error {
    /// For `map_err`: an error about this file or folder.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
