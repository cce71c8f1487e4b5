//! The Insurance service: what its router answers, what its guard promises, and its binary as an
//! operator runs it.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is the failure that is wanted"
)]

mod api;
mod guard;
mod process;
