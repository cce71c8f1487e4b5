use std::time::Duration;

use crate::{
    BreakerPhase, Isolated, breaker::Breaker, bulkhead::Bulkheads, gate::RetryAfter,
    isolation::Isolation, retry::Retry, switch::Switch,
};

/// What the guard is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardState {
    /// The isolation in force, if there is one.
    pub isolated: Option<Isolated>,
    /// The breaker.
    pub breaker: BreakerState,
    /// For how long Vehicle asked not to be called.
    pub gate_closed_for: Option<Duration>,
    /// Retries that could be made at once; each takes 1.
    pub retries_left: f64,
    /// Single calls.
    pub single: CallsState,
    /// Batch calls.
    pub batch: CallsState,
    /// What is kept of Vehicle's answers; nothing where none are kept.
    pub cache: Option<CacheState>,
}

/// How the breaker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerState {
    /// Its state.
    pub phase: BreakerPhase,
    /// How long until it lets a probe through; nothing unless it is open.
    pub retry_after: Option<Duration>,
}

/// How many calls of a kind there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallsState {
    /// Calls that hold their permit.
    pub in_flight: usize,
    /// Calls that wait for one.
    pub waiting: usize,
    /// Permits.
    pub maximum: usize,
}

/// How full the cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheState {
    /// Numbers of which something is kept.
    pub entries: u64,
    /// Memory that they take, about.
    pub bytes: u64,
}

/// The parts of the guard that can be looked at or controlled while it works.
#[derive(Clone)]
pub(crate) struct Controls {
    pub(crate) switch: Switch,
    pub(crate) isolation: Isolation,
    pub(crate) breaker: Breaker,
    pub(crate) gate: RetryAfter,
    pub(crate) bulkheads: Bulkheads,
    pub(crate) retry: Retry,
}

impl Controls {
    pub(crate) fn state(&self, cache: Option<CacheState>) -> GuardState {
        let (single, batch) = self.bulkheads.state();
        GuardState {
            isolated: self.isolation.isolated(),
            breaker: self.breaker.state(),
            gate_closed_for: self.gate.closed_for(),
            retries_left: self.retry.left(),
            single,
            batch,
            cache,
        }
    }
}
