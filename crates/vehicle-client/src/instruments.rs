use std::{sync::Arc, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, Meter, UpDownCounter},
};

use crate::Strategy;

/// Bucket bounds in seconds: calls end within the attempt timeout, waits within the queue's.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.4, 0.5, 1.0, 2.5,
];

/// What the guard measures. Clones share the instruments.
#[derive(Clone)]
pub(crate) struct Instruments(Arc<Inner>);

struct Inner {
    attempts: Counter<u64>,
    in_flight: UpDownCounter<i64>,
    queue_length: UpDownCounter<i64>,
    queue_wait: Histogram<f64>,
    request_duration: Histogram<f64>,
}

impl Instruments {
    pub(crate) fn new(meter: &Meter) -> Self {
        let histogram = |name: &'static str, description: &'static str| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(description)
                .with_boundaries(BUCKETS.to_vec())
                .build()
        };
        let level = |name: &'static str, description: &'static str| {
            meter
                .i64_up_down_counter(name)
                .with_unit("{call}")
                .with_description(description)
                .build()
        };
        Self(Arc::new(Inner {
            attempts: meter
                .u64_counter("vehicle_client.attempts")
                .with_description("Calls that went out to Vehicle")
                .build(),
            in_flight: level("vehicle_client.in_flight", "Calls to Vehicle in flight"),
            queue_length: level(
                "vehicle_client.queue.length",
                "Calls waiting for their turn",
            ),
            queue_wait: histogram("vehicle_client.queue.wait", "Time that calls waited"),
            request_duration: histogram("http.client.request.duration", "Time for a call"),
        }))
    }

    pub(crate) fn waiting(&self, strategy: Strategy) -> Level {
        Level::raise(self.0.queue_length.clone(), strategy)
    }

    pub(crate) fn in_flight(&self, strategy: Strategy) -> Level {
        Level::raise(self.0.in_flight.clone(), strategy)
    }

    pub(crate) fn waited(&self, strategy: Strategy, time: Duration, admitted: bool) {
        let result = if admitted { "admitted" } else { "shed" };
        let labels = [label(strategy), KeyValue::new("result", result)];
        self.0.queue_wait.record(time.as_secs_f64(), &labels);
    }

    pub(crate) fn attempted(
        &self,
        strategy: Strategy,
        reason: &'static str,
        outcome: &'static str,
    ) {
        let labels = [
            label(strategy),
            KeyValue::new("reason", reason),
            KeyValue::new("outcome", outcome),
        ];
        self.0.attempts.add(1, &labels);
    }

    /// Records an HTTP call by its status, or by what kept it from having one.
    pub(crate) fn requested(
        &self,
        method: &'static str,
        status: Result<u16, &'static str>,
        time: Duration,
    ) {
        let method = KeyValue::new("http.request.method", method);
        let result = match status {
            Ok(status) => KeyValue::new("http.response.status_code", i64::from(status)),
            Err(error) => KeyValue::new("error.type", error),
        };
        self.0
            .request_duration
            .record(time.as_secs_f64(), &[method, result]);
    }
}

fn label(strategy: Strategy) -> KeyValue {
    KeyValue::new("strategy", strategy.label())
}

/// One more of something until it is dropped, also by cancellation.
pub(crate) struct Level {
    counter: UpDownCounter<i64>,
    label: [KeyValue; 1],
}

impl Level {
    fn raise(counter: UpDownCounter<i64>, strategy: Strategy) -> Self {
        let label = [label(strategy)];
        counter.add(1, &label);
        Self { counter, label }
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        self.counter.add(-1, &self.label);
    }
}
