use service_defaults::problem::Rejection;

const RETRY_AFTER_SECONDS: u64 = 1;

/// Why the database gave no rows.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection was free in time.
    #[error("no database connection was free in time")]
    Busy,
    /// The statement took longer than it may.
    #[error("the statement took too long")]
    TimedOut,
    /// The server is away, starting, stopping or out of resources.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// Anything else: a fault of ours.
    #[error("the statement failed")]
    Failed(#[source] sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolTimedOut => Self::Busy,
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
            sqlx::Error::Database(answer) => match answer.code().as_deref() {
                // query_canceled, which is what statement_timeout raises
                Some("57014") => Self::TimedOut,
                // by class: connection, insufficient resources, operator intervention (shutdown,
                // starting up)
                Some(code) if ["08", "53", "57"].contains(&code.get(..2).unwrap_or("")) => {
                    Self::Unavailable(error)
                }
                _ => Self::Failed(error),
            },
            _ => Self::Failed(error),
        }
    }
}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        let (code, detail) = match &error {
            Error::Busy => ("database_busy", "All database connections are in use."),
            Error::TimedOut => ("database_timeout", "The database took too long."),
            Error::Unavailable(_) => ("database_unavailable", "The database is unavailable."),
            Error::Failed(_) => return Self::internal().with_cause(error),
        };
        Self::unavailable(code, detail, RETRY_AFTER_SECONDS).with_cause(error)
    }
}
