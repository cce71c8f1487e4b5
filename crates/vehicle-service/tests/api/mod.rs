//! The Vehicle service as its callers see it: the real router on a database of each test's own.

mod audit;
mod batch;
mod cache;
mod changes;
mod connections;
mod contract;
mod copy;
mod document;
mod examples;
mod feed;
mod proof;
mod register;
mod service;
mod tokens;
mod vehicle;
