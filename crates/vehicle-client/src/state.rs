use std::time::Duration;

use crate::{BreakerState, CacheState, CallsState, Isolated};

/// What the guard is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardState {
    /// The isolation in force, if there is one.
    pub isolated: Option<Isolated>,
    /// The breaker.
    pub breaker: BreakerState,
    /// For how long Vehicle asked not to be called.
    pub retry_after: Option<Duration>,
    /// Retries that could be made at once; each takes 1.
    pub retries_left: f64,
    /// Single calls.
    pub single: CallsState,
    /// Batch calls.
    pub batch: CallsState,
    /// What is kept of Vehicle's answers; nothing where none are kept.
    pub cache: Option<CacheState>,
}
