//! Publishes the event log of a service to a stream of NATS JetStream, for those who want the events
//! there, and reads such a stream. Nothing of the service that publishes depends on it.
//!
//! - **The stream says where to go on**, not a checkpoint: on each connection the relay reads the
//!   stream's last event and goes on after it. A missing or emptied stream is filled from the log.
//! - **Order, once.** Every event says which sequence of the stream it follows
//!   (`Nats-Expected-Last-Sequence`), so that two relays cannot mix their events, and what was sent
//!   again is refused. A lease spares the other processes the attempt.
//! - **A stream of one log.** Its name has the log's id. Where the stream's last event is not in the log
//!   at its place, as after a restore that lost events, the relay stops and says so; after `new-log` it
//!   goes on into the new log's stream.
//! - **Requests come first.** One page of events is in memory at a time, and one database connection
//!   is used while it is read. A broker that is away, slow or full delays the relay and nothing else.

mod error;
mod instruments;
mod message;
mod reader;
mod settings;
mod stream;
mod worker;

pub use reader::{ReadError, StreamEvent, StreamReader};
pub use settings::{NatsSettings, RelaySettings};
pub use worker::Relay;
