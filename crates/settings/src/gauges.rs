use opentelemetry::{
    KeyValue,
    metrics::{Gauge, Meter},
};

use crate::{Figure, Quantity};

/// The figures as metrics: a gauge for each unit, labelled with the figure's name, so that a
/// dashboard can draw what is measured under what is allowed.
pub struct Gauges {
    durations: Gauge<f64>,
    counts: Gauge<u64>,
    ratios: Gauge<f64>,
    bytes: Gauge<u64>,
}

impl Gauges {
    /// Makes them.
    pub fn new(meter: &Meter) -> Self {
        let description = "What the settings in force allow at worst";
        Self {
            durations: meter
                .f64_gauge("settings.worst_case.duration")
                .with_unit("s")
                .with_description(description)
                .build(),
            counts: meter
                .u64_gauge("settings.worst_case.count")
                .with_description(description)
                .build(),
            ratios: meter
                .f64_gauge("settings.worst_case.ratio")
                .with_description(description)
                .build(),
            bytes: meter
                .u64_gauge("settings.worst_case.memory")
                .with_unit("By")
                .with_description(description)
                .build(),
        }
    }

    /// Sets them to these figures.
    pub fn record(&self, figures: &[Figure]) {
        for Figure { name, quantity, .. } in figures {
            let label = [KeyValue::new("figure", *name)];
            match *quantity {
                Quantity::Duration(value) => self.durations.record(value.as_secs_f64(), &label),
                Quantity::Count(value) => self.counts.record(value, &label),
                Quantity::Ratio(value) => self.ratios.record(value, &label),
                Quantity::Bytes(value) => self.bytes.record(value, &label),
            }
        }
    }
}
