use contracts::{Cause, EnrichmentStatus, Insurance, Source};
use opentelemetry::{
    KeyValue,
    metrics::{BoundCounter, Counter, Meter},
};
use vehicle_client::Series;

use super::strategy::{EnrichmentStrategy, Plan};

/// What is counted of enrichment.
pub(super) struct Counters {
    outcomes: Counter<u64>,
    by_outcome: Series<Kind, BoundCounter<u64>>,
    toggles: Counter<u64>,
    by_toggle: Series<(&'static str, &'static str), BoundCounter<u64>>,
}

/// What car policies are counted by.
type Kind = (EnrichmentStatus, Option<Cause>, Option<Source>);

impl Counters {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            outcomes: meter
                .u64_counter("enrichment.outcomes")
                .with_description("Car policies by what became of their enrichment")
                .build(),
            by_outcome: Series::default(),
            toggles: meter
                .u64_counter("feature_toggle_evaluations")
                .with_description("Toggles and strategies read by requests")
                .build(),
            by_toggle: Series::default(),
        }
    }

    /// Counts the settings that a request goes by.
    pub(super) fn evaluated(&self, plan: &Plan) {
        let toggles = plan.toggles;
        let name_of = |value| if value { "true" } else { "false" };
        let is_on = toggles.enable_vehicle_enrichment;
        self.read("enable_vehicle_enrichment", name_of(is_on));
        if !is_on {
            return;
        }
        match plan.strategy {
            EnrichmentStrategy::Unset => {
                let batch = name_of(toggles.enable_batch_vehicle_call);
                self.read("enable_batch_vehicle_call", batch);
            }
            strategy => self.read("strategy", strategy.label()),
        }
    }

    fn read(&self, name: &'static str, value: &'static str) {
        let count = |series: &BoundCounter<u64>| series.add(1);
        self.by_toggle
            .measure((name, value), count, |(name, value)| {
                self.toggles.bind(&[
                    KeyValue::new("toggle_name", *name),
                    KeyValue::new("value", *value),
                ])
            });
    }

    /// Adds up what became of the car policies, each kind at once: most are of one kind.
    pub(super) fn count(&self, insurances: &[Insurance]) {
        let mut kinds: Vec<(Kind, u64)> = Vec::new();
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
        for (kind, policies) in kinds {
            let add = |series: &BoundCounter<u64>| series.add(policies);
            let bind = |kind: &Kind| self.outcomes.bind(&labels(*kind));
            self.by_outcome.measure(kind, add, bind);
        }
    }
}

/// The names are those on the wire, so that metrics and answers speak alike.
fn labels((status, cause, source): Kind) -> [KeyValue; 3] {
    [
        KeyValue::new("status", status.name()),
        KeyValue::new("cause", cause.map_or("", Cause::name)),
        KeyValue::new("source", source.map_or("", Source::name)),
    ]
}
