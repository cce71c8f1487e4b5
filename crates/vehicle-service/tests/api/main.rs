//! The Vehicle service as its callers see it: the real router on a database of each test's own.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is the failure that is wanted"
)]

mod access;
mod batch;
mod cache;
mod connections;
mod contract;
mod deadline;
mod examples;
mod health;
mod metrics;
mod openapi;
mod overload;
mod problems;
mod registration_number;
mod service;
mod vehicle;
