mod state;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contracts::RegistrationNumber;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

#[cfg(test)]
pub(crate) use state::LEAST_TIME;
use state::{Place, State, Unsent};

use crate::{Failure, answer::CallResult, observe::LookupLog};

/// A single-flight group: those who wait for one call, for which of its numbers, and until when.
///
/// Until the call is in flight it belongs to its waiters: when nobody waits any more, it ends.
/// From then on it belongs to the guard and ends by itself, because Vehicle works on whether or
/// not we hang up. Clones are the same group.
#[derive(Clone, Debug)]
pub(crate) struct Group(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    log: LookupLog,
    state: Mutex<State>,
    /// The last waiter left, or the call is not in flight any more.
    abandoned: Notify,
    /// There is a result, or the call is held back.
    changed: Notify,
}

impl Group {
    /// Of a call of up to so many numbers, with the first waiter for its first number.
    pub(crate) fn new(
        number: &RegistrationNumber,
        deadline: Instant,
        capacity: usize,
        log: LookupLog,
    ) -> (Self, Waiter) {
        let mut state = State::new(capacity);
        let indexes = state.add(number).into_iter().collect();
        let place = state.enter(deadline);
        let group = Self(Arc::new(Inner {
            log,
            state: Mutex::new(state),
            abandoned: Notify::new(),
            changed: Notify::new(),
        }));
        let waiter = Waiter {
            group: group.clone(),
            indexes,
            place,
            stays: false,
        };
        (group, waiter)
    }

    /// What the layers decide about the call.
    pub(crate) fn log(&self) -> &LookupLog {
        &self.0.log
    }

    /// Waits for a number that the call carries, unless it has ended or left the number out.
    pub(crate) fn join(&self, number: &RegistrationNumber, deadline: Instant) -> Option<Waiter> {
        self.wait(deadline, |state| state.join(number))
    }

    /// Adds a number and waits for it, unless the call is full or has been sent. One that it has
    /// already, because it was erased meanwhile, is not asked for twice.
    pub(crate) fn add(&self, number: &RegistrationNumber, deadline: Instant) -> Option<Waiter> {
        self.wait(deadline, |state| state.add(number))
    }

    fn wait(
        &self,
        deadline: Instant,
        join: impl FnOnce(&mut State) -> Option<usize>,
    ) -> Option<Waiter> {
        let mut state = self.state();
        let indexes = vec![join(&mut state)?];
        Some(Waiter {
            group: self.clone(),
            indexes,
            place: state.enter(deadline),
            stays: false,
        })
    }

    /// The numbers that were asked for.
    pub(crate) fn numbers(&self) -> Vec<RegistrationNumber> {
        self.state().numbers().cloned().collect()
    }

    /// Whether anybody waits.
    pub(crate) fn is_awaited(&self) -> bool {
        self.state().is_awaited()
    }

    /// Whether anybody waits for this number.
    #[cfg(test)]
    pub(crate) fn is_awaited_for(&self, number: &RegistrationNumber) -> bool {
        self.state().is_awaited_for(number)
    }

    /// The deadline of the waiter with most time.
    #[cfg(test)]
    pub(crate) fn latest_deadline(&self) -> Option<Instant> {
        self.state().latest_deadline()
    }

    /// Notes down that an attempt failed, for those whose time ends before the next one.
    pub(crate) fn failed(&self, failure: Failure) {
        self.state().failed(failure, Instant::now());
    }

    /// What those are told whose time ends before the next attempt, and since when; gives back what
    /// they were told before.
    pub(crate) fn tell(&self, failure: Option<(Failure, Instant)>) -> Option<(Failure, Instant)> {
        self.state().tell(failure)
    }

    /// Holds the call back until this time: waiters who have no time for it then get this failure
    /// now. Returns whether anybody has; if not, nobody can join any more.
    pub(crate) fn hold(&self, until: Instant, failure: Failure) -> bool {
        let worthwhile = self.state().hold(until, failure);
        self.0.changed.notify_waiters();
        worthwhile
    }

    /// Puts the call in flight with the numbers for which somebody waits, if anybody has the time
    /// for it; if not, nobody can join any more.
    pub(crate) fn begin_attempt(&self) -> Option<InFlight> {
        let (numbers, unsent) = self.state().begin_attempt(Instant::now())?;
        Some(InFlight {
            group: self.clone(),
            numbers,
            unsent: Some(unsent),
        })
    }

    /// Ends when nobody waits any more and the call is not in flight; nobody can join then.
    pub(crate) async fn abandoned(&self) {
        while !self.state().abandon() {
            self.0.abandoned.notified().await;
        }
    }

    /// Gives the result to all who wait; nobody can join any more.
    pub(crate) fn end(&self, result: CallResult) {
        self.state().end(result);
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

/// One who waits for a call, for some of its numbers, until this is dropped.
pub(crate) struct Waiter {
    group: Group,
    indexes: Vec<usize>,
    place: Place,
    /// The call is waited for also when this is dropped.
    stays: bool,
}

impl Waiter {
    /// The call that is waited for.
    pub(crate) fn group(&self) -> &Group {
        &self.group
    }

    /// Waits for another number of the same call, as [`Group::join`] does; whether it can.
    pub(crate) fn join(&mut self, number: &RegistrationNumber) -> bool {
        let joined = self.group.state().join(number);
        self.indexes.extend(joined);
        joined.is_some()
    }

    /// Waits for another number of the same call, as [`Group::add`] does; whether it can.
    pub(crate) fn add(&mut self, number: &RegistrationNumber) -> bool {
        let added = self.group.state().add(number);
        self.indexes.extend(added);
        added.is_some()
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

    /// Leaves the place in the call, as of somebody who waits and wants no result.
    pub(crate) fn stay(mut self) {
        self.stays = true;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.stays {
            return;
        }
        let mut state = self.group.state();
        state.leave(self.place, &self.indexes);
        if !state.is_awaited() {
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

impl InFlight {
    /// Says that the call is sent now. One that is not was never in flight.
    pub(crate) fn sent(&mut self) {
        self.unsent = None;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.group.state().end_attempt(self.unsent.take());
        self.group.0.abandoned.notify_one();
    }
}
