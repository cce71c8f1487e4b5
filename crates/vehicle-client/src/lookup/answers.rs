use std::{collections::HashMap, sync::Arc, time::Duration};

use contracts::{RegistrationNumber, Source, Vehicle};
use tokio::time::Instant;

use super::cache::{Entry, Freshness};
use crate::{
    CallContext, Failure, FailureKind, Found, Strategy,
    answer::CallResult,
    observe::{LookupCounts, LookupLog, LookupResult},
};

/// What became of looking up one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Vehicle has it.
    Found {
        /// The vehicle.
        vehicle: Arc<Vehicle>,
        /// Where it comes from.
        source: Source,
        /// How old it is.
        age: Duration,
    },
    /// Vehicle answered that it has no such vehicle.
    NotFound {
        /// Where this comes from.
        source: Source,
    },
    /// There is no usable answer.
    Unavailable(Failure),
}

impl Lookup {
    /// What became of it, in one word.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Found { .. } => "found",
            Self::NotFound { .. } => "not_found",
            Self::Unavailable(failure) => failure.kind.label(),
        }
    }

    /// The same as the counters add it up.
    fn result(&self) -> LookupResult {
        match self {
            Self::Found { .. } | Self::NotFound { .. } => LookupResult::Answered,
            Self::Unavailable(failure) if failure.kind.is_shed() => LookupResult::Shed,
            Self::Unavailable(_) => LookupResult::Failed,
        }
    }

    pub(super) fn from_cache(freshness: Freshness, entry: Entry, now: Instant) -> Self {
        let source = match freshness {
            Freshness::Fresh | Freshness::SoftStale => Source::Cache,
            Freshness::HardStale => Source::LastKnownGood,
        };
        match entry.vehicle {
            Some(vehicle) => Self::Found {
                vehicle,
                source,
                age: now.saturating_duration_since(entry.stored),
            },
            None => Self::NotFound { source },
        }
    }

    pub(super) fn from_call(
        number: &RegistrationNumber,
        result: &CallResult,
        source: Source,
    ) -> Self {
        match result.as_ref().map(|answer| answer.get(number)) {
            Ok(Some(Found::Vehicle(vehicle))) => Self::Found {
                vehicle: vehicle.clone(),
                source,
                age: Duration::ZERO,
            },
            Ok(Some(Found::Nothing)) => Self::NotFound { source },
            Ok(Some(Found::Failure(failure))) | Err(failure) => Self::Unavailable(*failure),
            Ok(None) => Self::Unavailable(Failure::lasting(FailureKind::ContractViolation)),
        }
    }
}

/// The answers so far, counted when they are dropped.
pub(super) struct Answers<'a> {
    request_id: &'a str,
    strategy: Strategy,
    counts: LookupCounts,
    lookups: HashMap<RegistrationNumber, Lookup>,
}

impl<'a> Answers<'a> {
    /// For so many numbers.
    pub(super) fn new(
        numbers: usize,
        counts: LookupCounts,
        strategy: Strategy,
        context: &'a CallContext,
    ) -> Self {
        Self {
            request_id: &context.request_id,
            strategy,
            counts,
            lookups: HashMap::with_capacity(numbers),
        }
    }

    pub(super) fn looked_at_cache(&mut self, class: &'static str, log: &LookupLog) {
        self.counts.looked_at_cache(class);
        log.add(format_args!("cache {class}"));
    }

    pub(super) fn into_lookups(self) -> HashMap<RegistrationNumber, Lookup> {
        self.lookups
    }

    pub(super) fn add(&mut self, number: &RegistrationNumber, lookup: Lookup, log: &LookupLog) {
        self.counts.ended(lookup.result());
        if log.is_enabled() {
            tracing::debug!(
                request_id = self.request_id,
                strategy = self.strategy.label(),
                result = lookup.label(),
                steps = log.text(),
                "a lookup explained"
            );
        }
        self.lookups.insert(number.clone(), lookup);
    }
}
