use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Meter},
};

/// The relay's row in the table of relays, and its label.
pub(crate) const NAME: &str = "nats";

/// What the relay of this process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Another process publishes.
    Standby,
    /// It publishes what comes.
    Publishing,
    /// The broker or the database is away, slow or full: it tries again.
    Waiting,
    /// Only people can help.
    Refused,
}

const STATES: [(State, &str); 4] = [
    (State::Standby, "standby"),
    (State::Publishing, "publishing"),
    (State::Waiting, "waiting"),
    (State::Refused, "refused"),
];

pub(crate) struct Instruments {
    lag: Gauge<i64>,
    state: Gauge<u64>,
    published: Counter<u64>,
    failures: Counter<u64>,
}

impl Instruments {
    pub(crate) fn new(meter: &Meter) -> Self {
        let instruments = Self {
            lag: meter
                .i64_gauge("relay.lag_events")
                .with_unit("{event}")
                .with_description("Events of the log that the broker does not have yet")
                .build(),
            state: meter
                .u64_gauge("relay.state")
                .with_description("1 for the state that the relay is in, 0 for the others")
                .build(),
            published: meter
                .u64_counter("relay.published")
                .with_unit("{event}")
                .with_description("Events that this process has published")
                .build(),
            failures: meter
                .u64_counter("relay.failures")
                .with_description("Attempts of this process that ended without an acknowledgement")
                .build(),
        };
        instruments.published(0);
        instruments.failures.add(0, &Self::relay());
        instruments
    }

    fn relay() -> [KeyValue; 1] {
        [KeyValue::new("relay", NAME)]
    }

    pub(crate) fn lags(&self, events: i64) {
        self.lag.record(events, &Self::relay());
    }

    pub(crate) fn published(&self, events: u64) {
        self.published.add(events, &Self::relay());
    }

    pub(crate) fn failed(&self) {
        self.failures.add(1, &Self::relay());
    }

    pub(crate) fn is(&self, state: State) {
        for (other, name) in STATES {
            let labels = [KeyValue::new("relay", NAME), KeyValue::new("state", name)];
            self.state.record(u64::from(other == state), &labels);
        }
    }
}
