//! Policies: what may become of one, as functions without I/O ([`decide`], [`state`]), and the routes
//! that draft, change and list them.

mod answer;
mod change;
mod dates;
mod decide;
mod idempotency;
mod refusal;
mod routes;
mod state;
mod store;

pub(crate) use dates::today;
pub(crate) use routes::{Policies, surfaces};
