//! The `threadpilot` program as a user runs it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a panic is the failure that a test wants"
)]

mod faults;
mod running;
mod start;
mod stop;
mod survive;
