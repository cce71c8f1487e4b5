//! The Vehicle service as its callers see it: the real router on a database of each test's own.

mod batch;
mod cache;
mod connections;
mod contract;
mod document;
mod examples;
mod service;
mod vehicle;
