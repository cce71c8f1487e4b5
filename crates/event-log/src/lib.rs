//! The event log of a service: what has changed, append-only, in PostgreSQL.
//!
//! - **Append.** An event is written in the transaction of the change that it tells
//!   ([`EventLog::append`], or [`Origin::announce`] where a trigger of the table writes it). So
//!   there is no change without its event, and no event of a change that was rolled back. After the
//!   commit, [`EventLog::appended`] hurries the sequencer.
//! - **Order.** Transactions commit in another order than they draw numbers, so a reader who pages
//!   by a number that the writers draw loses events. The [`Sequencer`] gives committed events dense
//!   positions instead, which never become visible out of order. All readers page by these.
//! - **Feed and audit.** [`EventLog::page`] and [`EventLog::placed_after`] are for readers who follow
//!   the log, [`EventLog::ask`], [`EventLog::event`] and [`EventLog::count`] for questions about the
//!   past. All take a connection, so that they run within `Database::read`.
//! - **Relays.** Who publishes the log elsewhere has a lease: [`EventLog::lease_relay`].
//! - **Proof.** With the positions it builds a Merkle tree ([`tree`], RFC 9162) over the events:
//!   [`EventLog::inclusion`] and [`EventLog::consistency`]. A [`Signer`] signs its root every so often;
//!   [`EventLog::verify`] compares everything with such checkpoints, and [`EventLog::disarmed`] says
//!   where the tables are not protected any more.
//!
//! The tables are made by the services' migrations, `…_create_event_log.sql`.

mod append;
mod armed;
mod audit;
mod checkpoint;
mod cloud_event;
mod comparison;
mod event;
mod feed;
mod few;
mod floor;
mod http;
mod keep;
mod lineage;
mod place;
mod proof;
mod relays;
mod renewal;
mod request;
mod sequencer;
mod settings;
mod signer;
mod stored;
mod tile;
pub mod tree;
mod verify;

use std::sync::Arc;

use sqlx::AssertSqlSafe;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

pub use self::settings::EventLogSettings;
pub use audit::{Answer, Bucket, By, Question, TooBroad};
pub use checkpoint::{Checkpoint, Forged, PublicKey, SigningKey};
pub use comparison::{Comparison, StateError, verify_state};
pub use event::{NewEvent, Origin, new_event_id};
pub use feed::{Head, LOOKED_AT, Page, Wanted};
pub use http::worst_case;
pub use keep::{Kept, Triggers, VerifyError, verify_log};
pub use renewal::{NewLogError, new_log};
pub use sequencer::{Error, Sequencer, Step};
pub use signer::{Signed, Signer};
pub use stored::{Event, Timestamp};
pub use verify::{Fault, Report};

/// The log of one service. Clones share it.
#[derive(Clone, Debug)]
pub struct EventLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    service: &'static str,
    /// The schema's name and a dot.
    prefix: String,
    appended: Notify,
    /// The last position, as far as this process knows.
    position: watch::Sender<i64>,
    /// What was committed before this moment has its position; nothing before the first look.
    complete: watch::Sender<Option<Instant>>,
}

impl EventLog {
    /// The log of the service of this name, in the schema `<service>_events`.
    pub fn new(service: &'static str) -> Self {
        Self(Arc::new(Shared {
            service,
            prefix: format!("{service}_events."),
            appended: Notify::new(),
            position: watch::Sender::default(),
            complete: watch::Sender::default(),
        }))
    }

    /// Says that an event was committed, so that this process looks for it at once. What others
    /// commit it finds within a tenth of a second.
    pub fn appended(&self) {
        self.0.appended.notify_one();
    }

    /// Waits until there is an event after this position. Needs a [`Sequencer`] in this process.
    pub async fn placed_after(&self, position: i64) {
        let mut last = self.0.position.subscribe();
        // The sender lives as long as this.
        let _ = last.wait_for(|last| *last > position).await;
    }

    /// What was committed before this moment had its position when the moment was asked for. Needs
    /// a [`Sequencer`] in this process; `None` until it has looked.
    fn complete(&self) -> Option<Instant> {
        *self.0.complete.borrow()
    }

    /// The service that it is of.
    pub fn service(&self) -> &'static str {
        self.0.service
    }

    /// A statement that names the tables as if `event_log` were their schema.
    fn sql(&self, statement: &'static str) -> AssertSqlSafe<String> {
        AssertSqlSafe(statement.replace("event_log.", &self.0.prefix))
    }

    fn set_position(&self, position: i64) {
        self.0.position.send_if_modified(|last| {
            // It falls where the database was restored from a backup.
            let moved = *last != position;
            *last = position;
            moved
        });
    }
}
