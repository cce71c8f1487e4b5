use std::sync::Arc;

use service_defaults::problem::Rejection;
use sqlx::{
    error::DatabaseError,
    postgres::{PgDatabaseError, PgSeverity},
};

const RETRY_AFTER_SECONDS: u64 = 1;

/// Why the database gave no rows. Clones share the cause, because one statement may fail several
/// callers.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No connection was free in time.
    #[error("no database connection was free in time")]
    Busy,
    /// The statement took longer than it may.
    #[error("the statement took too long")]
    TimedOut,
    /// The server is away, starting, stopping or out of resources, or does not let the service in
    /// or at its tables.
    #[error("the database is unavailable")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// Another transaction held what this one needs for longer than it may wait, or the two waited
    /// for each other.
    #[error("another transaction holds what this one needs")]
    Locked(#[source] Arc<sqlx::Error>),
    /// Anything else: a fault of ours.
    #[error("the statement failed")]
    Failed(#[source] Arc<sqlx::Error>),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if is_broken(&error) {
            return Self::Unavailable(error.into());
        }
        let answer = error.as_database_error();
        match answer.and_then(DatabaseError::code).as_deref() {
            // query_canceled, which is what statement_timeout raises
            Some("57014") => Self::TimedOut,
            // lock_not_available, deadlock_detected
            Some("55P03" | "40P01") => Self::Locked(error.into()),
            Some(code) if is_withheld(code) => Self::Unavailable(error.into()),
            // by class: connection, authorization, insufficient resources, operator intervention
            Some(code) if ["08", "28", "53", "57"].contains(&code.get(..2).unwrap_or("")) => {
                Self::Unavailable(error.into())
            }
            _ => Self::Failed(error.into()),
        }
    }
}

/// Whether a SQLSTATE says that the database, the schema, the table or the right to it is not there.
/// Operators take these away and give them back; the statement itself is not at fault.
pub(crate) fn is_withheld(code: &str) -> bool {
    // invalid_catalog_name, invalid_schema_name, insufficient_privilege, undefined_table
    ["3D000", "3F000", "42501", "42P01"].contains(&code)
}

/// Whether an error says that the connection is of no use any more.
pub(crate) fn is_broken(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // The server ends the session with such an answer.
        sqlx::Error::Database(answer) => answer
            .try_downcast_ref::<PgDatabaseError>()
            .is_some_and(|it| matches!(it.severity(), PgSeverity::Fatal | PgSeverity::Panic)),
        _ => false,
    }
}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        let busy = matches!(error, Error::Busy);
        let (code, detail) = match &error {
            Error::Busy => ("database_busy", "All database connections are in use."),
            Error::Locked(_) => ("database_busy", "Somebody else changes the same."),
            Error::TimedOut => ("database_timeout", "The database took too long."),
            Error::Unavailable(_) => ("database_unavailable", "The database is unavailable."),
            Error::Failed(_) => return Self::internal().with_cause(error),
        };
        let refusal = Self::unavailable(code, detail, RETRY_AFTER_SECONDS).with_cause(error);
        if busy {
            refusal.for_overload()
        } else {
            refusal
        }
    }
}
