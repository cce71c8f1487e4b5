//! The client against a Vehicle on a real socket: what it does with every answer, and what it
//! never does to Vehicle.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in the functions that tests share"
)]

mod abandoned;
mod answers;
mod batch;
mod breaker;
mod budget;
mod cache;
mod cap;
mod contract;
mod deadline;

mod isolation;
mod metrics;
mod queue;
mod request;
mod retry;
mod retry_after;
mod setup;
mod single_flight;
mod tls;
mod token;
