//! What every service does alike: its edge, its log, its server and its settings.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is the failure that is wanted"
)]

mod edge;
mod log;
mod server;
mod settings;
