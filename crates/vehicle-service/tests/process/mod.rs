//! The real binary: its commands, its exit codes, its log, its manners under load and its end.

mod binary;
mod caller;
mod commands;
mod environment;
mod event_log;
mod fifo;
mod healthcheck;
mod log;
mod overload;
mod privacy;
mod relay;
mod restore;
mod stop;
