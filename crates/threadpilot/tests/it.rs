//! The `threadpilot` program as a user runs it, and what is written about all programs.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is the failure that a test wants"
)]

mod documents;
mod local_stack;
