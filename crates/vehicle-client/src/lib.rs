//! The only code that calls Vehicle: a typed client behind one guard that the whole process shares.
//!
//! Vehicle stands for a legacy system of unknown capacity. The guard never lets more calls
//! through than it may, and every answer that comes back says honestly where it is from.
//! The module `guard` lists the layers in their order.

mod attempt;
mod breaker;
mod budget;
mod bulkhead;
mod cache;
mod call;
mod chance;
mod client;
mod contract;
mod departure;
mod dispatch;
mod failure;
mod failure_log;
mod gate;
mod guard;
mod instruments;
mod isolation;
mod options;
mod retry;
mod retry_after;
#[cfg(test)]
mod simulation;
mod single_flight;
mod state;
mod step;
mod switch;
mod trail;
mod transport;
mod waiters;

pub use breaker::{BreakerOptions, Phase as BreakerPhase};
pub use budget::BudgetOptions;
pub use cache::CacheOptions;
pub(crate) use call::{Answer, Call, Found};
pub use call::{CallContext, Strategy};
pub use client::{Lookup, VehicleClient};
pub use failure::Failure;
pub use isolation::{Isolated, IsolationOrder};
pub use options::{BuildError, Options};
pub use state::{BreakerState, CacheState, CallsState, GuardState};
pub use transport::check_certificates;
