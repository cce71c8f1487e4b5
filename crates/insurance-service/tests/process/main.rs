//! The Insurance service's binary, as an operator runs it: commands, exit codes, sockets, signals,
//! log lines and traces.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in the functions that tests share"
)]

mod binary;
mod commands;
mod log;
mod overload;
mod privacy;
mod reload;
mod stop;
mod trace;
mod worst_case;
