//! For tests only: a database for each test, requests to a router or a socket, and a Vehicle that
//! answers as a test scripts it and counts what reaches it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "this crate is only linked into tests, where a panic is the failure that is wanted"
)]

mod caller;
mod canary;
mod client;
mod collector;
mod committed;
mod database;
mod examples;
mod fake_vehicle;
mod issuer;
mod log_examples;
mod metrics;
mod nats;
mod process;
mod relay;
mod remote;
mod scram;
mod surface;
mod table_lock;
mod until;

pub use caller::Caller;
pub use canary::{
    PEOPLE, assert_free_of_canaries, assert_log_and_spans_free_of_canaries, canaries, send_canaries,
};
pub use client::{Answer, Api, keyed, keyless, send};
pub use collector::{Collector, Span};
pub use committed::assert_committed;
pub use database::{TestDatabase, nowhere};
pub use examples::{Examples, Routes, record_shared};
pub use fake_vehicle::{FakeVehicle, Gate, Reply, Request};
pub use issuer::{AUDIENCE, Attack, Issuer, Lie, SigningKey, attacks};
pub use log_examples::{LOG, record_log};
pub use metrics::metric;
pub use nats::Nats;
pub use process::{Binary, Ended, Running};
pub use relay::Relay;
pub use remote::Remote;
pub use surface::{
    KEYS, OPERATE, READ, assert_documented, assert_keys_are_needed, assert_tokens_are_needed,
    until_keys_are_known,
};
pub use table_lock::TableLock;
pub use until::until;

/// The API key that every service under test takes; its id is `test`.
pub const API_KEY: &str = "test-key-0123456789";
