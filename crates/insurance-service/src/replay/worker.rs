//! Does what replays ask for, one after the other, in one process at a time.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use contracts::{RegistrationNumber, ReplayMode, ReplayStatus};
use futures_util::future::BoxFuture;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Meter},
};
use service_database::{Database, Error};
use service_defaults::{
    chain,
    tasks::{OnEnd, Tasks},
};
use sqlx::PgConnection;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;
use vehicle_client::{Feed, FeedError, FeedStart, VehicleEvent};

use super::{
    LIMIT, PAGE,
    compare::{Kept, MOST_DIFFERENCES},
    store::{self, Active, DryRun},
};
use crate::{
    lease::Lease,
    replica::{Page, ReadTo},
};

const LEASE: Lease = Lease {
    worker: "replays",
    lasts: Duration::from_secs(20),
};
/// Between a look and the next, and after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// Failures in a row of Vehicle's feed that end a dry run.
const MOST_FAILURES: u32 = 30;

/// The worker of one process.
pub(crate) struct Worker {
    database: Database,
    feed: Feed,
    /// Of the lease that this process has or had.
    fence: Option<i64>,
    failures: u32,
    /// Vehicle is not asked before.
    ask_at: Instant,
    running: Gauge<u64>,
    ended: Counter<u64>,
}

/// What a look has done.
enum Look {
    /// Nothing is to be done here.
    Idle,
    /// There is more to do, or another replay.
    Again,
    /// There is more to do after a pause.
    Later,
}

impl Worker {
    /// Runs a worker in this process until it stops. A new replay wakes it.
    pub(crate) fn spawn(
        database: &Database,
        feed: &Feed,
        wake: &Arc<Notify>,
        (tasks, meter): (&Tasks, &Meter),
    ) {
        let (database, feed, wake) = (database.clone(), feed.clone(), wake.clone());
        let running = meter
            .u64_gauge("replays.running")
            .with_unit("{replay}")
            .with_description("Replays that this process is at")
            .build();
        let ended = meter
            .u64_counter("replays")
            .with_unit("{replay}")
            .with_description("Replays that this process has seen end")
            .build();
        running.record(0, &[]);
        for status in [ReplayStatus::Completed, ReplayStatus::Failed] {
            ended.add(0, &[KeyValue::new("status", status.name())]);
        }
        tasks.spawn(LEASE.worker, OnEnd::Restart, move |told| {
            let mut worker = Self {
                database: database.clone(),
                feed: feed.clone(),
                fence: None,
                failures: 0,
                ask_at: Instant::now(),
                running: running.clone(),
                ended: ended.clone(),
            };
            let wake = wake.clone();
            async move {
                told.run_until_cancelled(worker.run(&wake)).await;
                LEASE.leave(&worker.database, &mut worker.fence).await;
            }
        });
    }

    async fn run(&mut self, wake: &Notify) -> Infallible {
        loop {
            match self.look().await {
                Ok(Look::Again) => {}
                Ok(Look::Later) => sleep(PAUSE).await,
                Ok(Look::Idle) => {
                    self.running.record(0, &[]);
                    // Whether it was woken or not, it looks.
                    let _ = timeout(PAUSE, wake.notified()).await;
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "a replay does not go on");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn look(&mut self) -> Result<Look, Error> {
        let active = self
            .database
            .read((), |connection, ()| Box::pin(store::active(connection)));
        let Some(Active { id, mode }) = active.await? else {
            return Ok(Look::Idle);
        };
        self.fence = LEASE.keep(&self.database, self.fence).await?;
        let Some(fence) = self.fence else {
            return Ok(Look::Idle);
        };
        self.running.record(1, &[]);
        match mode {
            ReplayMode::Rebuild => self.watch(fence, id).await,
            ReplayMode::DryRun => self.dry_run(fence, id).await,
        }
    }

    async fn watch(&self, fence: i64, id: Uuid) -> Result<Look, Error> {
        let step = (fence, id);
        let seen = self.database.transaction(LIMIT, &step, watch);
        if let Some(status) = seen.await? {
            self.count(status);
        }
        Ok(Look::Later)
    }

    fn count(&self, status: ReplayStatus) {
        self.ended.add(1, &[KeyValue::new("status", status.name())]);
    }

    /// Goes on with a dry run, page by page, until it ends or the feed fails.
    async fn dry_run(&mut self, fence: i64, id: Uuid) -> Result<Look, Error> {
        let step = (fence, id);
        let resumed = self.database.transaction(LIMIT, &step, resume).await?;
        let Some(mut run) = resumed else {
            return Ok(Look::Again);
        };
        if Instant::now() < self.ask_at {
            return Ok(Look::Later);
        }
        loop {
            let failure = match self.page(&mut run).await {
                Ok(told) => {
                    self.failures = 0;
                    let step = (fence, run, told);
                    let Some(next) = self.database.transaction(LIMIT, &step, advance).await? else {
                        return Ok(Look::Again);
                    };
                    run = next;
                    if run.findings.differences.len() > MOST_DIFFERENCES {
                        Some("too_many_differences")
                    } else if run.position < run.until {
                        continue;
                    } else {
                        None
                    }
                }
                Err(error) => {
                    let Some(failure) = self.judge(&error) else {
                        return Ok(Look::Later);
                    };
                    Some(failure)
                }
            };
            let step = (fence, run.id, failure);
            self.database.transaction(LIMIT, &step, finish).await?;
            self.count(match failure {
                None => ReplayStatus::Completed,
                Some(_) => ReplayStatus::Failed,
            });
            return Ok(Look::Again);
        }
    }

    /// Why the feed's failure ends a dry run, if it does.
    fn judge(&mut self, error: &FeedError) -> Option<&'static str> {
        self.failures += 1;
        if let FeedError::Busy { retry_after } = error {
            self.ask_at = Instant::now() + retry_after.unwrap_or_default();
        }
        tracing::debug!(%error, failures = self.failures, "the feed gave no page to a dry run");
        let lasting = matches!(error, FeedError::UnknownEvent);
        if !lasting && self.failures < MOST_FAILURES {
            return None;
        }
        self.failures = 0;
        Some(error.label())
    }

    /// What the next page tells.
    async fn page(&self, run: &mut DryRun) -> Result<Told, FeedError> {
        let start = match run.event_id {
            Some(event) => FeedStart::After(event),
            None => FeedStart::Position(run.from),
        };
        let position = run.position.max(run.from - 1);
        let limit = u16::try_from(run.until - position).map_or(PAGE, |left| left.clamp(1, PAGE));
        let page = self.feed.events(&start, limit, Duration::ZERO).await?;
        let read_to = ReadTo {
            log_id: Some(run.log_id),
            position,
            next: Some(position + 1),
        };
        // Of another log, nothing is what was asked for; and all of the window was there.
        let page = Page::read(page, &read_to)?.filter(|page| !page.entries.is_empty());
        let page = page.ok_or(FeedError::UnknownEvent)?;
        let mut told = Told::default();
        for entry in page.entries {
            run.seen += 1;
            run.position = entry.position;
            let (later, is_bad) = (entry.later(), entry.fault().is_some());
            run.failed += i64::from(is_bad);
            if let Ok(event) = entry.told {
                told.last.insert(event.registration_number.clone(), event);
            } else if let Some(version) = later
                && let Some(number) = VehicleEvent::subject(entry.text.get())
            {
                told.later.push((number, version));
            }
        }
        run.event_id = page.next;
        Ok(told)
    }
}

/// What a page tells.
#[derive(Default)]
struct Told {
    /// The last states, by vehicle.
    last: BTreeMap<RegistrationNumber, VehicleEvent>,
    /// Vehicles and versions of events that are of a later version of what is known.
    later: Vec<(RegistrationNumber, i64)>,
}

impl Told {
    /// Of how many events of a later version neither the page nor the copy has what they tell.
    fn unknown(&self, kept: &BTreeMap<String, Kept>) -> i64 {
        let unknown = self.later.iter().filter(|(number, version)| {
            let told = self.last.get(number).map(|it| it.version);
            let kept = kept.get(number.as_str()).map(|it| it.version);
            told.max(kept).is_none_or(|known| known < *version)
        });
        i64::try_from(unknown.count()).unwrap_or(i64::MAX)
    }
}

type Step<'a, T> = BoxFuture<'a, Result<T, Error>>;

fn watch<'a>(
    connection: &'a mut PgConnection,
    (fence, id): &'a (i64, Uuid),
) -> Step<'a, Option<ReplayStatus>> {
    Box::pin(async {
        if !LEASE.renew(connection, *fence).await? {
            return Ok(None);
        }
        store::watch(connection, *id).await
    })
}

fn resume<'a>(
    connection: &'a mut PgConnection,
    (fence, id): &'a (i64, Uuid),
) -> Step<'a, Option<DryRun>> {
    Box::pin(async {
        if !LEASE.renew(connection, *fence).await? {
            return Ok(None);
        }
        store::resume(connection, *id).await
    })
}

/// Compares a page and writes down how far the dry run is. `None`: it has ended, or another process
/// has the lease.
fn advance<'a>(
    connection: &'a mut PgConnection,
    (fence, run, told): &'a (i64, DryRun, Told),
) -> Step<'a, Option<DryRun>> {
    Box::pin(async {
        if !LEASE.renew(connection, *fence).await? {
            return Ok(None);
        }
        let later = told.later.iter().map(|(number, _)| number);
        let numbers = told.last.keys().chain(later);
        let numbers: Vec<_> = numbers.map(|it| it.as_str().to_owned()).collect();
        let kept = store::kept(connection, &numbers).await?;
        let mut run = run.clone();
        run.failed += told.unknown(&kept);
        run.findings.take(&told.last, &kept);
        let goes_on = store::advance(connection, &run).await?;
        Ok(goes_on.then_some(run))
    })
}

fn finish<'a>(
    connection: &'a mut PgConnection,
    (fence, id, failure): &'a (i64, Uuid, Option<&'static str>),
) -> Step<'a, ()> {
    Box::pin(async {
        if !LEASE.renew(connection, *fence).await? {
            return Ok(());
        }
        store::finish(connection, *id, *failure).await
    })
}
