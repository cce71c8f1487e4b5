use std::{collections::BTreeSet, mem, sync::Arc, time::Duration};

use contracts::RegistrationNumber;
use tokio::time::Instant;

use crate::{Failure, FailureKind, answer::CallResult};

/// The least time that a waiter must have left for a call to be worth making.
pub(crate) const LEAST_TIME: Duration = Duration::from_millis(10);

const TIMEOUT: Failure = Failure::lasting(FailureKind::Timeout);

/// Who waits for a call, for which of its numbers and until when, as a pure state machine: time
/// comes from outside.
#[derive(Debug)]
pub(super) struct State {
    /// Numbers that the call may have.
    capacity: usize,
    phase: Phase,
    result: Option<CallResult>,
    /// The call does not go out before this time, for this reason.
    held: Option<(Instant, Failure)>,
    /// Of the last attempt and when it came, until the next one is in flight.
    failure: Option<(Failure, Instant)>,
    numbers: Vec<Asked>,
    deadlines: BTreeSet<Place>,
    next: u64,
}

/// A waiter's deadline; told apart by a count, because deadlines may be equal.
pub(super) type Place = (Instant, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waits for its first turn: more numbers may be added.
    Gathering,
    /// Waits for its turn between two attempts.
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

/// What is as before where a call is not sent after all.
pub(super) struct Unsent {
    phase: Phase,
    failure: Option<(Failure, Instant)>,
    /// Places of numbers that it went without for the first time.
    left_out: Vec<usize>,
}

impl State {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            phase: Phase::Gathering,
            result: None,
            held: None,
            failure: None,
            numbers: Vec::new(),
            deadlines: BTreeSet::new(),
            next: 0,
        }
    }

    /// Waits for a number that the call carries, unless it has ended or left the number out.
    pub(super) fn join(&mut self, number: &RegistrationNumber) -> Option<usize> {
        if self.phase == Phase::Ended {
            return None;
        }
        let carried = |asked: &Asked| asked.number == *number && !asked.left_out;
        let index = self.numbers.iter().position(carried)?;
        self.numbers[index].waiting += 1;
        Some(index)
    }

    /// Waits for a number that the call takes, unless it is full or has been sent. One that it has
    /// already, because it was erased meanwhile, is not asked for twice.
    pub(super) fn add(&mut self, number: &RegistrationNumber) -> Option<usize> {
        if self.phase != Phase::Gathering {
            return None;
        }
        let joined = self.join(number);
        if joined.is_some() || self.numbers.len() == self.capacity {
            return joined;
        }
        self.numbers.push(Asked {
            number: number.clone(),
            waiting: 1,
            left_out: false,
        });
        Some(self.numbers.len() - 1)
    }

    /// One more who waits, until then.
    pub(super) fn enter(&mut self, deadline: Instant) -> Place {
        let place = (deadline, self.next);
        self.next += 1;
        self.deadlines.insert(place);
        place
    }

    /// One who waited for these numbers does so no more.
    pub(super) fn leave(&mut self, place: Place, indexes: &[usize]) {
        self.deadlines.remove(&place);
        for index in indexes {
            self.numbers[*index].waiting -= 1;
        }
    }

    pub(super) fn is_awaited(&self) -> bool {
        !self.deadlines.is_empty()
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = &RegistrationNumber> {
        self.numbers.iter().map(|asked| &asked.number)
    }

    #[cfg(test)]
    pub(super) fn is_awaited_for(&self, number: &RegistrationNumber) -> bool {
        let mut numbers = self.numbers.iter();
        numbers.any(|asked| asked.number == *number && asked.waiting > 0)
    }

    #[cfg(test)]
    pub(super) fn latest_deadline(&self) -> Option<Instant> {
        self.deadlines.last().map(|(deadline, _)| *deadline)
    }

    pub(super) fn failed(&mut self, failure: Failure, now: Instant) {
        self.failure = Some((failure, now));
    }

    pub(super) fn tell(
        &mut self,
        failure: Option<(Failure, Instant)>,
    ) -> Option<(Failure, Instant)> {
        mem::replace(&mut self.failure, failure)
    }

    /// Holds the call back until this time, if anybody has the time for it.
    pub(super) fn hold(&mut self, until: Instant, failure: Failure) -> bool {
        let worthwhile = self.is_worthwhile(until);
        if worthwhile {
            self.held = Some((until, failure));
        } else {
            self.phase = Phase::Ended;
        }
        worthwhile
    }

    /// Puts the call in flight with the numbers for which somebody waits, if anybody has the time.
    pub(super) fn begin_attempt(
        &mut self,
        now: Instant,
    ) -> Option<(Arc<[RegistrationNumber]>, Unsent)> {
        if !self.is_worthwhile(now) {
            self.phase = Phase::Ended;
            return None;
        }
        let mut left_out = Vec::new();
        for (index, asked) in self.numbers.iter_mut().enumerate() {
            if asked.waiting == 0 && !asked.left_out {
                asked.left_out = true;
                left_out.push(index);
            }
        }
        let unsent = Unsent {
            phase: self.phase,
            failure: self.failure.take(),
            left_out,
        };
        self.phase = Phase::InFlight;
        self.held = None;
        let carried = self.numbers.iter().filter(|asked| !asked.left_out);
        Some((carried.map(|asked| asked.number.clone()).collect(), unsent))
    }

    /// The call is in flight no more.
    pub(super) fn end_attempt(&mut self, unsent: Option<Unsent>) {
        self.phase = Phase::Waiting;
        if let Some(unsent) = unsent {
            self.phase = unsent.phase;
            self.failure = unsent.failure;
            for index in unsent.left_out {
                self.numbers[index].left_out = false;
            }
        }
    }

    /// Ends the call that nobody waits for and that is not in flight; whether it does.
    pub(super) fn abandon(&mut self) -> bool {
        let abandoned = self.phase != Phase::InFlight && !self.is_awaited();
        if abandoned {
            self.phase = Phase::Ended;
        }
        abandoned
    }

    pub(super) fn end(&mut self, result: CallResult) {
        self.phase = Phase::Ended;
        self.result = Some(result);
    }

    /// Whether the waiter with most time has enough of it for a call that goes out then.
    fn is_worthwhile(&self, then: Instant) -> bool {
        let latest = self.deadlines.last();
        latest.is_some_and(|(deadline, _)| in_time(then, *deadline))
    }

    /// What a waiter with this deadline gets now, if anything.
    pub(super) fn result(&self, deadline: Instant, now: Instant) -> Option<CallResult> {
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
