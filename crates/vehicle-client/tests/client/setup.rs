use std::{collections::HashMap, time::Duration};

use contracts::{RegistrationNumber, Source};
use service_defaults::metrics::Metrics;
use test_support::{FakeVehicle, metric};
use tokio::time::Instant;
use vehicle_client::{
    BreakerOptions, BudgetOptions, CallContext, FailureKind, Lookup, Options, Strategy,
    VehicleClient,
};

pub(crate) const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// The documented defaults.
pub(crate) const BREAKER: BreakerOptions = BreakerOptions {
    window: Duration::from_secs(10),
    minimum_calls: 20,
    failure_ratio: 0.5,
    slow_ratio: 0.8,
    slow_after_share: 0.8,
    open_for: Duration::from_secs(5),
    max_open_for: Duration::from_mins(1),
    probes_to_close: 3,
};

/// A budget that is never used up.
const PLENTY: BudgetOptions = BudgetOptions {
    retries_per_good_call: 1.0,
    retries_per_second: 1e12,
    max_saved: 1e6,
};

/// A client with its metrics.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) vehicles: VehicleClient,
    pub(crate) metrics: Metrics,
}

/// Options whose times never matter, but for the pauses, which are as short as can be.
pub(crate) fn patient(fake: &FakeVehicle) -> Options {
    let mut options: Options = settings::parse(
        "vehicle_client",
        "api_key = \"key-for-vehicle\"\n[cache]\nenabled = false",
    )
    .unwrap();
    options.base_url = fake.url().parse().unwrap();
    options.queue_wait = Duration::from_secs(20);
    options.connect_timeout = Duration::from_secs(10);
    options.attempt_timeout = Duration::from_secs(10);
    options.retry_pause = Duration::from_millis(1);
    options.max_retry_pause = Duration::from_millis(1);
    options.retry_budget = PLENTY;
    // Only the breaker's own tests let it open.
    options.breaker.minimum_calls = u64::MAX;
    options
}

pub(crate) fn client(options: &Options) -> Client {
    let metrics = Metrics::new("test").unwrap();
    let vehicles = VehicleClient::new(options, "threadpilot-test/1", metrics.meter()).unwrap();
    Client { vehicles, metrics }
}

/// A request that may take this long.
pub(crate) fn within(time: Duration) -> CallContext {
    CallContext {
        deadline: Instant::now() + time,
        request_id: "request-1".into(),
        traceparent: TRACEPARENT.into(),
    }
}

/// A request whose deadline never matters.
pub(crate) fn unhurried() -> CallContext {
    within(Duration::from_secs(30))
}

pub(crate) fn numbers(texts: &[&str]) -> Vec<RegistrationNumber> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// `A00`, `A01`, …
pub(crate) fn many(letters: &str, count: usize) -> Vec<RegistrationNumber> {
    (0..count)
        .map(|index| format!("{letters}{index:02}").parse().unwrap())
        .collect()
}

impl Client {
    /// Looks up one number by a single call.
    pub(crate) async fn one(&self, number: &str, context: &CallContext) -> Lookup {
        self.all(&[number], Strategy::Single, context)
            .await
            .into_values()
            .next()
            .unwrap()
    }

    pub(crate) async fn all(
        &self,
        texts: &[&str],
        strategy: Strategy,
        context: &CallContext,
    ) -> HashMap<String, Lookup> {
        let lookups = self
            .vehicles
            .look_up(&numbers(texts), strategy, context)
            .await;
        assert_eq!(lookups.len(), texts.len(), "one lookup for each number");
        let named = |(number, lookup): (RegistrationNumber, _)| (number.to_string(), lookup);
        lookups.into_iter().map(named).collect()
    }

    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> i64 {
        metric(&self.metrics.render().unwrap(), name, labels)
    }

    /// Waits until this many numbers were asked for.
    pub(crate) async fn asked(&self, numbers: i64) {
        while self.metric("vehicle_client_lookups_asked_total", &[]) < numbers {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until this many calls are in the queue.
    pub(crate) async fn queued(&self, calls: i64) {
        while self.metric("vehicle_client_queue_length", &[]) < calls {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until no call is in the queue.
    pub(crate) async fn unqueued(&self) {
        while self.metric("vehicle_client_queue_length", &[]) > 0 {
            tokio::task::yield_now().await;
        }
    }

    /// How many attempts there were, those in flight included.
    pub(crate) fn attempts(&self) -> i64 {
        let ended = self.metric("vehicle_client_attempts_total", &[]);
        ended + self.metric("vehicle_client_in_flight", &[])
    }

    /// Waits until there were this many attempts, those in flight included.
    pub(crate) async fn begun(&self, attempts: i64) {
        while self.attempts() < attempts {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until this many calls have ended, all told.
    pub(crate) async fn ended(&self, calls: i64) {
        while self.metric("vehicle_client_attempts_total", &[]) < calls {
            tokio::task::yield_now().await;
        }
    }
}

/// The source of a vehicle that was found; panics on anything else.
pub(crate) fn found(lookup: &Lookup) -> Source {
    match lookup {
        Lookup::Found { source, .. } => *source,
        other => panic!("{other:?}"),
    }
}

/// The cause for which there is no answer; panics on anything else.
pub(crate) fn kind(lookup: &Lookup) -> FailureKind {
    match lookup {
        Lookup::Unavailable(failure) => failure.kind,
        other => panic!("{other:?}"),
    }
}

/// The whole seconds after which Vehicle wants to be asked again.
pub(crate) fn retry_after(lookup: &Lookup) -> Option<u64> {
    match lookup {
        Lookup::Unavailable(failure) => failure.retry_after.map(|after| after.as_secs()),
        other => panic!("{other:?}"),
    }
}
