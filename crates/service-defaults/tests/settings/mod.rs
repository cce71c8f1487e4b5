//! Where settings come from, what is said about those that cannot be used, and how they change
//! while a service runs.

mod environment;
mod files;
mod messages;
mod precedence;
mod reload;
mod secrets;
mod support;
mod worst_case;
