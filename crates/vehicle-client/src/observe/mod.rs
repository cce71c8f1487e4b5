//! What the client says about itself: metrics, log lines, and why a lookup came out as it did.

mod failure_log;
mod instruments;
mod lookup_log;
mod series;

pub(crate) use failure_log::FailureLog;
pub(crate) use instruments::{ABORTED, Attempted, Instruments, LookupCounts, LookupResult};
pub(crate) use lookup_log::LookupLog;
pub use series::Series;
