//! The only code that calls Vehicle: a typed client behind one guard that the whole process shares.
//!
//! Vehicle stands for a legacy system of unknown capacity. The guard never lets more calls
//! through than it may, and every answer that comes back says honestly where it is from.
//!
//! A lookup passes the rooms in this order: `lookup` (cache, single-flight, batch), `guard`
//! (retry, admission, bulkhead, attempt), `wire` (HTTP, contract check). What they share is below
//! them: `options`, `answer`, `call`, `group`, `failure`, `observe`. `worst_case` is above them all: it sums
//! up what they do with the options.

mod answer;
mod call;
mod client;
mod failure;
mod group;
mod guard;
mod lookup;
mod observe;
mod options;
mod rng;
#[cfg(test)]
mod simulation;
mod state;
mod strategy;
mod wire;
mod worst_case;

pub(crate) use answer::{Answer, Found};
pub use call::CallContext;
pub(crate) use call::{Attempt, Call};
pub use client::VehicleClient;
pub use failure::{Failure, FailureKind};
pub use guard::{BreakerState, CallsState, Isolated, IsolationOrder, Phase as BreakerPhase};
pub use lookup::{CacheState, Lookup};
pub use observe::Series;
pub use options::{BreakerOptions, BudgetOptions, BuildError, CacheOptions, Options};
pub use state::GuardState;
pub use strategy::Strategy;
pub use wire::{
    event::{EventFault, EventFaultKind, VehicleEvent},
    feed::{Feed, FeedError, FeedPage, FeedStart, RegisterPage},
};
