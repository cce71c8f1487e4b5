use std::{sync::Arc, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram, Meter, UpDownCounter},
};

use tokio::time::Instant;

use crate::Strategy;

/// What became of something that its caller gave up.
const CANCELLED: &str = "cancelled";
/// What became of a call that a panic or the end of the process ended.
pub(crate) const ABORTED: &str = "aborted";

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
    lookups_asked: Counter<u64>,
    lookups: Counter<u64>,
    cache_lookups: Counter<u64>,
    batch_size: Histogram<u64>,
    breaker_state: Gauge<u64>,
    retry_budget: Gauge<f64>,
    breaker_transitions: Counter<u64>,
    isolated: Gauge<u64>,
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
            lookups_asked: meter
                .u64_counter("vehicle_client.lookups.asked")
                .with_description("Numbers that were asked for")
                .build(),
            lookups: meter
                .u64_counter("vehicle_client.lookups")
                .with_description("Numbers that were asked for, by what became of them")
                .build(),
            cache_lookups: meter
                .u64_counter("vehicle_client.cache.lookups")
                .with_description("Looks at the cache by what was found")
                .build(),
            batch_size: meter
                .u64_histogram("vehicle_client.batch.size")
                .with_unit("{number}")
                .with_description("Numbers that were gathered for one batch call")
                .with_boundaries(vec![1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0])
                .build(),
            breaker_state: meter
                .u64_gauge("vehicle_client.breaker.state")
                .with_description("1 for the state that the breaker is in, 0 for the others")
                .build(),
            retry_budget: meter
                .f64_gauge("vehicle_client.retry_budget")
                .with_unit("{retry}")
                .with_description("Retries that could be made at once")
                .build(),
            breaker_transitions: meter
                .u64_counter("vehicle_client.breaker.transitions")
                .with_description("Changes of the breaker's state")
                .build(),
            isolated: meter
                .u64_gauge("vehicle_client.isolated")
                .with_description("1 while an operator stops all calls to Vehicle")
                .build(),
        }))
    }

    /// A number that is asked for from now on.
    pub(crate) fn asked(&self) -> LookupRecord {
        self.0.lookups_asked.add(1, &[]);
        LookupRecord {
            instruments: self.clone(),
            result: CANCELLED,
        }
    }

    /// A look at the cache.
    pub(crate) fn cache_looked_at(&self, freshness: &'static str) {
        self.0
            .cache_lookups
            .add(1, &[KeyValue::new("freshness", freshness)]);
    }

    /// A batch that was gathered; the guard may still refuse its call.
    pub(crate) fn gathered(&self, numbers: usize) {
        self.0.batch_size.record(numbers as u64, &[]);
    }

    /// What is left of the retry budget.
    pub(crate) fn budget_left(&self, retries: f64) {
        self.0.retry_budget.record(retries, &[]);
    }

    /// The state that the breaker is in from now on.
    pub(crate) fn breaker_is(&self, state: &'static str) {
        for other in ["closed", "open", "half_open"] {
            let label = KeyValue::new("state", other);
            let value = u64::from(other == state);
            self.0.breaker_state.record(value, &[label]);
        }
    }

    /// A change of the breaker's state.
    pub(crate) fn breaker_became(&self, state: &'static str) {
        let label = KeyValue::new("state", state);
        self.0.breaker_transitions.add(1, &[label]);
        self.breaker_is(state);
    }

    /// Whether an operator stops all calls to Vehicle from now on.
    pub(crate) fn isolated(&self, isolated: bool) {
        self.0.isolated.record(u64::from(isolated), &[]);
    }

    /// A call that waits for its turn from now on.
    pub(crate) fn waiting(&self, strategy: Strategy, since: Instant) -> Waiting {
        Waiting {
            _length: Level::raise(self.0.queue_length.clone(), strategy),
            instruments: self.clone(),
            strategy,
            since,
            result: CANCELLED,
        }
    }

    /// An attempt in flight, until this is dropped.
    pub(crate) fn in_flight(&self, strategy: Strategy) -> Level {
        Level::raise(self.0.in_flight.clone(), strategy)
    }

    /// Counts an attempt that has ended; `awaited` says whether anybody still waited for it.
    pub(crate) fn attempted(
        &self,
        strategy: Strategy,
        reason: &'static str,
        outcome: &'static str,
        retry_budget: &'static str,
        awaited: bool,
    ) {
        let labels = [
            label(strategy),
            KeyValue::new("reason", reason),
            KeyValue::new("outcome", outcome),
            KeyValue::new("retry_budget", retry_budget),
            KeyValue::new("awaited", awaited),
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

/// A call that waits for its turn; measured when it is dropped, with the result that it has then.
pub(crate) struct Waiting {
    _length: Level,
    instruments: Instruments,
    strategy: Strategy,
    since: Instant,
    pub(crate) result: &'static str,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let labels = [label(self.strategy), KeyValue::new("result", self.result)];
        let time = self.since.elapsed().as_secs_f64();
        self.instruments.0.queue_wait.record(time, &labels);
    }
}

/// One more of something until it is dropped.
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

/// A number that was asked for, until it is answered; given up when it is dropped before.
pub(crate) struct LookupRecord {
    instruments: Instruments,
    result: &'static str,
}

impl LookupRecord {
    /// What became of it.
    pub(crate) fn ended(&mut self, result: &'static str) {
        self.result = result;
    }
}

impl Drop for LookupRecord {
    fn drop(&mut self) {
        self.instruments
            .0
            .lookups
            .add(1, &[KeyValue::new("result", self.result)]);
    }
}
