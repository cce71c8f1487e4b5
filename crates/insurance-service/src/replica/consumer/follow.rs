//! Reads the next events and applies them, or puts them aside.

use std::time::Duration;

use service_database::Error;
use service_defaults::chain;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use vehicle_client::{FeedError, FeedPage, VehicleEvent};

use super::{About, Consumer, LIMIT, Turn, TurnError};
use crate::replica::{
    apply::{self, Done, Piece},
    dead_letters::{Letter, Reason},
    page::{Entry, Page},
    store::{Reached, State},
};

/// How long Vehicle may wait for an event: a copy at the end of the log is at most so old.
const WAIT: Duration = Duration::from_secs(2);
/// After so many deaths by one event it is put aside unread.
const MOST_CRASHES: i16 = 3;
/// After so many times that a page or an event took too long or lost the connection, it is at fault.
const MOST_STRIKES: u8 = 3;

/// What is to be done with the next events of a page.
enum Next {
    /// So many are applied.
    Apply(usize),
    /// One is put aside.
    PutAside(Reason, &'static str),
    /// One is asked for alone.
    Name,
}

/// Why a page is left before its end.
enum Left {
    /// Events cannot be applied together, or one cannot be applied.
    Fault(Error),
    /// All is otherwise than it was.
    Otherwise,
}

impl Consumer {
    pub(super) async fn follow(
        &mut self,
        fence: i64,
        from: State,
        told: &CancellationToken,
    ) -> Result<Turn, TurnError> {
        self.asked = Instant::now();
        let page = match told.run_until_cancelled(self.ask(&from)).await {
            None => return Ok(Turn::Told),
            Some(Err(FeedError::UnknownEvent)) => return self.begin_filling(fence, true).await,
            Some(page) => page?,
        };
        let Some(page) = Page::read(page, &from.read_to())? else {
            return self.begin_filling(fence, true).await;
        };
        self.is_nameless = false;
        if page.entries.is_empty() {
            let piece = Piece {
                fence,
                from: &from,
                events: Vec::new(),
                later: Vec::new(),
                letter: None,
                to: self.end_of(&page, page.next.or(from.event_id), page.log_position),
            };
            self.write(&piece, 0).await?;
            return Ok(Turn::Followed {
                events: 0,
                at_the_end: true,
            });
        }
        if self.alone == 0 && !self.begin(fence, &from, page.entries.len()).await? {
            return Ok(Turn::Leased);
        }
        self.take(fence, from, &page, told).await
    }

    /// The next page from wherever events come from.
    async fn ask(&mut self, from: &State) -> Result<FeedPage, FeedError> {
        let limit = if self.is_nameless { 1 } else { self.size.get() };
        let wait = if from.filling.is_some() {
            Duration::ZERO
        } else {
            WAIT
        };
        self.source.events(from, limit, wait).await
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

    /// Takes a page to its end: as many events at once as can be applied together.
    async fn take(
        &mut self,
        fence: i64,
        from: State,
        page: &Page,
        told: &CancellationToken,
    ) -> Result<Turn, TurnError> {
        let (mut state, mut left) = (from, &page.entries[..]);
        let mut at_the_end = false;
        while let Some(first) = left.first() {
            if told.is_cancelled() {
                return Ok(Turn::Told);
            }
            if self.alone > 0 && !self.begin(fence, &state, 1).await? {
                return Ok(Turn::Leased);
            }
            let (count, letter) = match self.next(&state, left) {
                Next::Name => {
                    self.is_nameless = true;
                    break;
                }
                Next::Apply(count) => (count, None),
                Next::PutAside(reason, detail) => (1, Some(letter_of(first, reason, detail))),
            };
            if let Some(letter) = &letter
                && self.is_second_unreadable(letter)
            {
                return self.stop(fence).await;
            }
            let done = self.apply(fence, &state, (&left[..count], letter), page);
            state = match done.await {
                Ok(state) => state,
                Err(Left::Otherwise) => break,
                Err(Left::Fault(error)) if !self.is_to_blame(&error, &state) => {
                    return Err(error.into());
                }
                Err(Left::Fault(_)) if count > 1 => {
                    self.alone = i64::try_from(count).unwrap_or(i64::MAX);
                    continue;
                }
                Err(Left::Fault(error)) => {
                    let cause = chain(&error);
                    tracing::warn!(cause, position = first.position, "an event has no effect");
                    let letter = letter_of(first, Reason::Effect, "its statement failed");
                    let done = self.apply(fence, &state, (&left[..1], Some(letter)), page);
                    match done.await {
                        Ok(state) => state,
                        Err(Left::Otherwise) => break,
                        Err(Left::Fault(error)) => return Err(error.into()),
                    }
                }
            };
            left = &left[count..];
            at_the_end = state.position >= page.log_position;
        }
        Ok(Turn::Followed {
            events: page.entries.len() - left.len(),
            at_the_end,
        })
    }

    fn next(&self, state: &State, left: &[Entry]) -> Next {
        let most = if self.alone > 0 { 1 } else { left.len() };
        let faults = left.iter().map(Entry::fault);
        let good = faults.take(most).take_while(Option::is_none).count();
        let died = self.alone > 0 && state.attempts >= MOST_CRASHES;
        let (reason, detail) = match left[0].fault() {
            None if !died => return Next::Apply(good),
            Some(fault) if !died => (fault.kind.into(), fault.detail),
            _ => (Reason::Crash, "the process died of it"),
        };
        match left[0].id {
            Some(_) => Next::PutAside(reason, detail),
            None => Next::Name,
        }
    }

    /// Whether it is what was to be applied that is at fault. A database that has no time, or is
    /// away for a while, is not told from it at once.
    fn is_to_blame(&mut self, error: &Error, from: &State) -> bool {
        match error {
            Error::Busy => false,
            Error::Failed(_) => true,
            Error::Locked(_) | Error::TimedOut | Error::Unavailable(_) => {
                let (position, strikes) = self.strikes;
                let before = if position == from.position {
                    strikes
                } else {
                    0
                };
                let strikes = (before + 1) % MOST_STRIKES;
                self.strikes = (from.position, strikes);
                strikes == 0
            }
        }
    }

    /// Whether the event before could not be read either and was about another vehicle: then it is
    /// not the event that is at fault.
    fn is_second_unreadable(&self, letter: &Letter) -> bool {
        let before = self.unreadable.as_ref();
        letter.is_unreadable()
            && before.is_some_and(|About(before)| {
                before.is_none() || *before != letter.registration_number
            })
    }

    async fn stop(&mut self, fence: i64) -> Result<Turn, TurnError> {
        let step = (fence, "unreadable_events");
        self.database.transaction(LIMIT, &step, apply::stop).await?;
        // An operator who lets it go on has seen it.
        self.unreadable = None;
        tracing::error!("the events of Vehicle cannot be read: nothing is followed");
        Ok(Turn::Paused)
    }

    /// Applies events of a page, or puts one aside: how all is after it.
    async fn apply(
        &mut self,
        fence: i64,
        from: &State,
        (entries, letter): (&[Entry], Option<Letter>),
        page: &Page,
    ) -> Result<State, Left> {
        if let Some(letter) = &letter {
            let (reason, position) = (letter.reason.label(), letter.position);
            tracing::warn!(reason, position, "an event is put aside");
        }
        let is_told = letter.is_none();
        let unreadable = letter.as_ref().filter(|it| it.is_unreadable());
        let unreadable = unreadable.map(|it| About(it.registration_number.clone()));
        let applied = if is_told { entries } else { &[] };
        let later = applied.iter().filter_map(|it| {
            let (reason, detail) = (Reason::Contract, "it is of a version that is not known");
            Some((it.later()?, letter_of(it, reason, detail)))
        });
        let told = applied.iter().filter_map(|it| it.told.as_ref().ok());
        let last = entries.last();
        let position = last.map_or(from.position, |it| it.position);
        let piece = Piece {
            fence,
            from,
            events: told.collect(),
            later: later.collect(),
            letter,
            to: self.end_of(page, last.and_then(|it| it.id), position),
        };
        let state = self.write(&piece, entries.len()).await;
        let state = state.map_err(Left::Fault)?.ok_or(Left::Otherwise)?;
        if is_told || unreadable.is_some() {
            self.unreadable = unreadable;
        }
        self.alone = (self.alone - i64::try_from(entries.len()).unwrap_or(0)).max(0);
        Ok(state)
    }

    /// Where the consumer is after an event of a page.
    fn end_of(&self, page: &Page, event_id: Option<uuid::Uuid>, position: i64) -> Reached {
        let at_the_end = position >= page.log_position;
        Reached {
            event_id,
            position,
            source_position: page.log_position,
            all_since: at_the_end.then(|| self.asked.elapsed() + page.behind),
            other_fails: self.register_rest.is_failing(),
        }
    }

    /// Writes what so many events do: how all is after it, or `None` where it has no effect because
    /// all is otherwise.
    async fn write(&mut self, piece: &Piece<'_>, events: usize) -> Result<Option<State>, Error> {
        // What fails may have been done.
        self.known = None;
        let began = Instant::now();
        let done = self.database.transaction(LIMIT, piece, apply::follow).await;
        if self.alone == 0 && events > 0 {
            self.size.took(began.elapsed(), events, done.is_err());
        }
        let (done, put_aside) = done?;
        let state = match done {
            Done::Overtaken => {
                self.fence = None;
                return Ok(None);
            }
            Done::Otherwise(state) => {
                if state.position > piece.from.position {
                    self.instruments.duplicate(events);
                }
                self.known = Some(state);
                return Ok(None);
            }
            Done::State(state) => state,
        };
        if put_aside > usize::from(piece.letter.is_some()) {
            let to = piece.to.position;
            tracing::warn!(put_aside, to, "events are of a version that is not known");
        }
        let applied = piece.events.len();
        self.instruments.applied(applied, put_aside);
        self.instruments.skipped(events - applied - put_aside);
        self.begun = None;
        self.known = Some(state.clone());
        Ok(Some(state))
    }
}

/// To be put aside.
fn letter_of(entry: &Entry, reason: Reason, detail: &'static str) -> Letter {
    let text = entry.text.get();
    Letter {
        event_id: entry.id.unwrap_or_default(),
        position: entry.position,
        registration_number: VehicleEvent::subject(text),
        reason,
        detail,
        event: text.to_owned(),
    }
}
