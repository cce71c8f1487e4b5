//! The event log of a service: what has changed, append-only, in PostgreSQL.
//!
//! An event is written in the transaction of the change that it tells ([`EventLog::append`], or
//! [`Origin::announce`] where a trigger of the table writes it). So there is no change without its
//! event, and no event of a change that was rolled back.
//!
//! The tables are made by the services' migrations, `…_create_event_log.sql`.

mod append;
mod event;
mod request;

use std::sync::Arc;

use sqlx::AssertSqlSafe;

pub use event::{NewEvent, Origin, new_event_id};

/// The log of one service. Clones share it.
#[derive(Clone, Debug)]
pub struct EventLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The schema's name and a dot.
    prefix: String,
}

impl EventLog {
    /// The log of the service of this name, in the schema `<service>_events`.
    pub fn new(service: &'static str) -> Self {
        Self(Arc::new(Shared {
            prefix: format!("{service}_events."),
        }))
    }

    /// A statement that names the tables as if `event_log` were their schema.
    fn sql(&self, statement: &'static str) -> AssertSqlSafe<String> {
        AssertSqlSafe(statement.replace("event_log.", &self.0.prefix))
    }
}
