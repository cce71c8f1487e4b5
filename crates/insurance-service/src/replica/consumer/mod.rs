//! Fills a copy from Vehicle's register and follows the feed, one page at a time.

mod fill;
mod follow;
mod pace;
mod upkeep;

use std::time::Duration;

use contracts::RegistrationNumber;
use service_database::{Database, Error};
use service_defaults::chain;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use vehicle_client::FeedError;

use self::pace::{BETWEEN_PAGES, Pace, Rest};
use super::{
    LEASE, apply, observe::Instruments, page_size::PageSize, source::Source, store::State,
};

/// How long a transaction may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What a turn has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Another process consumes.
    Leased,
    /// An operator, or too many dead letters, have stopped it.
    Paused,
    /// A page of the register is in the copy that is being filled.
    Copied,
    /// Vehicle has another log, and a copy of its own is begun for it.
    Lost,
    /// What has failed has to rest before it is tried, at least as long as Vehicle says.
    Resting,
    /// These events were applied or put aside, or all is otherwise than it was.
    Followed {
        /// How many of them.
        events: usize,
        /// Whether neither the log nor the register had more.
        at_the_end: bool,
    },
    /// The process stops.
    Told,
}

/// Why a turn had no effect.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// The database was busy, away or refused a statement.
    #[error("the copy cannot be written")]
    Database(#[from] Error),
    /// Vehicle gave no page.
    #[error("Vehicle's feed cannot be read")]
    Feed(#[from] FeedError),
}

impl TurnError {
    /// How long Vehicle wants to be left alone.
    fn retry_after(&self) -> Duration {
        match self {
            Self::Feed(FeedError::Busy { retry_after }) => retry_after.unwrap_or_default(),
            Self::Feed(_) | Self::Database(_) => Duration::ZERO,
        }
    }

    /// Its kind, for operators.
    fn label(&self) -> &'static str {
        match self {
            Self::Feed(error) => error.label(),
            Self::Database(Error::Busy | Error::Locked(_)) => "database_busy",
            Self::Database(Error::TimedOut) => "database_timeout",
            Self::Database(Error::Unavailable(_)) => "database_unavailable",
            Self::Database(Error::Failed(_)) => "database_failed",
        }
    }
}

/// Which vehicle an event is about, as far as that can be read.
struct About(Option<RegistrationNumber>);

/// The consumer of one process.
pub struct Consumer {
    database: Database,
    pub(super) source: Source,
    keep_tombstones: Duration,
    instruments: Instruments,
    /// Of the lease that this process has or had.
    fence: Option<i64>,
    /// What the last transaction left a moment ago: only an operator can have changed it since.
    known: Option<State>,
    /// Of the feed.
    size: PageSize,
    /// Of the register.
    register_size: PageSize,
    /// So many events are begun one by one: one of them fails, or the process died of one.
    alone: i64,
    /// The position after which the page or the event begins that this process has begun.
    begun: Option<i64>,
    /// How often what was begun after a position took too long or lost the connection.
    strikes: (i64, u8),
    /// The next event is asked for alone, because only the last one of a page has its id for sure.
    is_nameless: bool,
    /// The event before, where it could not be read.
    unreadable: Option<About>,
    register_is_next: bool,
    /// Of the register and of the feed: neither holds up the other.
    register_rest: Rest,
    feed_rest: Rest,
    asked: Instant,
    tries: Instant,
    sweeps: Instant,
}

impl Consumer {
    /// It takes one connection at a time, and none while it waits for Vehicle.
    pub(super) fn new(
        database: Database,
        source: Source,
        keep_tombstones: Duration,
        instruments: Instruments,
    ) -> Self {
        let now = Instant::now();
        Self {
            database,
            source,
            keep_tombstones,
            instruments,
            fence: None,
            known: None,
            size: PageSize::of_events(),
            register_size: PageSize::of_register(),
            alone: 0,
            begun: None,
            strikes: (0, 0),
            is_nameless: false,
            unreadable: None,
            register_is_next: true,
            register_rest: Rest::new(),
            feed_rest: Rest::new(),
            asked: now,
            tries: now,
            sweeps: now,
        }
    }

    /// Consumes until it is told to stop, and then lets another process take over at once.
    pub(super) async fn run(&mut self, told: &CancellationToken) {
        let (mut pace, mut pause) = (Pace::new(), Duration::ZERO);
        let mut was_failing = false;
        while told.run_until_cancelled(sleep(pause)).await.is_some() {
            let turn = self.turn(told).await;
            pause = pace.after(&turn);
            let rests = [&self.register_rest, &self.feed_rest];
            let is_failing = pace.is_failing() || rests.into_iter().any(Rest::is_failing);
            if let Err(error) = turn {
                if !was_failing {
                    let error = chain(&error);
                    tracing::warn!(error, "the copy of Vehicle's cars is not kept");
                }
                self.note(&error).await;
            } else if was_failing && !is_failing {
                tracing::info!("the copy of Vehicle's cars is kept again");
            }
            was_failing = is_failing;
        }
        self.known = None;
        LEASE.leave(&self.database, &mut self.fence).await;
    }

    /// Writes down why there was no page, for operators.
    async fn note(&self, error: &TurnError) {
        if let Some(fence) = self.fence {
            let step = (fence, error.label());
            // What cannot be written is no news: the next turn says so.
            let _ = self.database.transaction(LIMIT, &step, apply::failed).await;
        }
    }

    /// Does what is next.
    pub async fn turn(&mut self, told: &CancellationToken) -> Result<Turn, TurnError> {
        let Some((fence, state)) = self.hold().await? else {
            self.register_rest.forget();
            self.feed_rest.forget();
            return Ok(Turn::Leased);
        };
        if state.mode == "paused" {
            return Ok(Turn::Paused);
        }
        let turn = self.page(fence, state, told).await;
        if let Ok(Turn::Lost) = &turn {
            // The rest after it and the next page take longer together than a lease.
            self.known = None;
            (self.alone, self.begun) = (0, None);
            self.register_rest.forget();
        }
        let catches_up = match &turn {
            Ok(Turn::Told | Turn::Leased | Turn::Paused) | Err(TurnError::Database(_)) => {
                return turn;
            }
            Ok(Turn::Followed { at_the_end, .. }) => !at_the_end,
            // Also while Vehicle is away.
            Ok(Turn::Copied | Turn::Lost | Turn::Resting) | Err(TurnError::Feed(_)) => false,
        };
        // What is done beside does not hold up what is followed.
        if let Err(error) = self.look_after(fence, catches_up).await {
            let error = chain(&error);
            tracing::warn!(error, "the copy of Vehicle's cars is not looked after");
        }
        turn
    }

    /// The next page: of the register and of the feed in turns, while a copy is being filled.
    async fn page(
        &mut self,
        fence: i64,
        state: State,
        told: &CancellationToken,
    ) -> Result<Turn, TurnError> {
        if state.filling.is_none() {
            self.register_rest.forget();
        }
        if state.lacks_copy() {
            return self.begin_filling(fence, false).await;
        }
        let is_being_copied = state.snapshot_at.is_some() && state.filling.is_some();
        let copies = is_being_copied && self.register_rest.is_over();
        let follows = state.log_id.is_some() && self.feed_rest.is_over();
        let feed_is_due = follows && self.asked.elapsed() >= BETWEEN_PAGES;
        if copies && (self.register_is_next || !feed_is_due) {
            self.register_is_next = false;
            let turn = self.copy(fence, state, told).await;
            self.register_rest.after(&turn);
            return turn;
        }
        if !follows {
            return Ok(Turn::Resting);
        }
        self.register_is_next = true;
        let turn = self.follow(fence, state, told).await;
        self.feed_rest.after(&turn);
        Ok(match turn? {
            // More is to be had at once: the next page of the register.
            Turn::Followed { events, .. } if copies => Turn::Followed {
                events,
                at_the_end: false,
            },
            turn => turn,
        })
    }

    /// The lease, and the state that is known or is read now.
    async fn hold(&mut self) -> Result<Option<(i64, State)>, Error> {
        if let (Some(fence), Some(state)) = (self.fence, self.known.take()) {
            return Ok(Some((fence, state)));
        }
        let held = (self.fence,);
        let found = self.database.transaction(LIMIT, &held, apply::hold).await?;
        self.fence = found.as_ref().map(|(fence, _)| *fence);
        if let Some((fence, state)) = &found
            && held.0 != Some(*fence)
        {
            // Whoever had it before may have died of what it had begun.
            let left = state.page_until.map_or(0, |until| until - state.position);
            self.alone = left.clamp(i64::from(state.attempts > 0), PageSize::MOST_EVENTS.into());
            self.begun = None;
            self.unreadable = None;
        }
        Ok(found)
    }
}
