//! The relay beside a real NATS server.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is the failure that is wanted"
)]

mod faults;
mod follow;
mod kills;
mod read;
mod secured;
mod support;
