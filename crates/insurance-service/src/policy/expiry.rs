//! Writes down what dates have made of policies, and deletes answers that are too old to be given
//! again.
//!
//! Every read judges a policy by its dates, so this changes no answer: the row's status and the
//! event come afterwards. One process does it at a time, by its [`Lease`].

use std::{
    convert::Infallible,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use contracts::Day;
use event_log::{EventLog, Origin, new_event_id};
use futures_util::future::BoxFuture;
use opentelemetry::metrics::{Counter, Gauge, Meter};
use service_database::{Database, Error};
use service_defaults::{
    chain,
    tasks::{OnEnd, Tasks},
};
use sqlx::PgConnection;
use tokio::time::sleep;

use super::{
    Clock,
    decide::{Command, Facts, decide},
    idempotency,
    state::State,
    store::{self, Due},
};
use crate::lease::Lease;

const NAME: &str = "expiry";
const LEASE: Lease = Lease {
    worker: NAME,
    lasts: Duration::from_mins(2),
};
/// Between a look and the next. A lease outlasts several.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a transaction may take.
const LIMIT: Duration = Duration::from_secs(5);

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Another process holds the lease.
    Leased,
    /// All that is due had its turn.
    Done {
        /// Policies whose end was written.
        ended: u64,
        /// Policies that somebody else is changing: they are due again.
        left: u64,
        /// Answers that were deleted.
        deleted: u64,
    },
}

/// The worker of one process.
pub struct Worker {
    database: Database,
    log: EventLog,
    /// Of the lease that this process has or had.
    fence: Option<i64>,
    ended: Counter<u64>,
    last_success: Gauge<u64>,
}

impl Worker {
    /// It takes one connection at a time, and none between two looks.
    pub fn new(database: Database, log: EventLog, meter: &Meter) -> Self {
        Self {
            database,
            log,
            fence: None,
            ended: meter
                .u64_counter("insurance.worker.ended")
                .with_unit("{policy}")
                .with_description("Policies whose end by date this process has written")
                .build(),
            last_success: meter
                .u64_gauge("insurance.worker.last_success")
                .with_unit("s")
                .with_description(
                    "When this process last wrote and deleted all that was due, or its own start \
                     (Unix time)",
                )
                .build(),
        }
    }

    /// Runs a worker in this process until it stops.
    pub(crate) fn spawn(
        (database, log, clock): (&Database, &EventLog, &Clock),
        tasks: &Tasks,
        meter: &Meter,
    ) {
        let (database, log, meter) = (database.clone(), log.clone(), meter.clone());
        let clock = clock.clone();
        let first = Self::new(database.clone(), log.clone(), &meter);
        first.ended.add(0, &[]);
        // Else nobody would be told of one that never succeeds.
        first.succeeded();
        tasks.spawn(NAME, OnEnd::Restart, move |told| {
            let mut worker = Self::new(database.clone(), log.clone(), &meter);
            let clock = clock.clone();
            async move {
                told.run_until_cancelled(worker.run(&clock)).await;
                LEASE.leave(&worker.database, &mut worker.fence).await;
            }
        });
    }

    async fn run(&mut self, clock: &Clock) -> Infallible {
        let mut failing = false;
        loop {
            sleep(PAUSE).await;
            let look = self.look(clock.today()).await;
            match &look {
                Ok(_) if failing => tracing::info!("the ends of policies are written again"),
                Err(error) if !failing => {
                    tracing::warn!(error = chain(error), "the ends of policies are not written");
                }
                _ => {}
            }
            failing = look.is_err();
        }
    }

    /// Writes the end of each policy whose day has come, and deletes what is too old, in small
    /// transactions and only while this process holds the lease.
    ///
    /// # Errors
    ///
    /// A policy that fails by itself is left for the next look, and its error is returned when the
    /// others have had their turn.
    pub async fn look(&mut self, today: Day) -> Result<Look, Error> {
        self.fence = LEASE.keep(&self.database, self.fence).await?;
        let Some(fence) = self.fence else {
            return Ok(Look::Leased);
        };
        let written = self.end_all(fence, today).await;
        let deleted = self.delete_all(fence).await?;
        let (Some((ended, left)), Some(deleted)) = (written?, deleted) else {
            return Ok(Look::Leased);
        };
        if left == 0 {
            self.succeeded();
        }
        Ok(Look::Done {
            ended,
            left,
            deleted,
        })
    }

    fn succeeded(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.last_success
            .record(now.unwrap_or_default().as_secs(), &[]);
    }

    /// How many were ended, and how many were left to somebody else; `None` where another process
    /// has taken the lease.
    async fn end_all(&self, fence: i64, today: Day) -> Result<Option<(u64, u64)>, Error> {
        let (mut ended, mut left) = (0, 0);
        let (mut failure, mut after) = (None, Due::before_all());
        loop {
            let asked = (today, after.clone());
            let due = self.database.read(asked, |connection, (today, after)| {
                Box::pin(store::due(connection, *today, after))
            });
            let due = due.await?;
            for Due { insurance_id, .. } in &due {
                match self.end(fence, *insurance_id, today).await {
                    Ok(None) => return Ok(None),
                    Ok(Some(End::Written)) => ended += 1,
                    Ok(Some(End::InOtherHands)) => left += 1,
                    Ok(Some(End::NotDue)) => {}
                    Err(error @ (Error::Failed(_) | Error::Locked(_))) => {
                        let cause = chain(&error);
                        tracing::error!(insurance_id, cause, "a policy cannot be ended");
                        failure = Some(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            match due.into_iter().last() {
                Some(last) => after = last,
                None => return failure.map_or(Ok(Some((ended, left))), Err),
            }
        }
    }

    async fn end(&self, fence: i64, id: i64, today: Day) -> Result<Option<End>, Error> {
        let step = (fence, id, today);
        let step = self.database.transaction(LIMIT, &step, end_one);
        let written = step.await?;
        if written == Some(End::Written) {
            self.ended.add(1, &[]);
            self.log.appended();
        }
        Ok(written)
    }

    /// How many answers were deleted; `None` where another process has taken the lease.
    async fn delete_all(&self, fence: i64) -> Result<Option<u64>, Error> {
        let mut deleted = 0;
        loop {
            let step = self.database.transaction(LIMIT, &fence, delete_some);
            match step.await? {
                None => return Ok(None),
                Some(0) => return Ok(Some(deleted)),
                Some(some) => deleted += some,
            }
        }
    }
}

/// What became of a policy that was due.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Written,
    /// Somebody is changing it now, and may end it, too.
    InOtherHands,
    /// Somebody has ended or changed it in the meantime.
    NotDue,
}

type Step<'a, T> = BoxFuture<'a, Result<T, Error>>;

fn end_one<'a>(
    connection: &'a mut PgConnection,
    (fence, id, today): &'a (i64, i64, Day),
) -> Step<'a, Option<End>> {
    Box::pin(async {
        if !LEASE.renew(connection, *fence).await? {
            return Ok(None);
        }
        // Whoever has not committed a policy's next event must not hold up the policies after it.
        store::wait_shortly(connection).await?;
        let Some(policy) = store::lock_if_free(connection, *id).await? else {
            return Ok(Some(End::InOtherHands));
        };
        let written = write_end(connection, &policy, *today).await?;
        Ok(Some(if written { End::Written } else { End::NotDue }))
    })
}

fn delete_some<'a>(connection: &'a mut PgConnection, fence: &'a i64) -> Step<'a, Option<u64>> {
    Box::pin(async {
        if !LEASE.renew(connection, *fence).await? {
            return Ok(None);
        }
        Ok(Some(idempotency::delete_old(connection).await?))
    })
}

/// Writes what its dates have made of a policy that is locked. `false`: that is written already.
pub(crate) async fn write_end(
    connection: &mut PgConnection,
    policy: &State,
    today: Day,
) -> sqlx::Result<bool> {
    let facts = Facts {
        today,
        price: None,
        past_allowed: false,
        erased: false,
    };
    let Ok(event) = decide(policy, &Command::End, &facts) else {
        return Ok(false);
    };
    let version = policy.version + 1;
    let after = State::with(Some(policy.clone()), version, &event).map_err(store::unreadable)?;
    let origin = Origin {
        actor: format!("worker/{NAME}"),
        correlation_id: "none".to_owned(),
        causation_id: None,
        traceparent: None,
    };
    let change = store::Change {
        before: policy,
        after: &after,
        erased: false,
        event: &event,
        event_id: new_event_id(),
        origin: &origin,
        entry: None,
    };
    change.write(connection).await
}
