//! What everybody may know of the consumer: metrics and the readiness, in every process.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Meter},
};
use service_database::{Database, Error};
use service_defaults::{chain, health::Check};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use super::{
    CONSUMER, NAME,
    dead_letters::{self, Reason},
    store::{self, Seen},
};

/// Between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);
/// Between two counts of a copy.
const BETWEEN_COUNTS: Duration = Duration::from_mins(5);
const LONGEST_COUNT: Duration = Duration::from_secs(10);
/// A copy that is so old is worth telling.
const OLD: f64 = 60.0;

/// Clones share what was seen last.
#[derive(Clone)]
pub(super) struct Instruments {
    seen: Arc<Mutex<Option<Seen>>>,
    lag: Gauge<f64>,
    lag_events: Gauge<i64>,
    rows: Gauge<i64>,
    tombstones: Gauge<i64>,
    open: Gauge<i64>,
    events: Counter<u64>,
    restarts: Counter<u64>,
}

impl Instruments {
    pub(super) fn new(meter: &Meter) -> Self {
        let gauge = |name: &'static str, unit: &'static str, text: &'static str| {
            meter
                .i64_gauge(name)
                .with_unit(unit)
                .with_description(text)
                .build()
        };
        let instruments = Self {
            seen: Arc::default(),
            lag: meter
                .f64_gauge("replica.lag")
                .with_unit("s")
                .with_description(
                    "Since when the copy of Vehicle's cars may lack something, or was begun",
                )
                .build(),
            lag_events: gauge(
                "replica.lag_events",
                "{event}",
                "Events of Vehicle's log, as it was last seen, that are not in the copy",
            ),
            rows: gauge(
                "replica.rows",
                "{vehicle}",
                "Vehicles and tombstones of the copy that is read, counted each 5 minutes",
            ),
            tombstones: gauge(
                "replica.tombstones",
                "{vehicle}",
                "Tombstones of vehicles, counted each 5 minutes",
            ),
            open: gauge(
                "dead_letters.open",
                "{event}",
                "Events that were put aside and are not dealt with",
            ),
            events: meter
                .u64_counter("feed.events")
                .with_unit("{event}")
                .with_description("Events that this process has read, by what became of them")
                .build(),
            restarts: meter
                .u64_counter("consumer.restarts")
                .with_unit("{restart}")
                .with_description("Consumers of this process that panicked and were started again")
                .build(),
        };
        instruments.restarts.add(0, &consumer());
        for outcome in ["applied", "duplicate", "skipped", "dead_letter"] {
            instruments
                .events
                .add(0, &[KeyValue::new("outcome", outcome)]);
        }
        instruments
    }

    pub(super) fn restarted(&self) {
        self.restarts.add(1, &consumer());
    }

    /// Events of a page that had its effect before.
    pub(super) fn duplicate(&self, events: usize) {
        self.became("duplicate", events);
    }

    /// Events of later versions of what is known.
    pub(super) fn skipped(&self, events: usize) {
        self.became("skipped", events);
    }

    pub(super) fn applied(&self, events: usize, put_aside: usize) {
        self.became("applied", events);
        self.became("dead_letter", put_aside);
    }

    fn became(&self, outcome: &'static str, events: usize) {
        let outcome = [KeyValue::new("outcome", outcome)];
        self.events.add(events as u64, &outcome);
    }

    /// Looks for as long as it is polled. Every process does, so that a copy that nobody keeps is
    /// seen, too, and no process tells of a time when it was the one that consumed.
    pub(super) async fn look(self, database: Database) -> Infallible {
        let (mut counted, mut counts) = (0, Instant::now());
        loop {
            let looked = database.read((), |connection, ()| Box::pin(see(connection)));
            let looked = looked.await.map(|(seen, open)| self.saw(seen, &open));
            let looked = match looked {
                Ok(copy) if copy != counted || counts.elapsed() >= BETWEEN_COUNTS => {
                    (counted, counts) = (copy, Instant::now());
                    let counts = database.transaction(LONGEST_COUNT, &(), count).await;
                    counts.map(|counts| self.counted(counts))
                }
                looked => looked.map(drop),
            };
            if let Err(error) = looked {
                tracing::debug!(error = chain(&error), "the copy was not looked at");
            }
            sleep(BETWEEN_LOOKS).await;
        }
    }

    fn counted(&self, (rows, tombstones): (i64, i64)) {
        self.rows.record(rows, &[]);
        self.tombstones.record(tombstones, &[]);
    }

    /// Tells of what was seen: which copy is read.
    fn saw(&self, seen: Seen, open: &[(String, i64)]) -> i64 {
        let copy = seen.generation;
        self.lag.record(seen.lag, &[]);
        let behind = (seen.source_position - seen.position).max(0);
        self.lag_events.record(behind, &[]);
        for reason in Reason::ALL {
            let count = open.iter().find(|(name, _)| name == reason.label());
            let labels = [
                KeyValue::new("consumer", CONSUMER),
                KeyValue::new("reason", reason.label()),
            ];
            self.open
                .record(count.map_or(0, |(_, count)| *count), &labels);
        }
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        copy
    }

    /// Information only: answers say themselves how old the copy is.
    pub(super) fn check(&self) -> Check {
        let seen = self
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(seen) = seen else {
            return Check::warn(NAME, "the copy was not looked at yet");
        };
        if let Some(kind) = seen.last_error {
            return Check::warn(NAME, format!("{}: {kind}", seen.mode));
        }
        if seen.mode == "paused" {
            return Check::warn(NAME, "an operator has paused it");
        }
        if seen.generation == 0 {
            return Check::warn(NAME, "the first copy is being made");
        }
        if seen.lag > OLD {
            return Check::warn(NAME, "the copy is not caught up");
        }
        Check::pass(NAME)
    }
}

fn consumer() -> [KeyValue; 1] {
    [KeyValue::new("consumer", CONSUMER)]
}

async fn see(connection: &mut PgConnection) -> sqlx::Result<(Seen, Vec<(String, i64)>)> {
    let seen = store::see(connection).await?;
    Ok((seen, dead_letters::open(connection).await?))
}

fn count<'a>(
    connection: &'a mut PgConnection,
    (): &'a (),
) -> BoxFuture<'a, Result<(i64, i64), Error>> {
    Box::pin(async { Ok(store::count(connection).await?) })
}
