//! Fills a copy from Vehicle's register and follows the feed, one page at a time.

use std::time::Duration;

use contracts::RegistrationNumber;
use service_database::{Database, Error};
use service_defaults::chain;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vehicle_client::{EventFaultKind, Feed, FeedError, FeedPage, FeedStart, VehicleEvent};

use super::{
    apply::{self, Copied, Done, Page},
    dead_letters::{Letter, Reason},
    observe::Instruments,
    page_size::PageSize,
    store::{Reached, State},
};

/// How long a transaction may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How long Vehicle may wait for an event: a copy at the end of the log is at most so old.
const WAIT: Duration = Duration::from_secs(2);
/// Between two questions at the end of the log. Events of the meantime share a page.
const BETWEEN_PAGES: Duration = Duration::from_millis(100);
/// Between two looks of one that has nothing to do.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// After a failure; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Between two copies that were begun because the log was another one: shorter than a lease. Two
/// Vehicles behind one address, each with a log of its own, are not copied in turns without a rest.
const LONGEST_BETWEEN_LOGS: Duration = Duration::from_secs(10);
/// After this long with one log, the next one is the first again.
const SAME_LOG: Duration = Duration::from_mins(10);
/// Between two looks for dead letters to be tried again.
const BETWEEN_TRIES: Duration = Duration::from_millis(500);
/// Between two sweeps, once one found little.
const BETWEEN_SWEEPS: Duration = Duration::from_mins(1);
/// Between two counts of the copy.
const BETWEEN_COUNTS: Duration = Duration::from_mins(5);
/// After so many deaths by one event it is put aside unread.
const MOST_CRASHES: i16 = 3;

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
    /// These events were applied or put aside, or all is otherwise than it was.
    Followed {
        /// How many of them.
        events: usize,
        /// Whether the log had no more.
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

/// Which vehicle an event is about, as far as that can be read.
struct About(Option<RegistrationNumber>);

/// The consumer of one process.
pub struct Consumer {
    database: Database,
    feed: Feed,
    keep_tombstones: Duration,
    instruments: Instruments,
    /// Of the lease that this process has or had.
    fence: Option<i64>,
    /// What the last transaction left, where nothing can have changed since but the mode.
    known: Option<State>,
    size: PageSize,
    /// So many events are asked for one by one: one of them fails, or the process died of one.
    alone: i64,
    /// The position after which the page begins that this process has begun.
    begun: Option<i64>,
    /// The event before, where it could not be read.
    unreadable: Option<About>,
    register_is_next: bool,
    asked: Instant,
    tries: Instant,
    sweeps: Instant,
    counts: Instant,
}

impl Consumer {
    /// It takes one connection at a time, and none while it waits for Vehicle.
    pub(super) fn new(
        database: Database,
        feed: Feed,
        keep_tombstones: Duration,
        instruments: Instruments,
    ) -> Self {
        let now = Instant::now();
        Self {
            database,
            feed,
            keep_tombstones,
            instruments,
            fence: None,
            known: None,
            size: PageSize::default(),
            alone: 0,
            begun: None,
            unreadable: None,
            register_is_next: true,
            asked: now,
            tries: now,
            sweeps: now,
            counts: now,
        }
    }

    /// Consumes until it is told to stop, and then lets another process take over at once.
    pub(super) async fn run(&mut self, told: &CancellationToken) {
        let (mut pause, mut failures) = (Duration::ZERO, 0);
        let (mut logs, mut lost) = (0, Instant::now());
        while told.run_until_cancelled(sleep(pause)).await.is_some() {
            let turn = self.turn(told).await;
            if failures > 0 && turn.is_ok() {
                tracing::info!("the copy of Vehicle's cars is kept again");
                failures = 0;
            }
            pause = match turn {
                Ok(Turn::Leased | Turn::Paused) => BETWEEN_LOOKS,
                Ok(Turn::Followed { at_the_end, .. }) if at_the_end => BETWEEN_PAGES,
                Ok(Turn::Lost) => {
                    logs = if lost.elapsed() > SAME_LOG {
                        1
                    } else {
                        logs + 1
                    };
                    lost = Instant::now();
                    doubled(logs).min(LONGEST_BETWEEN_LOGS)
                }
                Ok(_) => Duration::ZERO,
                Err(error) => {
                    failures += 1;
                    self.failed(&error, failures).await
                }
            };
        }
        self.give_back().await;
    }

    /// Tells of a failure once: how long to pause.
    async fn failed(&mut self, error: &TurnError, failures: u32) -> Duration {
        if failures == 1 {
            tracing::warn!(
                error = chain(error),
                "the copy of Vehicle's cars is not kept"
            );
        }
        let TurnError::Feed(error) = error else {
            return pause_after(failures);
        };
        if let Some(fence) = self.fence {
            let step = (fence, error.label());
            // What cannot be written is no news: the next turn says so.
            let _ = self.database.transaction(LIMIT, &step, apply::failed).await;
        }
        let asked = match error {
            FeedError::Busy { retry_after } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        pause_after(failures).max(asked)
    }

    /// Does what is next.
    pub async fn turn(&mut self, told: &CancellationToken) -> Result<Turn, TurnError> {
        let Some((fence, state)) = self.hold().await? else {
            return Ok(Turn::Leased);
        };
        if state.mode == "paused" {
            return Ok(Turn::Paused);
        }
        let begins = state.filling.is_none() && (state.mode == "snapshot" || !state.is_followed());
        if begins {
            return self.begin_filling(fence, false).await;
        }
        let copies = state.snapshot_at.is_some() && state.filling.is_some();
        let feed_is_due = state.log_id.is_some() && self.asked.elapsed() >= BETWEEN_PAGES;
        if copies && (self.register_is_next || !feed_is_due) {
            self.register_is_next = false;
            return self.copy(fence, state, told).await;
        }
        self.register_is_next = true;
        let turn = self.follow(fence, state, told).await?;
        // What is done beside does not hold up what is followed.
        if turn != Turn::Told
            && let Err(error) = self.look_after(fence, turn).await
        {
            let error = chain(&error);
            tracing::warn!(error, "the copy of Vehicle's cars is not looked after");
        }
        Ok(turn)
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
            self.alone = left.clamp(i64::from(state.attempts > 0), PageSize::MOST.into());
            self.begun = None;
            self.unreadable = None;
        }
        Ok(found)
    }

    /// Takes over what a transaction has left.
    fn done(&mut self, done: Done) {
        match done {
            Done::Overtaken => (self.fence, self.known) = (None, None),
            Done::State(state) => self.known = Some(state),
        }
    }

    async fn begin_filling(&mut self, fence: i64, lost: bool) -> Result<Turn, TurnError> {
        if lost {
            tracing::warn!("Vehicle has another log: its cars are copied anew");
        }
        let step = (fence, lost);
        let done = self
            .database
            .transaction(LIMIT, &step, apply::begin_filling);
        let done = done.await?;
        (self.alone, self.begun) = (0, None);
        self.done(done);
        Ok(if lost { Turn::Lost } else { Turn::Copied })
    }

    /// Copies a page of the register.
    async fn copy(
        &mut self,
        fence: i64,
        from: State,
        told: &CancellationToken,
    ) -> Result<Turn, TurnError> {
        let after = from.snapshot_at.as_deref().and_then(|at| at.parse().ok());
        let page = told.run_until_cancelled(self.feed.vehicles(after.as_ref()));
        let Some(page) = page.await else {
            return Ok(Turn::Told);
        };
        let mut page = page?;
        let mut letters = Vec::new();
        page.vehicles.retain(|it| {
            let plausible = it.vehicle.is_plausible();
            if !plausible {
                letters.push(Letter {
                    event_id: Uuid::new_v4(),
                    position: from.position,
                    registration_number: Some(it.vehicle.registration_number.clone()),
                    reason: Reason::Contract,
                    detail: "the register has a vehicle that cannot be",
                    event: String::new(),
                });
            }
            plausible
        });
        let filled = from.filling;
        let copied = Copied {
            fence,
            from,
            page,
            letters,
        };
        let done = self.database.transaction(LIMIT, &copied, apply::copy);
        let done = done.await?;
        let lost = matches!(&done, Done::State(state) if state.filling != filled);
        self.done(done);
        Ok(if lost { Turn::Lost } else { Turn::Copied })
    }

    /// Reads the next events and applies them.
    async fn follow(
        &mut self,
        fence: i64,
        from: State,
        told: &CancellationToken,
    ) -> Result<Turn, TurnError> {
        let limit = if self.alone > 0 { 1 } else { self.size.get() };
        let wait = if from.filling.is_some() {
            Duration::ZERO
        } else {
            WAIT
        };
        let start = from.event_id.map_or(FeedStart::Beginning, FeedStart::After);
        self.asked = Instant::now();
        let read = told.run_until_cancelled(self.feed.events(&start, limit, wait));
        let page = match read.await {
            None => return Ok(Turn::Told),
            Some(Err(FeedError::UnknownEvent)) => return self.begin_filling(fence, true).await,
            Some(page) => page?,
        };
        if Some(page.log_id) != from.log_id {
            return self.begin_filling(fence, true).await;
        }
        let asked = self.asked;
        if page.events.is_empty() {
            let to = Reached {
                event_id: page.next.or(from.event_id),
                position: page.log_position,
                source_position: page.log_position,
                all_since: Some(asked.elapsed()),
            };
            self.apply(fence, from, (Vec::new(), None), to).await?;
            return Ok(Turn::Followed {
                events: 0,
                at_the_end: true,
            });
        }
        if !self.begin(fence, &from, page.events.len()).await? {
            return Ok(Turn::Leased);
        }
        self.take(fence, from, page, asked).await
    }

    /// Writes that these events are begun, once for each process that tries.
    async fn begin(&mut self, fence: i64, from: &State, events: usize) -> Result<bool, Error> {
        if self.begun == Some(from.position) {
            return Ok(true);
        }
        let step = (fence, i64::try_from(events).unwrap_or(i64::MAX));
        let held = self
            .database
            .transaction(LIMIT, &step, apply::begin)
            .await?;
        if held {
            self.begun = Some(from.position);
        } else {
            self.fence = None;
        }
        Ok(held)
    }

    /// Applies what was begun. What cannot be applied among others is tried alone.
    async fn take(
        &mut self,
        fence: i64,
        from: State,
        page: FeedPage,
        asked: Instant,
    ) -> Result<Turn, TurnError> {
        let is_alone = page.events.len() == 1;
        let died = is_alone && self.alone > 0 && from.attempts >= MOST_CRASHES;
        let read = if died {
            let event = page.events[0].get();
            Err(letter_of(
                &from,
                &page,
                Reason::Crash,
                "the process died of it",
                event,
            ))
        } else {
            self.read(&from, &page)
        };
        let count = page.events.len();
        let (events, letter) = match read {
            Ok(events) => {
                self.unreadable = None;
                (events, None)
            }
            Err(_) if !is_alone => return Ok(self.one_by_one(count)),
            Err(letter) if self.is_second_unreadable(&letter) => {
                let step = (fence, "unreadable_events");
                self.database.transaction(LIMIT, &step, apply::stop).await?;
                tracing::error!("the events of Vehicle cannot be read: nothing is followed");
                return Ok(Turn::Paused);
            }
            Err(letter) => (Vec::new(), Some(letter)),
        };
        let last = match (&letter, events.last()) {
            (Some(letter), _) => letter.position,
            (None, Some(event)) => event.position,
            (None, None) => from.position,
        };
        let at_the_end = last >= page.log_position;
        let position = last.max(from.position);
        let to = || Reached {
            event_id: page.next,
            position,
            source_position: page.log_position,
            all_since: at_the_end.then(|| asked.elapsed()),
        };
        if let Some(letter) = &letter {
            let (reason, position) = (letter.reason.label(), letter.position);
            tracing::warn!(reason, position, "an event is put aside");
        }
        let put_aside = letter.is_some();
        match self
            .apply(fence, from.clone(), (events, letter), to())
            .await
        {
            Ok(()) => {}
            Err(Error::Failed(_)) if !is_alone => return Ok(self.one_by_one(count)),
            Err(error @ Error::Failed(_)) if !put_aside => {
                let cause = chain(&error);
                tracing::warn!(cause, position = last, "an event is put aside");
                let (event, why) = (page.events[0].get(), "its statement failed");
                let letter = letter_of(&from, &page, Reason::Effect, why, event);
                self.apply(fence, from, (Vec::new(), Some(letter)), to())
                    .await?;
            }
            Err(error) => return Err(error.into()),
        }
        self.alone = (self.alone - 1).max(0);
        Ok(Turn::Followed {
            events: count,
            at_the_end,
        })
    }

    fn one_by_one(&mut self, events: usize) -> Turn {
        self.alone = i64::try_from(events).unwrap_or(i64::MAX);
        Turn::Followed {
            events: 0,
            at_the_end: false,
        }
    }

    /// The events that are new, or the one that says nothing.
    fn read(&mut self, from: &State, page: &FeedPage) -> Result<Vec<VehicleEvent>, Letter> {
        let mut events = Vec::with_capacity(page.events.len());
        for event in &page.events {
            let event = event.get();
            match VehicleEvent::read(event) {
                Ok(read) if read.position <= from.position => self.instruments.duplicate(),
                Ok(read) => events.push(read),
                Err(fault) => {
                    return Err(letter_of(
                        from,
                        page,
                        fault.kind.into(),
                        fault.detail,
                        event,
                    ));
                }
            }
        }
        Ok(events)
    }

    /// Whether the event before could not be read either and was about another vehicle: then it is
    /// not the event that is at fault.
    fn is_second_unreadable(&mut self, letter: &Letter) -> bool {
        if letter.reason != EventFaultKind::Unreadable.into() {
            return false;
        }
        let number = letter.registration_number.clone();
        match self.unreadable.take() {
            Some(About(before)) if before.is_none() || before != number => true,
            _ => {
                self.unreadable = Some(About(number));
                false
            }
        }
    }

    async fn apply(
        &mut self,
        fence: i64,
        from: State,
        (events, letter): (Vec<VehicleEvent>, Option<Letter>),
        to: Reached,
    ) -> Result<(), Error> {
        let count = events.len();
        let put_aside = letter.is_some();
        let page = Page {
            fence,
            from,
            events,
            letter,
            to,
        };
        let began = Instant::now();
        let done = self.database.transaction(LIMIT, &page, apply::follow).await;
        self.size.took(began.elapsed(), count, done.is_err());
        self.done(done?);
        self.instruments.applied(count, put_aside);
        self.begun = None;
        Ok(())
    }

    /// What is done between pages: dead letters, and the sweep once all is followed.
    async fn look_after(&mut self, fence: i64, turn: Turn) -> Result<(), Error> {
        if self.tries <= Instant::now() {
            self.tries = Instant::now() + BETWEEN_TRIES;
            self.try_again(fence).await?;
        }
        let at_the_end = matches!(
            turn,
            Turn::Followed {
                at_the_end: true,
                ..
            }
        );
        if at_the_end && self.sweeps <= Instant::now() {
            self.sweeps = Instant::now() + BETWEEN_SWEEPS;
            let step = (fence, self.keep_tombstones);
            let swept = self
                .database
                .transaction(LIMIT, &step, apply::sweep)
                .await?;
            if swept >= 1_000 {
                self.sweeps = Instant::now();
            }
        }
        if at_the_end && self.counts <= Instant::now() {
            self.counts = Instant::now() + BETWEEN_COUNTS;
            let counts = self.database.transaction(LIMIT, &(), apply::count).await?;
            self.instruments.counted(counts);
        }
        Ok(())
    }

    async fn try_again(&self, fence: i64) -> Result<(), Error> {
        let due = self.database.transaction(LIMIT, &fence, apply::take_due);
        for due in due.await? {
            let step = (fence, due);
            match self
                .database
                .transaction(LIMIT, &step, apply::try_again)
                .await
            {
                Ok(()) => {}
                // Its next time is written already.
                Err(Error::Failed(error)) => {
                    tracing::warn!(error = chain(&*error), "a dead letter failed again");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn give_back(&mut self) {
        self.known = None;
        let Some(fence) = self.fence.take() else {
            return;
        };
        let given = self.database.transaction(LIMIT, &fence, apply::give_back);
        if let Err(error) = given.await {
            tracing::debug!(error = chain(&error), "the lease was not given back");
        }
    }
}

fn pause_after(failures: u32) -> Duration {
    doubled(failures).min(LONGEST_PAUSE)
}

/// The first pause, doubled with each time after the first.
fn doubled(times: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(times.saturating_sub(1)))
}

/// To be put aside; only the last event of a page has its id for sure.
fn letter_of(
    from: &State,
    page: &FeedPage,
    reason: Reason,
    detail: &'static str,
    event: &str,
) -> Letter {
    let (position, registration_number) = VehicleEvent::sketch(event);
    Letter {
        event_id: page.next.unwrap_or_else(Uuid::new_v4),
        position: position.unwrap_or(from.position + 1),
        registration_number,
        reason,
        detail,
        event: event.to_owned(),
    }
}
