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
    /// Of the last attempt, until the next one is in flight.
    failure: Option<Failure>,
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
        self.state().failure = Some(failure);
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
    pub(crate) fn send(&self) -> Option<InFlight> {
        let mut state = self.state();
        if !state.is_worthwhile(Instant::now()) {
            state.phase = Phase::Ended;
            return None;
        }
        state.phase = Phase::InFlight;
        (state.held, state.failure) = (None, None);
        for asked in &mut state.numbers {
            asked.left_out |= asked.waiting == 0;
        }
        let carried = state.numbers.iter().filter(|asked| !asked.left_out);
        let numbers = carried.map(|asked| asked.number.clone()).collect();
        Some(InFlight {
            group: self.clone(),
            numbers,
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
            _ => (now >= deadline).then(|| Err(self.failure.unwrap_or(TIMEOUT))),
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
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.group.state().phase = Phase::Waiting;
        self.group.0.abandoned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use contracts::RegistrationNumber;
    use futures_util::FutureExt;
    use tokio::time::{Instant, advance};

    use super::{Group, LEAST_TIME};
    use crate::{Answer, Failure, FailureKind, observe::LookupLog};

    const SECOND: Duration = Duration::from_secs(1);
    const FAILURE: Failure = Failure::transient(FailureKind::ServerError);

    fn number(text: &str) -> RegistrationNumber {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_worth_it_for_the_one_with_most_time_who_waits_now() {
        let (now, number) = (Instant::now(), number("ABC123"));
        let (group, short) = Group::new(&number, now + LEAST_TIME, 1, LookupLog::default());
        assert!(group.send().is_some());
        advance(Duration::from_millis(1)).await;
        let long = group.join(&number, now + SECOND).unwrap();
        assert!(group.send().is_some());
        drop(long);
        assert!(group.send().is_none());
        // It ends now, and whoever comes begins another.
        assert!(group.join(&number, now + SECOND).is_none());
        drop(short);
        assert!(!group.is_awaited());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_outwaits_a_deadline_and_all_are_told_what_comes_before() {
        let (now, number) = (Instant::now(), number("ABC123"));
        let (group, first) = Group::new(&number, now + SECOND, 1, LookupLog::default());
        let second = group.join(&number, now + 2 * SECOND).unwrap();
        let timeout = Failure::lasting(FailureKind::Timeout);
        assert_eq!(first.result().await.unwrap_err(), timeout);
        assert_eq!(now.elapsed(), SECOND);
        group.end(Ok(Answer::new().into()));
        assert!(second.result().await.is_ok());
        assert!(group.join(&number, now + 9 * SECOND).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_no_time_for_a_call_after_a_pause_is_told_why_and_the_others_wait() {
        let (now, number) = (Instant::now(), number("ABC123"));
        let until = now + SECOND;
        let (group, hurried) = Group::new(&number, until, 1, LookupLog::default());
        let mut patient = Box::pin(group.join(&number, until + LEAST_TIME).unwrap().result());
        assert!(group.hold(until, FAILURE));
        let told = hurried.result().now_or_never();
        assert_eq!(told.unwrap().unwrap_err(), FAILURE);
        assert!(patient.as_mut().now_or_never().is_none());
        // Once it is out, who comes late may still be answered in time.
        let out = group.send();
        let late = group.join(&number, until).unwrap();
        assert!(late.result().now_or_never().is_none());
        drop(out);
        // Without anybody who has the time it ends, and whoever comes begins another.
        drop(patient);
        assert!(!group.hold(until, FAILURE));
        assert!(group.join(&number, until + SECOND).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_during_a_pause_is_told_what_is_left_of_it() {
        let (now, number) = (Instant::now(), number("ABC123"));
        let failure = FAILURE.with_retry_after(Some(9 * SECOND));
        let (group, _patient) = Group::new(&number, now + 60 * SECOND, 1, LookupLog::default());
        assert!(group.hold(now + 9 * SECOND, failure));
        advance(4 * SECOND).await;
        let late = group.join(&number, now + 5 * SECOND).unwrap();
        let told = late.result().now_or_never().unwrap().unwrap_err();
        assert_eq!(told, FAILURE.with_retry_after(Some(5 * SECOND)));
    }

    #[tokio::test(start_paused = true)]
    async fn whose_time_ends_before_the_next_attempt_is_told_the_failure_of_the_last() {
        let (now, number) = (Instant::now(), number("ABC123"));
        let (group, waiter) = Group::new(&number, now + 5 * SECOND, 1, LookupLog::default());
        let late = group.join(&number, now + 6 * SECOND).unwrap();
        group.failed(FAILURE);
        assert!(group.hold(now + SECOND, FAILURE));
        // The pause is over, but its turn does not come.
        assert_eq!(waiter.result().await.unwrap_err(), FAILURE);
        assert_eq!(now.elapsed(), 5 * SECOND);
        let _out = group.send();
        let timeout = Failure::lasting(FailureKind::Timeout);
        assert_eq!(late.result().await.unwrap_err(), timeout);
    }

    #[tokio::test(start_paused = true)]
    async fn a_number_that_is_gathered_already_is_not_added_twice() {
        let deadline = Instant::now() + SECOND;
        let (group, first) = Group::new(&number("AAA111"), deadline, 2, LookupLog::default());
        let _again = group.add(&number("AAA111"), deadline).unwrap();
        drop(first);
        let _other = group.add(&number("BBB222"), deadline).unwrap();
        let out = group.send().unwrap();
        assert_eq!(*out.numbers, ["AAA111", "BBB222"].map(number));
    }

    #[tokio::test(start_paused = true)]
    async fn a_number_is_left_out_when_nobody_waits_for_it_and_then_cannot_be_joined() {
        let deadline = Instant::now() + SECOND;
        let numbers = ["AAA111", "BBB222", "CCC333"].map(number);
        let (group, _first) = Group::new(&numbers[0], deadline, 3, LookupLog::default());
        let leaving = group.add(&numbers[1], deadline).unwrap();
        let _last = group.add(&numbers[2], deadline).unwrap();
        assert!(group.add(&number("DDD444"), deadline).is_none());
        drop(leaving);
        // Full, so that there is nothing to wait for.
        assert_eq!(group.gather(SECOND).now_or_never(), Some(2));
        let out = group.send().unwrap();
        assert_eq!(*out.numbers, [numbers[0].clone(), numbers[2].clone()]);
        assert!(group.join(&numbers[1], deadline).is_none());
        assert!(group.join(&numbers[2], deadline).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_gathers_for_its_time_and_then_no_more() {
        let deadline = Instant::now() + SECOND;
        let (group, _waiter) = Group::new(&number("AAA111"), deadline, 3, LookupLog::default());
        let time = Duration::from_millis(2);
        assert_eq!(group.gather(time).await, 1);
        assert_eq!((deadline - SECOND).elapsed(), time);
        assert!(group.add(&number("BBB222"), deadline).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_abandoned_when_the_last_one_leaves_unless_it_is_in_flight() {
        let (deadline, number) = (Instant::now() + SECOND, number("ABC123"));
        let (group, waiter) = Group::new(&number, deadline, 1, LookupLog::default());
        let mut abandoned = Box::pin(group.abandoned());
        assert!(abandoned.as_mut().now_or_never().is_none());
        let out = group.send();
        drop(waiter);
        assert!(abandoned.as_mut().now_or_never().is_none());
        let joined = group.join(&number, deadline).unwrap();
        drop(out);
        assert!(abandoned.as_mut().now_or_never().is_none());
        drop(joined);
        assert!(abandoned.now_or_never().is_some());
        assert!(group.join(&number, deadline).is_none());
    }
}
