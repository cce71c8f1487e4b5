//! What is known of the cars of policies: by Vehicle, through the guard; by the copy of its register;
//! or by both.

mod comparison;
mod copy;
mod counters;
mod outcome;
mod strategy;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use contracts::{
    Cause, Currency, Enrichment, EnrichmentStatus, Insurance, ProfileEnrichment,
    RegistrationNumber, Vehicle,
};
use opentelemetry::metrics::Meter;
use tokio::time::Instant;
use vehicle_client::{CallContext, VehicleClient};

pub(crate) use comparison::Comparison;
use copy::Told;
pub(crate) use copy::{CONSUMER, Copied};
use counters::Counters;
use outcome::{Outcome, without_vehicle};
pub(crate) use outcome::{retry_after_seconds, whole_seconds};
pub use strategy::EnrichmentStrategy;
pub(crate) use strategy::Plan;

use crate::store::Policy;

/// Adds to car policies what is known of their cars.
#[derive(Clone)]
pub(crate) struct Enricher {
    vehicles: VehicleClient,
    /// Where this process follows Vehicle's events.
    comparison: Option<Comparison>,
    counters: Arc<Counters>,
}

/// Whose request it is, and how long its lookups may take.
pub(crate) struct Caller {
    pub(crate) request_id: Arc<str>,
    pub(crate) traceparent: Arc<str>,
    /// Nothing is waited for past this.
    pub(crate) deadline: Instant,
}

type Outcomes = HashMap<RegistrationNumber, Outcome>;

impl Enricher {
    pub(crate) fn new(
        vehicles: VehicleClient,
        comparison: Option<Comparison>,
        meter: &Meter,
    ) -> Self {
        Self {
            vehicles,
            comparison,
            counters: Arc::new(Counters::new(meter)),
        }
    }

    /// Enriches one person's policies, with the settings as they were when the request came.
    #[tracing::instrument(name = "enrich", skip_all, fields(policies = policies.len()))]
    pub(crate) async fn enrich(
        &self,
        policies: Vec<Policy>,
        plan: &Plan,
        caller: Caller,
    ) -> Vec<Insurance> {
        let outcomes = self.outcomes(&policies, plan, caller).await;
        let insurances: Vec<_> = policies
            .into_iter()
            .map(|policy| insurance(policy, outcomes.as_ref()))
            .collect();
        self.counters.count(&insurances);
        insurances
    }

    /// What becomes of each car; nothing where there is none or enrichment is switched off.
    async fn outcomes(&self, policies: &[Policy], plan: &Plan, caller: Caller) -> Option<Outcomes> {
        let of_policy = |policy: &Policy| Some((policy.car.clone()?, policy.copied.clone()));
        let cars: BTreeMap<_, _> = policies.iter().filter_map(of_policy).collect();
        if cars.is_empty() {
            return None;
        }
        self.counters.evaluated(plan);
        if !plan.toggles.enable_vehicle_enrichment {
            return None;
        }
        let (mut outcomes, mut open) = (Outcomes::with_capacity(cars.len()), Vec::new());
        for (number, copied) in cars {
            let told = plan.copy.map(|bounds| bounds.tell(copied.as_ref()));
            let outcome = match told {
                Some(Told::Now(outcome)) => Some(outcome),
                Some(Told::Failing(outcome)) => {
                    open.push(number.clone());
                    Some(outcome)
                }
                None => {
                    open.push(number.clone());
                    None
                }
            };
            outcomes.extend(outcome.map(|outcome| (number, outcome)));
        }
        self.ask(&open, plan, caller, &mut outcomes).await;
        Some(outcomes)
    }

    /// Asks Vehicle for these cars, where that is planned. What the copy says of one stays only
    /// where Vehicle cannot say it.
    async fn ask(
        &self,
        numbers: &[RegistrationNumber],
        plan: &Plan,
        caller: Caller,
        outcomes: &mut Outcomes,
    ) {
        let Some(calls) = plan.calls.filter(|_| !numbers.is_empty()) else {
            return;
        };
        let context = CallContext {
            deadline: caller.deadline,
            request_id: caller.request_id,
            traceparent: caller.traceparent,
        };
        let asked = Instant::now();
        let lookups = self.vehicles.look_up(numbers, calls, &context).await;
        if let Some(comparison) = &self.comparison {
            comparison.offer(&lookups, asked, &self.vehicles);
        }
        for (number, lookup) in lookups {
            let (outcome, spare) = (Outcome::from(lookup), outcomes.get(&number));
            let is_spare_better = matches!(outcome, Outcome::Unavailable { .. })
                && matches!(spare, Some(Outcome::Vehicle { .. }));
            if !is_spare_better {
                outcomes.insert(number, outcome);
            }
        }
    }
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

fn insurance(policy: Policy, outcomes: Option<&Outcomes>) -> Insurance {
    let (vehicle, enrichment) = match (&policy.car, outcomes) {
        (None, _) => (None, without_vehicle(EnrichmentStatus::NotApplicable, None)),
        (Some(_), None) => (None, without_vehicle(EnrichmentStatus::Disabled, None)),
        (Some(number), Some(outcomes)) => told(outcomes.get(number)),
    };
    Insurance {
        insurance_id: policy.insurance_id,
        product: policy.product,
        status: policy.status,
        valid_from: policy.valid_from,
        valid_until: policy.valid_until,
        monthly_cost: policy.monthly_cost,
        currency: Currency::Sek,
        car_registration_number: policy.car,
        vehicle,
        enrichment,
    }
}

fn told(outcome: Option<&Outcome>) -> (Option<Vehicle>, Enrichment) {
    // The client answers for every number that it is asked for; if it ever did not, this would be
    // no time to guess.
    let unasked = Outcome::Unavailable {
        cause: Cause::ContractViolation,
        retry_after_seconds: None,
    };
    outcome.unwrap_or(&unasked).told()
}
