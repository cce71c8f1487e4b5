use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use contracts::{Cause, RegistrationNumber};
use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

use crate::{Answer, Failure};

/// What came back: an answer for every number of the call, or why there is none.
pub(crate) type CallResult = Result<Arc<Answer>, Failure>;

/// The least that somebody who waits must have left for a call to be worth making.
pub(crate) const LEAST_TIME: Duration = Duration::from_millis(10);

/// Those who wait for one call, for which of its numbers, and until when.
///
/// Until it goes out the call is theirs: nobody waits for it any more, and it ends. From then on
/// it is the guard's and ends by itself, because Vehicle works on whether or not we hang up.
/// Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Waiters(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Numbers that it may have.
    most: usize,
    state: Mutex<State>,
    /// There are as many numbers as there may be.
    full: Notify,
    /// The last one left, or the call is not out any more.
    given_up: Notify,
    /// There is news for those who wait.
    told: Notify,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    news: News,
    /// Of the last attempt, until the next one is out.
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
    Out,
    /// Has its result.
    Ended,
}

#[derive(Debug)]
struct Asked {
    number: RegistrationNumber,
    waiting: usize,
    /// Nobody waited for it when the call went out, which went without it.
    left_out: bool,
}

/// What those who wait are told.
#[derive(Clone, Debug)]
enum News {
    Nothing,
    /// The call does not go out before this time, because of this failure.
    NotBefore(Instant, Failure),
    Ended(CallResult),
}

/// Whether a call that goes out then may still be answered by this deadline.
fn in_time(then: Instant, deadline: Instant) -> bool {
    then + LEAST_TIME <= deadline
}

impl Waiters {
    /// Of a call of up to so many numbers, with the first who waits for its first number.
    pub(crate) fn of(
        number: &RegistrationNumber,
        deadline: Instant,
        most: usize,
    ) -> (Self, Waiter) {
        let waiters = Self(Arc::new(Inner {
            most,
            state: Mutex::new(State {
                phase: Phase::Gathering,
                news: News::Nothing,
                failure: None,
                numbers: Vec::new(),
                deadlines: BTreeSet::new(),
                next: 0,
            }),
            full: Notify::new(),
            given_up: Notify::new(),
            told: Notify::new(),
        }));
        let waiter = waiters.push(&mut waiters.state(), number, deadline);
        (waiters, waiter)
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
        let room = state.numbers.len() < self.0.most;
        room.then(|| self.push(&mut state, number, deadline))
    }

    fn push(&self, state: &mut State, number: &RegistrationNumber, deadline: Instant) -> Waiter {
        state.numbers.push(Asked {
            number: number.clone(),
            waiting: 0,
            left_out: false,
        });
        if state.numbers.len() == self.0.most {
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
            waiters: self.clone(),
            index,
            place,
        }
    }

    /// Gathers numbers for this long or until there are as many as there may be. How many there
    /// are for which somebody waits.
    pub(crate) async fn gathered(&self, time: Duration) -> usize {
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
    pub(crate) fn any(&self) -> bool {
        !self.state().deadlines.is_empty()
    }

    /// Whether anybody waits for this number.
    #[cfg(test)]
    pub(crate) fn await_number(&self, number: &RegistrationNumber) -> bool {
        let state = self.state();
        let mut numbers = state.numbers.iter();
        numbers.any(|asked| asked.number == *number && asked.waiting > 0)
    }

    /// The deadline of the one with most time.
    #[cfg(test)]
    pub(crate) fn latest(&self) -> Option<Instant> {
        let state = self.state();
        state.deadlines.last().map(|(deadline, _)| *deadline)
    }

    /// An attempt failed; who is gone before the next one is told so.
    pub(crate) fn failed(&self, failure: Failure) {
        self.state().failure = Some(failure);
    }

    /// Tells that the call does not go out before this time: who has no time for it then is told
    /// this failure now. Whether anybody has; if not, nobody can join it any more.
    pub(crate) fn hold(&self, until: Instant, failure: Failure) -> bool {
        let mut state = self.state();
        let worth_it = state.worth_it(until);
        if worth_it {
            state.news = News::NotBefore(until, failure);
            self.0.told.notify_waiters();
        } else {
            state.phase = Phase::Ended;
        }
        worth_it
    }

    /// Goes out with the numbers for which somebody waits, if anybody has the time for a call; if
    /// not, nobody can join it any more.
    pub(crate) fn go_out(&self) -> Option<Out> {
        let mut state = self.state();
        if !state.worth_it(Instant::now()) {
            state.phase = Phase::Ended;
            return None;
        }
        state.phase = Phase::Out;
        for asked in &mut state.numbers {
            asked.left_out |= asked.waiting == 0;
        }
        let carried = state.numbers.iter().filter(|asked| !asked.left_out);
        let numbers = carried.map(|asked| asked.number.clone()).collect();
        state.news = News::Nothing;
        state.failure = None;
        Some(Out {
            waiters: self.clone(),
            numbers,
        })
    }

    /// Ends when nobody waits any more and the call is not out; nobody can join it then.
    pub(crate) async fn given_up(&self) {
        loop {
            {
                let mut state = self.state();
                if state.phase != Phase::Out && state.deadlines.is_empty() {
                    state.phase = Phase::Ended;
                    return;
                }
            }
            self.0.given_up.notified().await;
        }
    }

    /// Lets nobody join any more, and tells the result to all who wait.
    pub(crate) fn end(&self, result: CallResult) {
        let mut state = self.state();
        state.phase = Phase::Ended;
        state.news = News::Ended(result);
        self.0.told.notify_waiters();
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
    /// What somebody with this deadline has to know now.
    fn concerning(&self, deadline: Instant, now: Instant) -> Option<CallResult> {
        match &self.news {
            News::Ended(result) => Some(result.clone()),
            News::NotBefore(then, failure) if now < *then && !in_time(*then, deadline) => {
                // Part of it is over for whoever comes during the pause.
                let after = failure.retry_after.map(|after| after.min(*then - now));
                Some(Err(failure.with_retry_after(after)))
            }
            _ if now < deadline => None,
            _ => {
                let timeout = Failure::lasting(Cause::Timeout);
                Some(Err(self.failure.unwrap_or(timeout)))
            }
        }
    }

    /// Whether the one with most time has enough of it for a call that goes out then.
    fn worth_it(&self, then: Instant) -> bool {
        let latest = self.deadlines.last();
        latest.is_some_and(|(deadline, _)| in_time(then, *deadline))
    }
}

/// One who waits for a call, until this is dropped.
pub(crate) struct Waiter {
    waiters: Waiters,
    index: usize,
    place: (Instant, u64),
}

impl Waiter {
    /// The result, or the failure for which it cannot come before this one's deadline.
    pub(crate) async fn result(self) -> CallResult {
        let (deadline, _) = self.place;
        loop {
            // Before the look at the news, so that none in between is missed.
            let told = self.waiters.0.told.notified();
            let now = Instant::now();
            let news = self.waiters.state().concerning(deadline, now);
            if let Some(result) = news {
                return result;
            }
            // Too late or not, the news is looked at once more.
            let _ = timeout_at(deadline, told).await;
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut state = self.waiters.state();
        state.numbers[self.index].waiting -= 1;
        state.deadlines.remove(&self.place);
        if state.deadlines.is_empty() {
            self.waiters.0.given_up.notify_one();
        }
    }
}

/// A call that is out, until this is dropped.
pub(crate) struct Out {
    waiters: Waiters,
    pub(crate) numbers: Arc<[RegistrationNumber]>,
}

impl Drop for Out {
    fn drop(&mut self) {
        self.waiters.state().phase = Phase::Waiting;
        self.waiters.0.given_up.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use contracts::{Cause, RegistrationNumber};
    use futures_util::FutureExt;
    use tokio::time::{Instant, advance};

    use super::{LEAST_TIME, Waiters};
    use crate::{Answer, Failure};

    const SECOND: Duration = Duration::from_secs(1);
    const FAILURE: Failure = Failure::transient(Cause::ServerError);

    fn number(text: &str) -> RegistrationNumber {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_worth_it_for_the_one_with_most_time_who_waits_now() {
        let (now, number) = (Instant::now(), number("ABC123"));
        let (waiters, short) = Waiters::of(&number, now + LEAST_TIME, 1);
        assert!(waiters.go_out().is_some());
        advance(Duration::from_millis(1)).await;
        let long = waiters.join(&number, now + SECOND).unwrap();
        assert!(waiters.go_out().is_some());
        drop(long);
        assert!(waiters.go_out().is_none());
        // It ends now, and whoever comes begins another.
        assert!(waiters.join(&number, now + SECOND).is_none());
        drop(short);
        assert!(!waiters.any());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_outwaits_a_deadline_and_all_are_told_what_comes_before() {
        let (now, number) = (Instant::now(), number("ABC123"));
        let (waiters, first) = Waiters::of(&number, now + SECOND, 1);
        let second = waiters.join(&number, now + 2 * SECOND).unwrap();
        let timeout = Failure::lasting(Cause::Timeout);
        assert_eq!(first.result().await.unwrap_err(), timeout);
        assert_eq!(now.elapsed(), SECOND);
        waiters.end(Ok(Answer::new().into()));
        assert!(second.result().await.is_ok());
        assert!(waiters.join(&number, now + 9 * SECOND).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_no_time_for_a_call_after_a_pause_is_told_why_and_the_others_wait() {
        let (now, number) = (Instant::now(), number("ABC123"));
        let until = now + SECOND;
        let (waiters, hurried) = Waiters::of(&number, until, 1);
        let mut patient = Box::pin(waiters.join(&number, until + LEAST_TIME).unwrap().result());
        assert!(waiters.hold(until, FAILURE));
        let told = hurried.result().now_or_never();
        assert_eq!(told.unwrap().unwrap_err(), FAILURE);
        assert!(patient.as_mut().now_or_never().is_none());
        // Once it is out, who comes late may still be answered in time.
        let out = waiters.go_out();
        let late = waiters.join(&number, until).unwrap();
        assert!(late.result().now_or_never().is_none());
        drop(out);
        // Without anybody who has the time it ends, and whoever comes begins another.
        drop(patient);
        assert!(!waiters.hold(until, FAILURE));
        assert!(waiters.join(&number, until + SECOND).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_during_a_pause_is_told_what_is_left_of_it() {
        let (now, number) = (Instant::now(), number("ABC123"));
        let failure = FAILURE.with_retry_after(Some(9 * SECOND));
        let (waiters, _patient) = Waiters::of(&number, now + 60 * SECOND, 1);
        assert!(waiters.hold(now + 9 * SECOND, failure));
        advance(4 * SECOND).await;
        let late = waiters.join(&number, now + 5 * SECOND).unwrap();
        let told = late.result().now_or_never().unwrap().unwrap_err();
        assert_eq!(told, FAILURE.with_retry_after(Some(5 * SECOND)));
    }

    #[tokio::test(start_paused = true)]
    async fn whose_time_ends_before_the_next_attempt_is_told_the_failure_of_the_last() {
        let (now, number) = (Instant::now(), number("ABC123"));
        let (waiters, waiter) = Waiters::of(&number, now + 5 * SECOND, 1);
        let late = waiters.join(&number, now + 6 * SECOND).unwrap();
        waiters.failed(FAILURE);
        assert!(waiters.hold(now + SECOND, FAILURE));
        // The pause is over, but its turn does not come.
        assert_eq!(waiter.result().await.unwrap_err(), FAILURE);
        assert_eq!(now.elapsed(), 5 * SECOND);
        let _out = waiters.go_out();
        let timeout = Failure::lasting(Cause::Timeout);
        assert_eq!(late.result().await.unwrap_err(), timeout);
    }

    #[tokio::test(start_paused = true)]
    async fn a_number_that_is_gathered_already_is_not_added_twice() {
        let deadline = Instant::now() + SECOND;
        let (waiters, first) = Waiters::of(&number("AAA111"), deadline, 2);
        let _again = waiters.add(&number("AAA111"), deadline).unwrap();
        drop(first);
        let _other = waiters.add(&number("BBB222"), deadline).unwrap();
        let out = waiters.go_out().unwrap();
        assert_eq!(*out.numbers, ["AAA111", "BBB222"].map(number));
    }

    #[tokio::test(start_paused = true)]
    async fn a_number_is_left_out_when_nobody_waits_for_it_and_then_cannot_be_joined() {
        let deadline = Instant::now() + SECOND;
        let numbers = ["AAA111", "BBB222", "CCC333"].map(number);
        let (waiters, _first) = Waiters::of(&numbers[0], deadline, 3);
        let leaving = waiters.add(&numbers[1], deadline).unwrap();
        let _last = waiters.add(&numbers[2], deadline).unwrap();
        assert!(waiters.add(&number("DDD444"), deadline).is_none());
        drop(leaving);
        // Full, so that there is nothing to wait for.
        assert_eq!(waiters.gathered(SECOND).now_or_never(), Some(2));
        let out = waiters.go_out().unwrap();
        assert_eq!(*out.numbers, [numbers[0].clone(), numbers[2].clone()]);
        assert!(waiters.join(&numbers[1], deadline).is_none());
        assert!(waiters.join(&numbers[2], deadline).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_gathers_for_its_time_and_then_no_more() {
        let deadline = Instant::now() + SECOND;
        let (waiters, _waiter) = Waiters::of(&number("AAA111"), deadline, 3);
        let time = Duration::from_millis(2);
        assert_eq!(waiters.gathered(time).await, 1);
        assert_eq!((deadline - SECOND).elapsed(), time);
        assert!(waiters.add(&number("BBB222"), deadline).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_given_up_when_the_last_one_leaves_unless_it_is_out() {
        let (deadline, number) = (Instant::now() + SECOND, number("ABC123"));
        let (waiters, waiter) = Waiters::of(&number, deadline, 1);
        let mut given_up = Box::pin(waiters.given_up());
        assert!(given_up.as_mut().now_or_never().is_none());
        let out = waiters.go_out();
        drop(waiter);
        assert!(given_up.as_mut().now_or_never().is_none());
        let joined = waiters.join(&number, deadline).unwrap();
        drop(out);
        assert!(given_up.as_mut().now_or_never().is_none());
        drop(joined);
        assert!(given_up.now_or_never().is_some());
        assert!(waiters.join(&number, deadline).is_none());
    }
}
