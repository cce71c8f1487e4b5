use std::{collections::HashMap, sync::Arc, time::Duration};

use contracts::{RegistrationNumber, Source, Vehicle};
use tokio::time::Instant;

use crate::{Failure, trail::Trail};

/// How several vehicles are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// A call for each number, some at a time.
    Single,
    /// Calls for many numbers each.
    Batch,
}

impl Strategy {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Batch => "batch",
        }
    }

    pub(crate) fn source(self) -> Source {
        match self {
            Self::Single => Source::Live,
            Self::Batch => Source::Batch,
        }
    }
}

/// The inbound request for which Vehicle is asked.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// Nothing is waited for past this.
    pub deadline: Instant,
    /// Sent on as `X-Request-Id`.
    pub request_id: Arc<str>,
    /// Sent on as `traceparent` where no tracer records a span of its own.
    pub traceparent: Arc<str>,
}

/// The least that a caller must have left of its time for a call to be worth making.
pub(crate) const LEAST_TIME: Duration = Duration::from_millis(10);

impl CallContext {
    /// Whether a call that goes out then may still be answered within the deadline.
    pub(crate) fn has_time_at(&self, then: Instant) -> bool {
        then + LEAST_TIME <= self.deadline
    }
}

/// One question to Vehicle, as it passes the guard.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The numbers asked for, each once: one for [`Strategy::Single`].
    pub(crate) numbers: Arc<[RegistrationNumber]>,
    /// Which route of Vehicle is called.
    pub(crate) strategy: Strategy,
    /// For whom.
    pub(crate) context: CallContext,
    /// 0 for the first attempt.
    pub(crate) attempt: u32,
    /// Where the layers say what they decided.
    pub(crate) trail: Trail,
}

/// What Vehicle says about one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The vehicle.
    Vehicle(Vehicle),
    /// There is none.
    Nothing,
    /// The answer says nothing usable about this number.
    Failure(Failure),
}

impl Found {
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failure(failure) => Some(failure),
            Self::Vehicle(_) | Self::Nothing => None,
        }
    }
}

/// What Vehicle says about every number that was asked for, and about no other.
pub(crate) type Answer = HashMap<RegistrationNumber, Found>;
