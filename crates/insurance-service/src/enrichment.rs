use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use contracts::{
    Cause, Currency, Enrichment, EnrichmentStatus, Insurance, ProfileEnrichment,
    RegistrationNumber, Source, Vehicle,
};
use opentelemetry::{
    KeyValue, Value,
    metrics::{BoundCounter, Counter, Meter},
};
use tokio::time::Instant;
use vehicle_client::{CallContext, Failure, FailureKind, Lookup, Series, Strategy, VehicleClient};

use crate::{settings::FeatureToggles, store::Policy};

/// When nobody says how long it takes, a passing trouble is worth another try after this.
const RETRY_AFTER_SECONDS: u64 = 1;

/// Adds to car policies what Vehicle knows of their cars.
#[derive(Clone)]
pub(crate) struct Enricher {
    vehicles: VehicleClient,
    counters: Arc<Counters>,
}

struct Counters {
    outcomes: Counter<u64>,
    by_outcome: Series<Outcome, BoundCounter<u64>>,
    toggles: Counter<u64>,
    by_toggle: Series<(&'static str, bool), BoundCounter<u64>>,
}

/// What car policies are counted by.
type Outcome = (EnrichmentStatus, Option<Cause>, Option<Source>);

/// Whose request it is, and how long its lookups may take.
pub(crate) struct Caller {
    pub(crate) request_id: Arc<str>,
    pub(crate) traceparent: Arc<str>,
    /// Nothing is waited for past this.
    pub(crate) deadline: Instant,
}

impl Enricher {
    pub(crate) fn new(vehicles: VehicleClient, meter: &Meter) -> Self {
        Self {
            vehicles,
            counters: Arc::new(Counters {
                outcomes: meter
                    .u64_counter("enrichment.outcomes")
                    .with_description("Car policies by what became of their enrichment")
                    .build(),
                by_outcome: Series::default(),
                toggles: meter
                    .u64_counter("feature_toggle_evaluations")
                    .with_description("Toggles read by requests")
                    .build(),
                by_toggle: Series::default(),
            }),
        }
    }

    /// Enriches one person's policies, with the toggles as they were when the request came.
    #[tracing::instrument(name = "enrich", skip_all, fields(policies = policies.len()))]
    pub(crate) async fn enrich(
        &self,
        policies: Vec<Policy>,
        toggles: FeatureToggles,
        caller: Caller,
    ) -> Vec<Insurance> {
        let cars: BTreeSet<_> = policies
            .iter()
            .filter_map(|policy| policy.car.clone())
            .collect();
        let lookups = if cars.is_empty() {
            None
        } else {
            self.look_up(cars.into_iter().collect(), toggles, caller)
                .await
        };
        let insurances: Vec<_> = policies
            .into_iter()
            .map(|policy| insurance(policy, lookups.as_ref()))
            .collect();
        self.count(&insurances);
        insurances
    }

    /// Looks up each car once; nothing where enrichment is switched off.
    async fn look_up(
        &self,
        cars: Vec<RegistrationNumber>,
        toggles: FeatureToggles,
        caller: Caller,
    ) -> Option<HashMap<RegistrationNumber, Lookup>> {
        let FeatureToggles {
            enable_vehicle_enrichment,
            enable_batch_vehicle_call,
        } = toggles;
        self.evaluated("enable_vehicle_enrichment", enable_vehicle_enrichment);
        if !enable_vehicle_enrichment {
            return None;
        }
        self.evaluated("enable_batch_vehicle_call", enable_batch_vehicle_call);
        let strategy = if enable_batch_vehicle_call {
            Strategy::Batch
        } else {
            Strategy::Single
        };
        let context = CallContext {
            deadline: caller.deadline,
            request_id: caller.request_id,
            traceparent: caller.traceparent,
        };
        Some(self.vehicles.look_up(&cars, strategy, &context).await)
    }

    fn evaluated(&self, name: &'static str, value: bool) {
        let Counters {
            toggles, by_toggle, ..
        } = &*self.counters;
        let count = |series: &BoundCounter<u64>| series.add(1);
        by_toggle.measure((name, value), count, |(name, value)| {
            toggles.bind(&[
                KeyValue::new("toggle_name", *name),
                KeyValue::new("value", *value),
            ])
        });
    }

    /// Adds up what became of the car policies, each kind at once: most are of one kind.
    fn count(&self, insurances: &[Insurance]) {
        let mut kinds: Vec<(Outcome, u64)> = Vec::new();
        for Insurance { enrichment, .. } in insurances {
            if enrichment.status == EnrichmentStatus::NotApplicable {
                continue;
            }
            let kind = (enrichment.status, enrichment.cause, enrichment.source);
            match kinds.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, policies)) => *policies += 1,
                None => kinds.push((kind, 1)),
            }
        }
        let counters = &self.counters;
        for (kind, policies) in kinds {
            let add = |series: &BoundCounter<u64>| series.add(policies);
            counters
                .by_outcome
                .measure(kind, add, |kind| counters.outcomes.bind(&labels(*kind)));
        }
    }
}

fn labels((status, cause, source): Outcome) -> [KeyValue; 3] {
    let cause = cause.map_or(Value::from(""), |cause| wire_name(&cause));
    let source = source.map_or(Value::from(""), |source| wire_name(&source));
    [
        KeyValue::new("status", wire_name(&status)),
        KeyValue::new("cause", cause),
        KeyValue::new("source", source),
    ]
}

/// How far the car policies could be enriched.
pub(crate) fn summary(insurances: &[Insurance]) -> ProfileEnrichment {
    let of = |status| {
        insurances
            .iter()
            .filter(|it| it.enrichment.status == status)
            .count()
    };
    let cars = insurances.len() - of(EnrichmentStatus::NotApplicable);
    match of(EnrichmentStatus::Unavailable) {
        _ if cars == 0 => ProfileEnrichment::NotApplicable,
        _ if of(EnrichmentStatus::Disabled) > 0 => ProfileEnrichment::Disabled,
        0 => ProfileEnrichment::Complete,
        unavailable if unavailable == cars => ProfileEnrichment::None,
        _ => ProfileEnrichment::Partial,
    }
}

fn insurance(policy: Policy, lookups: Option<&HashMap<RegistrationNumber, Lookup>>) -> Insurance {
    let Policy {
        insurance_id,
        product,
        status,
        valid_from,
        valid_until,
        monthly_cost,
        car,
    } = policy;
    let (vehicle, enrichment) = match &car {
        None => (None, without_vehicle(EnrichmentStatus::NotApplicable, None)),
        Some(number) => match lookups {
            None => (None, without_vehicle(EnrichmentStatus::Disabled, None)),
            Some(lookups) => enrichment(lookups.get(number)),
        },
    };
    Insurance {
        insurance_id,
        product,
        status,
        valid_from,
        valid_until,
        monthly_cost,
        currency: Currency::Sek,
        car_registration_number: car,
        vehicle,
        enrichment,
    }
}

fn enrichment(lookup: Option<&Lookup>) -> (Option<Vehicle>, Enrichment) {
    match lookup {
        // The client answers for every number that it is asked for; if it ever did not, this would
        // be no time to guess.
        None => (
            None,
            Enrichment {
                cause: Some(Cause::ContractViolation),
                ..without_vehicle(EnrichmentStatus::Unavailable, None)
            },
        ),
        Some(Lookup::Found {
            vehicle,
            source,
            age,
        }) => {
            let status = match source {
                Source::LastKnownGood => EnrichmentStatus::Stale,
                _ => EnrichmentStatus::Enriched,
            };
            let age_seconds = Some(age.as_secs());
            (
                Some(Vehicle::clone(vehicle)),
                Enrichment {
                    age_seconds,
                    ..without_vehicle(status, Some(*source))
                },
            )
        }
        Some(Lookup::NotFound { source }) => (
            None,
            without_vehicle(EnrichmentStatus::NotFound, Some(*source)),
        ),
        Some(Lookup::Unavailable(failure)) => (
            None,
            Enrichment {
                cause: Some(cause(failure.kind)),
                retry_after_seconds: retry_after_seconds(failure),
                ..without_vehicle(EnrichmentStatus::Unavailable, None)
            },
        ),
    }
}

fn without_vehicle(status: EnrichmentStatus, source: Option<Source>) -> Enrichment {
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

/// The name that a value has on the wire, so that metrics and answers speak alike.
fn wire_name(value: &impl serde::Serialize) -> Value {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name.into(),
        _ => "".into(),
    }
}
