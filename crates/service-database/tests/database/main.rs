//! The schemas of both services as a server keeps them: steps, roles, constraints, errors.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is the failure that is wanted"
)]

mod abandoned;
mod constraints;
mod errors;
mod gathered;
mod lives;
mod migrate;
mod policies;
mod readiness;
mod roles;
mod settings;
mod support;
mod transactions;
