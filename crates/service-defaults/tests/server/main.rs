//! The server over real sockets, with callers that are slow, silent, greedy or cut off.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is the failure that is wanted"
)]

mod bodies;
mod connections;
mod heads;
mod slow_callers;
mod stop;
mod support;
mod tls;
