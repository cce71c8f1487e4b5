//! What everybody may know of the consumer: metrics and the readiness, in every process.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
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
    dead_letters::{self, Lacking, Reason},
    store::{self, Seen},
};

/// Between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);
/// Between two counts of a copy.
const BETWEEN_COUNTS: Duration = Duration::from_mins(5);
const LONGEST_COUNT: Duration = Duration::from_secs(10);
/// What was seen so long ago is told no more: others may see something else by now. Longer than
/// between two looks and a count.
const LONGEST_SIGHT: Duration = Duration::from_secs(15);
/// A copy that is so old is worth telling.
const OLD: f64 = 60.0;

/// What a look has shown.
#[derive(Clone)]
struct Sight {
    at: Instant,
    seen: Seen,
    /// Open dead letters, by reason.
    open: Vec<(String, i64)>,
    lacking: Lacking,
}

/// Clones share what was seen last.
#[derive(Clone)]
pub(super) struct Instruments {
    sight: Arc<Mutex<Option<Sight>>>,
    last_look: Gauge<u64>,
    rows: Gauge<i64>,
    tombstones: Gauge<i64>,
    events: Counter<u64>,
    fallbacks: Counter<u64>,
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
            sight: Arc::default(),
            last_look: meter
                .u64_gauge("replica.last_look")
                .with_unit("s")
                .with_description(
                    "When this process last saw how far the copy is, or its own start (Unix time)",
                )
                .build(),
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
            events: meter
                .u64_counter("feed.events")
                .with_unit("{event}")
                .with_description("Events that this process has read, by what became of them")
                .build(),
            fallbacks: meter
                .u64_counter("replica.stream.fallbacks")
                .with_unit("{fallback}")
                .with_description(
                    "Times that the broker's stream was of no use and the feed was read for a minute",
                )
                .build(),
            restarts: meter
                .u64_counter("consumer.restarts")
                .with_unit("{restart}")
                .with_description("Consumers of this process that panicked and were started again")
                .build(),
        };
        instruments.observe(meter);
        // Else nobody would be told of one that never can.
        instruments.looked();
        instruments.fallbacks.add(0, &[]);
        instruments.restarts.add(0, &consumer());
        for outcome in ["applied", "duplicate", "skipped", "dead_letter"] {
            instruments
                .events
                .add(0, &[KeyValue::new("outcome", outcome)]);
        }
        instruments
    }

    /// Tells what this process has seen lately.
    fn observe(&self, meter: &Meter) {
        let instruments = self.clone();
        meter
            .f64_observable_gauge("replica.lag")
            .with_unit("s")
            .with_description(
                "Since when the copy of Vehicle's cars may lack something, or was begun",
            )
            .with_callback(move |gauge| {
                if let Some(Sight { seen, .. }) = instruments.lately() {
                    gauge.observe(seen.lag, &[]);
                }
            })
            .build();
        let instruments = self.clone();
        meter
            .i64_observable_gauge("replica.lag_events")
            .with_unit("{event}")
            .with_description(
                "Events of Vehicle's log, as it was last seen, that are not in the copy",
            )
            .with_callback(move |gauge| {
                if let Some(Sight { seen, .. }) = instruments.lately() {
                    gauge.observe((seen.source_position - seen.position).max(0), &[]);
                }
            })
            .build();
        let instruments = self.clone();
        meter
            .i64_observable_gauge("dead_letters.open")
            .with_unit("{event}")
            .with_description("Events that were put aside and are not dealt with, or `closed` and still not in the copy")
            .with_callback(move |gauge| {
                let Some(Sight { open, lacking, .. }) = instruments.lately() else {
                    return;
                };
                let open = Reason::ALL.map(Reason::label).map(|reason| {
                    let count = open.iter().find(|(name, _)| name == reason);
                    (reason, count.map_or(0, |(_, count)| *count))
                });
                for (reason, count) in open.into_iter().chain([("closed", lacking.closed)]) {
                    let labels = [
                        KeyValue::new("consumer", CONSUMER),
                        KeyValue::new("reason", reason),
                    ];
                    gauge.observe(count, &labels);
                }
            })
            .build();
    }

    fn lately(&self) -> Option<Sight> {
        let sight = self.sight.lock().unwrap_or_else(PoisonError::into_inner);
        let sight = sight.as_ref()?;
        (sight.at.elapsed() < LONGEST_SIGHT).then(|| sight.clone())
    }

    fn looked(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.last_look
            .record(now.unwrap_or_default().as_secs(), &[]);
    }

    /// The feed is read in the place of the stream.
    pub(super) fn fell_back(&self) {
        self.fallbacks.add(1, &[]);
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
            let looked = looked.await.map(|sight| self.saw(sight));
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

    /// Keeps what was seen: which copy is read.
    fn saw(&self, sight: Sight) -> i64 {
        self.looked();
        let copy = sight.seen.generation;
        *self.sight.lock().unwrap_or_else(PoisonError::into_inner) = Some(sight);
        copy
    }

    /// Information only: answers say themselves how old the copy is.
    pub(super) fn check(&self) -> Check {
        let Some(Sight { seen, lacking, .. }) = self.lately() else {
            return Check::warn(NAME, "the copy was not looked at lately");
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
        if lacking.nameless > 0 {
            return Check::warn(NAME, "a dead letter names no car: none is told as fresh");
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

async fn see(connection: &mut PgConnection) -> sqlx::Result<Sight> {
    Ok(Sight {
        at: Instant::now(),
        seen: store::see(connection).await?,
        open: dead_letters::open(connection).await?,
        lacking: dead_letters::lacking(connection).await?,
    })
}

fn count<'a>(
    connection: &'a mut PgConnection,
    (): &'a (),
) -> BoxFuture<'a, Result<(i64, i64), Error>> {
    Box::pin(async { Ok(store::count(connection).await?) })
}
