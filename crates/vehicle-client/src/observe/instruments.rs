use std::{sync::Arc, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{BoundCounter, BoundHistogram, Counter, Gauge, Histogram, Meter},
};

use tokio::time::Instant;

use super::Series;
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
    meter: Meter,
    attempts: Counter<u64>,
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
    bound: Bound,
}

/// Series of what is measured for each call and each request.
#[derive(Default)]
struct Bound {
    attempts: Series<Attempted, BoundCounter<u64>>,
    queue_wait: Series<(Strategy, &'static str), BoundHistogram<f64>>,
    requests: Series<(&'static str, Result<u16, &'static str>), BoundHistogram<f64>>,
    lookups: Series<&'static str, BoundCounter<u64>>,
    cache_lookups: Series<&'static str, BoundCounter<u64>>,
}

/// What an attempt is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempted {
    pub(crate) strategy: Strategy,
    pub(crate) reason: &'static str,
    pub(crate) outcome: &'static str,
    pub(crate) retry_budget: &'static str,
    /// Whether anybody still waited for it when it ended.
    pub(crate) awaited: bool,
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
        Self(Arc::new(Inner {
            meter: meter.clone(),
            attempts: meter
                .u64_counter("vehicle_client.attempts")
                .with_description("Calls that went out to Vehicle")
                .build(),
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
                .with_description("Numbers that were asked for, by what the cache had of them then")
                .build(),
            batch_size: meter
                .u64_histogram("vehicle_client.batch.size")
                .with_unit("{number}")
                .with_description("Numbers in one batch call")
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
            bound: Bound::default(),
        }))
    }

    /// Numbers that are asked for from now on.
    pub(crate) fn asked(&self, numbers: usize) -> LookupCounts {
        self.0.lookups_asked.add(numbers as u64, &[]);
        LookupCounts {
            instruments: self.clone(),
            open: numbers as u64,
            results: [0; 3],
            cache: Vec::new(),
        }
    }

    /// A batch of this many numbers that is sent for the first time.
    pub(crate) fn batch(&self, numbers: usize) {
        self.0.batch_size.record(numbers as u64, &[]);
    }

    /// Shows how many calls are in flight and how many wait for their turn, whenever it is asked.
    pub(crate) fn show_calls(
        &self,
        strategy: Strategy,
        calls: impl Fn() -> (usize, usize) + Clone + Send + Sync + 'static,
    ) {
        let level = |name: &'static str, description, of: fn((usize, usize)) -> usize| {
            let (calls, label) = (calls.clone(), [label(strategy)]);
            self.0
                .meter
                .i64_observable_up_down_counter(name)
                .with_unit("{call}")
                .with_description(description)
                .with_callback(move |level| {
                    level.observe(i64::try_from(of(calls())).unwrap_or(i64::MAX), &label);
                })
                .build();
        };
        let in_flight = "Calls to Vehicle in flight";
        level("vehicle_client.in_flight", in_flight, |calls| calls.0);
        let waiting = "Calls waiting for their turn";
        level("vehicle_client.queue.length", waiting, |calls| calls.1);
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
            instruments: self.clone(),
            strategy,
            since,
            result: CANCELLED,
        }
    }

    /// Counts an attempt that has ended.
    pub(crate) fn attempted(&self, attempted: Attempted) {
        let count = |series: &BoundCounter<u64>| series.add(1);
        self.0
            .bound
            .attempts
            .measure(attempted, count, |attempted| {
                self.0.attempts.bind(&[
                    label(attempted.strategy),
                    KeyValue::new("reason", attempted.reason),
                    KeyValue::new("outcome", attempted.outcome),
                    KeyValue::new("retry_budget", attempted.retry_budget),
                    KeyValue::new("awaited", attempted.awaited),
                ])
            });
    }

    /// Records an HTTP call by its status, or by what kept it from having one.
    pub(crate) fn requested(
        &self,
        method: &'static str,
        status: Result<u16, &'static str>,
        time: Duration,
    ) {
        let record = |series: &BoundHistogram<f64>| series.record(time.as_secs_f64());
        let series = &self.0.bound.requests;
        series.measure((method, status), record, |(method, status)| {
            let method = KeyValue::new("http.request.method", *method);
            let result = match *status {
                Ok(status) => KeyValue::new("http.response.status_code", i64::from(status)),
                Err(error) => KeyValue::new("error.type", error),
            };
            self.0.request_duration.bind(&[method, result])
        });
    }
}

fn label(strategy: Strategy) -> KeyValue {
    KeyValue::new("strategy", strategy.label())
}

/// A call that waits for its turn; measured when it is dropped, with the result that it has then.
pub(crate) struct Waiting {
    instruments: Instruments,
    strategy: Strategy,
    since: Instant,
    pub(crate) result: &'static str,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let time = self.since.elapsed().as_secs_f64();
        let record = |series: &BoundHistogram<f64>| series.record(time);
        let inner = &self.instruments.0;
        let series = &inner.bound.queue_wait;
        series.measure(
            (self.strategy, self.result),
            record,
            |(strategy, result)| {
                let labels = [label(*strategy), KeyValue::new("result", *result)];
                inner.queue_wait.bind(&labels)
            },
        );
    }
}

/// What became of a number that was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LookupResult {
    /// There is an answer.
    Answered,
    /// The guard did not send its last attempt.
    Shed,
    /// Vehicle gave no usable answer.
    Failed,
}

/// What became of the numbers of one request, added up once, when this is dropped: those without a
/// result then were given up.
pub(crate) struct LookupCounts {
    instruments: Instruments,
    open: u64,
    results: [u64; 3],
    cache: Vec<(&'static str, u64)>,
}

impl LookupCounts {
    /// A look at the cache, which found an entry of this class.
    pub(crate) fn looked_at_cache(&mut self, freshness: &'static str) {
        match self.cache.iter_mut().find(|(known, _)| *known == freshness) {
            Some((_, looks)) => *looks += 1,
            None => self.cache.push((freshness, 1)),
        }
    }

    /// What became of a number.
    pub(crate) fn ended(&mut self, result: LookupResult) {
        self.results[result as usize] += 1;
        self.open -= 1;
    }
}

impl Drop for LookupCounts {
    fn drop(&mut self) {
        let inner = &self.instruments.0;
        for (freshness, looks) in &self.cache {
            let add = |series: &BoundCounter<u64>| series.add(*looks);
            inner.bound.cache_lookups.measure(*freshness, add, |it| {
                let label = KeyValue::new("freshness", *it);
                inner.cache_lookups.bind(&[label])
            });
        }
        let [answered, shed, failed] = self.results;
        for (result, numbers) in [
            ("answered", answered),
            ("shed", shed),
            ("failed", failed),
            (CANCELLED, self.open),
        ] {
            if numbers > 0 {
                let add = |series: &BoundCounter<u64>| series.add(numbers);
                inner.bound.lookups.measure(result, add, |it| {
                    let label = KeyValue::new("result", *it);
                    inner.lookups.bind(&[label])
                });
            }
        }
    }
}
