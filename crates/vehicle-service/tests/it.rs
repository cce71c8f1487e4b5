//! The Vehicle service: what its router answers, and its binary as an operator runs it.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is the failure that is wanted"
)]

mod api;
mod process;
