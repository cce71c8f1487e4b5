//! Policies: what may become of one, as functions without I/O ([`decide`], [`state`]), and the routes
//! that draft, change and list them, and a worker that ends them.

mod answer;
mod change;
mod dates;
mod decide;
mod erasure;
mod execute;
mod expiry;
mod fold;
mod idempotency;
mod overlaps;
mod prices;
mod read;
mod refusal;
mod routes;
mod state;
mod store;
mod write;

pub use dates::Clock;
pub use expiry::{Look, Worker};
pub(crate) use fold::compare;
pub(crate) use idempotency::IdempotencySettings;
pub(crate) use overlaps::overlaps;
pub(crate) use routes::{Policies, surfaces};
