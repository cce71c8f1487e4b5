//! Policies that change, through the real router and a database of their own.

mod changes;
mod days;
mod desk;
mod erasure;
mod examples;
mod expiry;
mod fold;
mod idempotency;
mod lists;
mod plans;
mod prices;
mod privacy;
mod race;
mod refusals;
mod vehicle;

pub(crate) use desk::Desk;
pub(crate) use examples::record;
