//! Gives committed events their positions: dense, in an order that each thing's versions keep.
//!
//! Every process runs one. Each batch is one transaction that holds the lock on `head`, so any
//! number may run and one works at a time; a lost process loses the lock with its connection.

use std::{
    convert::Infallible,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry::metrics::{Counter, Gauge, Meter};
use service_database::Database;
use service_defaults::{
    chain,
    tasks::{OnEnd, Tasks},
};
use sqlx::{FromRow, PgConnection};
use tokio::time::{Instant, sleep};

use crate::{
    EventLog,
    floor::Floor,
    place::{Placed, place},
};

/// How long a batch may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Between a look and the next. Events of the meantime share a batch.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
/// The pause grows up to this while nothing comes, each time by an eighth: a writer who was held up
/// waits for an eighth of that time at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// After a failure.
const FAILURE_PAUSE: Duration = Duration::from_millis(250);
/// How often it looks below the floor, where nothing should ever be.
const BELOW_FLOOR: Duration = Duration::from_secs(10);

/// How many waiting events are counted, so that a look takes no longer for more of them.
const COUNTED: i64 = 10_000;

/// Why there was no look or no batch.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database was busy, away or refused a statement.
    #[error(transparent)]
    Database(#[from] service_database::Error),
    /// Somebody has changed `head`. Nothing more is placed, lest the tree be wrong.
    #[error("the edge of the tree does not fit the position {0}")]
    Edge(i64),
    /// Somebody has deleted an event that waited for its place.
    #[error("the event of the sequence {0} is missing")]
    Missing(i64),
}

impl Error {
    /// Whether there was no connection free in time.
    fn is_busy(&self) -> bool {
        matches!(self, Self::Database(service_database::Error::Busy))
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// What one step of the sequencer found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// No event waited.
    Idle,
    /// Another process is placing, or no connection was free.
    Busy,
    /// So many events got their places.
    Placed {
        /// All of them.
        events: u64,
        /// Those below the floor. Not 0 is a fault: they may come after their successors.
        below_floor: u64,
        /// Whether more may be waiting.
        full: bool,
    },
}

impl EventLog {
    /// Runs a sequencer in this process until it stops.
    pub fn spawn_sequencer(&self, database: &Database, tasks: &Tasks, meter: &Meter) {
        let (log, database, meter) = (self.clone(), database.clone(), meter.clone());
        tasks.spawn("sequencer", OnEnd::Restart, move |told| {
            let sequencer = Sequencer::new(log.clone(), database.clone(), &meter);
            async move {
                told.run_until_cancelled(sequencer.run()).await;
            }
        });
    }
}

/// The sequencer of one process.
pub struct Sequencer {
    log: EventLog,
    database: Database,
    floor: Floor,
    looks_below: Instant,
    instruments: Instruments,
}

impl Sequencer {
    /// It takes one connection at a time.
    pub fn new(log: EventLog, database: Database, meter: &Meter) -> Self {
        Self {
            log,
            database,
            floor: Floor::default(),
            looks_below: Instant::now(),
            instruments: Instruments::new(meter),
        }
    }

    /// Places events for as long as it is polled. Dropped, it leaves nothing half done.
    pub async fn run(mut self) -> Infallible {
        let (mut pause, mut failing) = (SHORTEST_PAUSE, false);
        loop {
            let step = self.step().await;
            if failing && step.is_ok() {
                tracing::info!("events get their places again");
            }
            pause = match step {
                Ok(Step::Placed { full: true, .. }) => continue,
                Ok(Step::Placed { .. }) => SHORTEST_PAUSE,
                Ok(Step::Idle | Step::Busy) => LONGEST_PAUSE.min(pause + pause / 8),
                Err(ref error) => {
                    if !failing {
                        tracing::error!(error = chain(error), "events get no places");
                    }
                    FAILURE_PAUSE
                }
            };
            failing = step.is_err();
            tokio::select! {
                () = sleep(pause) => {}
                () = self.log.0.appended.notified(), if !failing => {
                    pause = SHORTEST_PAUSE;
                    sleep(pause).await;
                }
            }
        }
    }

    /// The first sequence that the next look begins with. Nothing below it waits or is being
    /// written.
    pub fn floor(&self) -> i64 {
        self.floor.at()
    }

    /// Looks for events that wait for a place, and gives a batch of them their places.
    pub async fn step(&mut self) -> Result<Step, Error> {
        let done = self.look_and_place().await;
        if matches!(&done, Err(error) if !error.is_busy()) {
            self.instruments.failures.add(1, &[]);
        }
        match done {
            // Its turn comes when the lookups have had theirs.
            Err(error) if error.is_busy() => Ok(Step::Busy),
            // The next look begins with the floor, which is quicker.
            Err(error @ Error::Database(service_database::Error::TimedOut)) => Err(error),
            Err(error) => {
                // The server may be another one, with a lower sequence.
                self.floor = Floor::default();
                Err(error)
            }
            done => done,
        }
    }

    async fn look_and_place(&mut self) -> Result<Step, Error> {
        let floor = self.floor.at();
        let looks_below = self.looks_below <= Instant::now();
        let from = if looks_below { 0 } else { floor };
        if looks_below {
            self.looks_below = Instant::now() + BELOW_FLOOR;
        }
        let seen = self.look(from).await?;
        if seen.last_drawn < floor {
            // Restored from a backup.
            self.floor = Floor::default();
            return Ok(Step::Idle);
        }
        if seen.waits_for.is_none() {
            self.floor.settle(seen.oldest_running, i64::MAX);
            if !self.floor.lags_behind(seen.last_drawn) {
                return Ok(Step::Idle);
            }
            // A batch of nothing, for a candidate.
        }
        let batch = (self.log.clone(), from, floor);
        let placed = self
            .database
            .transaction(LIMIT, &batch, |connection, (log, from, floor)| {
                Box::pin(place(log, connection, *from, *floor))
            });
        match placed.await? {
            None => Ok(Step::Busy),
            Some(placed) => Ok(self.placed(&placed)),
        }
    }

    async fn look(&self, from: i64) -> Result<Seen, Error> {
        let began = Instant::now();
        let look = self
            .database
            .read((self.log.clone(), from), |connection, (log, from)| {
                Box::pin(look(log, connection, *from))
            });
        let seen = look.await?;
        self.log.set_position(seen.position);
        let waits_for = Duration::try_from_secs_f64(seen.waits_for.unwrap_or(0.0));
        let complete = began.checked_sub(waits_for.unwrap_or_default());
        self.log.0.complete.send_replace(complete);
        self.instruments.seen(&seen);
        Ok(seen)
    }

    /// Only after the commit: what a lost batch knew is worth nothing.
    fn placed(&mut self, placed: &Placed) -> Step {
        self.floor.settle(placed.oldest_running, placed.waits_from);
        self.floor.propose(placed.candidate);
        self.log.set_position(placed.position);
        self.instruments.placed(placed);
        if placed.below_floor > 0 {
            tracing::error!(
                events = placed.below_floor,
                "events were found below the floor: they may be out of order"
            );
        }
        if placed.events == 0 {
            return Step::Idle;
        }
        Step::Placed {
            events: placed.events,
            below_floor: placed.below_floor,
            full: placed.is_full(),
        }
    }
}

#[derive(FromRow)]
struct Seen {
    position: i64,
    last_drawn: i64,
    oldest_running: i64,
    /// For how many seconds the oldest event has waited, if one does. Where it is missing: since
    /// when none was placed, which is longer.
    waits_for: Option<f64>,
    /// How many events wait, up to [`COUNTED`].
    waiting: i64,
}

/// All of one snapshot.
async fn look(log: &EventLog, connection: &mut PgConnection, from: i64) -> sqlx::Result<Seen> {
    let look = log.sql(
        "select position, last_value as last_drawn,
             pg_snapshot_xmin(pg_current_snapshot())::text::bigint as oldest_running,
             (select extract(epoch from
                  clock_timestamp() - coalesce(occurred_at, head.placed_at))::float8
              from (select event_id from event_log.unplaced
                    where sequence >= $1 order by sequence limit 1) waiting
              left join event_log.events events using (event_id)) as waits_for,
             (select count(*) from (select from event_log.unplaced
                                    where sequence >= $1 limit $2) counted) as waiting
         from event_log.head, event_log.sequences",
    );
    let look = sqlx::query_as(look).bind(from).bind(COUNTED);
    look.fetch_one(connection).await
}

struct Instruments {
    placed: Counter<u64>,
    below_floor: Counter<u64>,
    failures: Counter<u64>,
    oldest_unplaced: Gauge<f64>,
    last_look: Gauge<u64>,
    unplaced: Gauge<i64>,
    position: Gauge<i64>,
}

impl Instruments {
    fn new(meter: &Meter) -> Self {
        let instruments = Self {
            placed: meter
                .u64_counter("event_log.sequencer.placed")
                .with_unit("{event}")
                .with_description("Events that this process has given a place in the log")
                .build(),
            below_floor: meter
                .u64_counter("event_log.sequencer.below_floor")
                .with_unit("{event}")
                .with_description("Events found where none should wait any more; a fault")
                .build(),
            failures: meter
                .u64_counter("event_log.sequencer.failures")
                .with_unit("{batch}")
                .with_description("Looks and batches of this process that failed")
                .build(),
            oldest_unplaced: meter
                .f64_gauge("event_log.sequencer.oldest_unplaced")
                .with_unit("s")
                .with_description("Age of the oldest event that waits for its place, or of the last place; 0 without one")
                .build(),
            last_look: meter
                .u64_gauge("event_log.sequencer.last_look")
                .with_unit("s")
                .with_description(
                    "When this process last looked for events that wait, or its own start (Unix time)",
                )
                .build(),
            unplaced: meter
                .i64_gauge("event_log.sequencer.unplaced")
                .with_unit("{event}")
                .with_description("Events that wait for their place; 10,000 stands for more")
                .build(),
            position: meter
                .i64_gauge("event_log.position")
                .with_unit("{event}")
                .with_description("Last position of the log")
                .build(),
        };
        for from_the_start in [
            &instruments.placed,
            &instruments.below_floor,
            &instruments.failures,
        ] {
            from_the_start.add(0, &[]);
        }
        // Else nobody would be told of one that never can.
        instruments.looked();
        instruments
    }

    fn looked(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.last_look
            .record(now.unwrap_or_default().as_secs(), &[]);
    }

    fn seen(&self, seen: &Seen) {
        self.looked();
        self.oldest_unplaced
            .record(seen.waits_for.unwrap_or(0.0), &[]);
        self.unplaced.record(seen.waiting, &[]);
        self.position.record(seen.position, &[]);
    }

    fn placed(&self, placed: &Placed) {
        self.placed.add(placed.events, &[]);
        self.below_floor.add(placed.below_floor, &[]);
        self.position.record(placed.position, &[]);
    }
}
