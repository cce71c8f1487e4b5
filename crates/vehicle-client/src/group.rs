#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use contracts::RegistrationNumber;
use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

use crate::{Answer, Failure, FailureKind, observe::LookupLog};

/// What came back: an answer for every number of the call, or why there is none.
pub(crate) type CallResult = Result<Arc<Answer>, Failure>;

/// The least time that a waiter must have left for a call to be worth making.
pub(crate) const LEAST_TIME: Duration = Duration::from_millis(10);

const TIMEOUT: Failure = Failure::lasting(FailureKind::Timeout);

/// A single-flight group: those who wait for one call, for which of its numbers, and until when.
///
/// Until the call is in flight it belongs to its waiters: when nobody waits any more, it ends.
/// From then on it belongs to the guard and ends by itself, because Vehicle works on whether or
/// not we hang up. Clones are the same group.
#[derive(Clone, Debug)]
pub(crate) struct Group(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Numbers that the call may have.
    capacity: usize,
    log: LookupLog,
    state: Mutex<State>,
    /// There are as many numbers as there may be.
    full: Notify,
    /// The last waiter left, or the call is not in flight any more.
    abandoned: Notify,
    /// There is a result, or the call is held back.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    result: Option<CallResult>,
    /// The call does not go out before this time, for this reason.
    held: Option<(Instant, Failure)>,
    /// Of the last attempt and when it came, until the next one is in flight.
    failure: Option<(Failure, Instant)>,
    numbers: Vec<Asked>,
    /// Told apart by a count, because deadlines may be equal.
    deadlines: BTreeSet<(Instant, u64)>,
    next: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// More numbers may be added.
    Gathering,
    /// Waits for its turn, before the first attempt or between two.
    Waiting,
    InFlight,
    /// Can be joined no more.
    Ended,
}

#[derive(Debug)]
struct Asked {
    number: RegistrationNumber,
    waiting: usize,
    /// Nobody waited for it when the call went out, which went without it.
    left_out: bool,
}

impl Group {
    /// Of a call of up to so many numbers, with the first waiter for its first number.
    pub(crate) fn new(
        number: &RegistrationNumber,
        deadline: Instant,
        capacity: usize,
        log: LookupLog,
    ) -> (Self, Waiter) {
        let group = Self(Arc::new(Inner {
            capacity,
            log,
            state: Mutex::new(State {
                phase: Phase::Gathering,
                result: None,
                held: None,
                failure: None,
                numbers: Vec::new(),
                deadlines: BTreeSet::new(),
                next: 0,
            }),
            full: Notify::new(),
            abandoned: Notify::new(),
            changed: Notify::new(),
        }));
        let waiter = group.push(&mut group.state(), number, deadline);
        (group, waiter)
    }

    /// What the layers decide about the call.
    pub(crate) fn log(&self) -> &LookupLog {
        &self.0.log
    }

    /// Adds a number and waits for it, unless the call is full or gathers no more. One that it has
    /// already, because it was erased meanwhile, is not asked for twice.
    pub(crate) fn add(&self, number: &RegistrationNumber, deadline: Instant) -> Option<Waiter> {
        let mut state = self.state();
        if state.phase != Phase::Gathering {
            return None;
        }
        let known = state.numbers.iter().position(|it| it.number == *number);
        if let Some(index) = known {
            return Some(self.wait(&mut state, index, deadline));
        }
        let room = state.numbers.len() < self.0.capacity;
        room.then(|| self.push(&mut state, number, deadline))
    }

    fn push(&self, state: &mut State, number: &RegistrationNumber, deadline: Instant) -> Waiter {
        state.numbers.push(Asked {
            number: number.clone(),
            waiting: 0,
            left_out: false,
        });
        if state.numbers.len() == self.0.capacity {
            self.0.full.notify_one();
        }
        self.wait(state, state.numbers.len() - 1, deadline)
    }

    /// Waits for a number that the call carries, unless it has ended or left the number out.
    pub(crate) fn join(&self, number: &RegistrationNumber, deadline: Instant) -> Option<Waiter> {
        let mut state = self.state();
        if state.phase == Phase::Ended {
            return None;
        }
        let carried = |asked: &Asked| asked.number == *number && !asked.left_out;
        let index = state.numbers.iter().position(carried)?;
        Some(self.wait(&mut state, index, deadline))
    }

    fn wait(&self, state: &mut State, index: usize, deadline: Instant) -> Waiter {
        let place = (deadline, state.next);
        state.next += 1;
        state.deadlines.insert(place);
        state.numbers[index].waiting += 1;
        Waiter {
            group: self.clone(),
            index,
            place,
        }
    }

    /// Gathers numbers for this long or until there are as many as there may be. Returns for how
    /// many of them somebody waits.
    pub(crate) async fn gather(&self, time: Duration) -> usize {
        // Full or not, it goes on.
        let _ = timeout(time, self.0.full.notified()).await;
        let mut state = self.state();
        state.phase = Phase::Waiting;
        let awaited = |asked: &&Asked| asked.waiting > 0;
        state.numbers.iter().filter(awaited).count()
    }

    /// The numbers that were asked for.
    pub(crate) fn numbers(&self) -> Vec<RegistrationNumber> {
        let state = self.state();
        let numbers = state.numbers.iter();
        numbers.map(|asked| asked.number.clone()).collect()
    }

    /// Whether anybody waits.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.state().deadlines.is_empty()
    }

    /// Whether anybody waits for this number.
    #[cfg(test)]
    pub(crate) fn is_awaited_for(&self, number: &RegistrationNumber) -> bool {
        let state = self.state();
        let mut numbers = state.numbers.iter();
        numbers.any(|asked| asked.number == *number && asked.waiting > 0)
    }

    /// The deadline of the waiter with most time.
    #[cfg(test)]
    pub(crate) fn latest_deadline(&self) -> Option<Instant> {
        let state = self.state();
        state.deadlines.last().map(|(deadline, _)| *deadline)
    }

    /// Notes down that an attempt failed, for those whose time ends before the next one.
    pub(crate) fn failed(&self, failure: Failure) {
        self.state().failure = Some((failure, Instant::now()));
    }

    /// Holds the call back until this time: waiters who have no time for it then get this failure
    /// now. Returns whether anybody has; if not, nobody can join any more.
    pub(crate) fn hold(&self, until: Instant, failure: Failure) -> bool {
        let mut state = self.state();
        let worthwhile = state.is_worthwhile(until);
        if worthwhile {
            state.held = Some((until, failure));
            self.0.changed.notify_waiters();
        } else {
            state.phase = Phase::Ended;
        }
        worthwhile
    }

    /// Puts the call in flight with the numbers for which somebody waits, if anybody has the time
    /// for it; if not, nobody can join any more.
    pub(crate) fn begin_attempt(&self) -> Option<InFlight> {
        let mut state = self.state();
        if !state.is_worthwhile(Instant::now()) {
            state.phase = Phase::Ended;
            return None;
        }
        state.phase = Phase::InFlight;
        state.held = None;
        let mut left_out = Vec::new();
        for (index, asked) in state.numbers.iter_mut().enumerate() {
            if asked.waiting == 0 && !asked.left_out {
                asked.left_out = true;
                left_out.push(index);
            }
        }
        let failure = state.failure.take();
        let carried = state.numbers.iter().filter(|asked| !asked.left_out);
        let numbers = carried.map(|asked| asked.number.clone()).collect();
        Some(InFlight {
            group: self.clone(),
            numbers,
            unsent: Some(Unsent { failure, left_out }),
        })
    }

    /// Ends when nobody waits any more and the call is not in flight; nobody can join then.
    pub(crate) async fn abandoned(&self) {
        loop {
            {
                let mut state = self.state();
                if state.phase != Phase::InFlight && state.deadlines.is_empty() {
                    state.phase = Phase::Ended;
                    return;
                }
            }
            self.0.abandoned.notified().await;
        }
    }

    /// Gives the result to all who wait; nobody can join any more.
    pub(crate) fn end(&self, result: CallResult) {
        let mut state = self.state();
        state.phase = Phase::Ended;
        state.result = Some(result);
        self.0.changed.notify_waiters();
    }

    /// Whether these are the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the waiter with most time has enough of it for a call that goes out then.
    fn is_worthwhile(&self, then: Instant) -> bool {
        let latest = self.deadlines.last();
        latest.is_some_and(|(deadline, _)| in_time(then, *deadline))
    }

    /// What a waiter with this deadline gets now, if anything.
    fn result(&self, deadline: Instant, now: Instant) -> Option<CallResult> {
        if let Some(result) = &self.result {
            return Some(result.clone());
        }
        match self.held {
            Some((until, failure)) if now < until && !in_time(until, deadline) => {
                // Part of it is over for whoever comes while the call is held back.
                let after = failure.retry_after.map(|after| after.min(until - now));
                Some(Err(failure.with_retry_after(after)))
            }
            _ => (now >= deadline).then(|| {
                let told = |(failure, came): (Failure, Instant)| failure.told_after(now - came);
                Err(self.failure.map_or(TIMEOUT, told))
            }),
        }
    }
}

/// Whether a call that goes out then may still be answered by this deadline.
fn in_time(then: Instant, deadline: Instant) -> bool {
    then + LEAST_TIME <= deadline
}

/// One who waits for a call, until this is dropped.
pub(crate) struct Waiter {
    group: Group,
    index: usize,
    place: (Instant, u64),
}

impl Waiter {
    /// What the layers decide about the call.
    pub(crate) fn log(&self) -> LookupLog {
        self.group.log().clone()
    }

    /// The result, or the failure for which it cannot come before this one's deadline.
    pub(crate) async fn result(self) -> CallResult {
        let (deadline, _) = self.place;
        loop {
            // Before the look at the state, so that no change in between is missed.
            let changed = self.group.0.changed.notified();
            let now = Instant::now();
            let result = self.group.state().result(deadline, now);
            if let Some(result) = result {
                return result;
            }
            // Changed or too late, the state says which.
            let _ = timeout_at(deadline, changed).await;
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut state = self.group.state();
        state.numbers[self.index].waiting -= 1;
        state.deadlines.remove(&self.place);
        if state.deadlines.is_empty() {
            self.group.0.abandoned.notify_one();
        }
    }
}

/// A call in flight, until this is dropped.
pub(crate) struct InFlight {
    group: Group,
    pub(crate) numbers: Arc<[RegistrationNumber]>,
    unsent: Option<Unsent>,
}

/// What is as before where a call is not sent after all.
struct Unsent {
    failure: Option<(Failure, Instant)>,
    /// Places of numbers that it went without for the first time.
    left_out: Vec<usize>,
}

impl InFlight {
    /// Says that the call is sent now. One that is not was never in flight.
    pub(crate) fn sent(&mut self) {
        self.unsent = None;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.group.state();
        state.phase = Phase::Waiting;
        if let Some(unsent) = self.unsent.take() {
            state.failure = unsent.failure;
            for index in unsent.left_out {
                state.numbers[index].left_out = false;
            }
        }
        drop(state);
        self.group.0.abandoned.notify_one();
    }
}
