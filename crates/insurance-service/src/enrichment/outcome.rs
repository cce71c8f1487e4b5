//! What became of one car, and how callers are told.

use std::{sync::Arc, time::Duration};

use contracts::{Cause, Enrichment, EnrichmentStatus, Source, Vehicle};
use vehicle_client::{Failure, FailureKind, Lookup};

/// When nobody says how long it takes, a passing trouble is worth another try after this.
const RETRY_AFTER_SECONDS: u64 = 1;

/// What became of one car.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There is a vehicle.
    Vehicle {
        vehicle: Arc<Vehicle>,
        status: EnrichmentStatus,
        source: Source,
        age: Duration,
    },
    /// There is none.
    NotFound(Source),
    /// Nobody knows.
    Unavailable {
        cause: Cause,
        retry_after_seconds: Option<u64>,
    },
}

impl From<Lookup> for Outcome {
    fn from(lookup: Lookup) -> Self {
        match lookup {
            Lookup::Found {
                vehicle,
                source,
                age,
            } => Self::Vehicle {
                vehicle,
                status: match source {
                    Source::LastKnownGood => EnrichmentStatus::Stale,
                    _ => EnrichmentStatus::Enriched,
                },
                source,
                age,
            },
            Lookup::NotFound { source } => Self::NotFound(source),
            Lookup::Unavailable(failure) => Self::Unavailable {
                cause: cause(failure.kind),
                retry_after_seconds: retry_after_seconds(&failure),
            },
        }
    }
}

impl Outcome {
    /// The vehicle, and how it came to be what it is.
    pub(super) fn told(&self) -> (Option<Vehicle>, Enrichment) {
        match self {
            Self::Vehicle {
                vehicle,
                status,
                source,
                age,
            } => {
                let enrichment = Enrichment {
                    age_seconds: Some(age.as_secs()),
                    ..without_vehicle(*status, Some(*source))
                };
                (Some(Vehicle::clone(vehicle)), enrichment)
            }
            Self::NotFound(source) => {
                let not_found = EnrichmentStatus::NotFound;
                (None, without_vehicle(not_found, Some(*source)))
            }
            Self::Unavailable {
                cause,
                retry_after_seconds,
            } => {
                let enrichment = Enrichment {
                    cause: Some(*cause),
                    retry_after_seconds: *retry_after_seconds,
                    ..without_vehicle(EnrichmentStatus::Unavailable, None)
                };
                (None, enrichment)
            }
        }
    }
}

pub(super) fn without_vehicle(status: EnrichmentStatus, source: Option<Source>) -> Enrichment {
    Enrichment {
        status,
        cause: None,
        source,
        age_seconds: None,
        retry_after_seconds: None,
    }
}

/// What our callers are told. Who stops calls to Vehicle, and by which means, is not theirs to
/// know.
fn cause(kind: FailureKind) -> Cause {
    match kind {
        FailureKind::Timeout => Cause::Timeout,
        FailureKind::SwitchedOff | FailureKind::Isolated | FailureKind::BreakerOpen => {
            Cause::BreakerOpen
        }
        FailureKind::Overloaded => Cause::Overloaded,
        FailureKind::Connection => Cause::Connection,
        FailureKind::ServerError => Cause::ServerError,
        FailureKind::RateLimited => Cause::RateLimited,
        FailureKind::Unauthorized => Cause::Unauthorized,
        FailureKind::ContractViolation => Cause::ContractViolation,
    }
}

/// After how many seconds asking again makes sense, if it does.
pub(crate) fn retry_after_seconds(failure: &Failure) -> Option<u64> {
    match failure.retry_after {
        Some(after) => Some(whole_seconds(after)),
        // A wrong key or a broken contract does not pass by itself.
        None => match failure.kind {
            FailureKind::Unauthorized | FailureKind::ContractViolation => None,
            _ => Some(RETRY_AFTER_SECONDS),
        },
    }
}

/// Seconds after which this time is surely over.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
