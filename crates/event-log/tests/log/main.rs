//! The event logs of both services as a server keeps them.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is the failure that is wanted"
)]

mod append;
mod armed;
mod asyncapi;
mod audit;
mod checkpoints;
mod feed;
mod order;
mod proof;
mod relays;
mod rights;
mod sequencer;
mod support;
mod verify;
