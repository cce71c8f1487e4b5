use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::budget::Budget;
use crate::{
    Answer, Call, Failure, Options, failure::Nature, observe::Instruments, options::MOST_RETRIES,
    rng::Rng,
};

/// What the budget has for an attempt after which no retry comes into question.
pub(super) const UNUSED: &str = "unused";

/// Decides which calls that failed for a passing reason are made again, as long as the budget has
/// a retry for it. All calls are reads, so all may be made again.
pub(super) struct Retry {
    max_retries: u32,
    pause: Duration,
    max_pause: Duration,
    budget: Mutex<Budget>,
    rng: Rng,
    instruments: Instruments,
}

impl Retry {
    pub(super) fn new(options: &Options, rng: Rng, instruments: Instruments) -> Self {
        Self {
            max_retries: options.max_retries,
            pause: options.retry_pause,
            max_pause: options.max_retry_pause,
            budget: Mutex::new(Budget::new(options.retry_budget, Instant::now())),
            rng,
            instruments,
        }
    }

    /// Retries that could be made at once.
    pub(super) fn left(&self) -> f64 {
        self.budget(Budget::left)
    }

    /// What the budget has for an attempt that ended so, as a metric label: whether a retry is
    /// `left` or it is `empty` where one comes into question, `unused` where none does.
    pub(super) fn label(
        &self,
        call: &Call,
        attempt: u32,
        result: &Result<Answer, Failure>,
    ) -> &'static str {
        match result {
            Err(failure)
                if matches!(failure.nature, Nature::Transient | Nature::Renewal)
                    && attempt < self.max_retries
                    && call.group.is_awaited() =>
            {
                if self.left() < 1.0 {
                    "empty"
                } else {
                    "left"
                }
            }
            _ => UNUSED,
        }
    }

    /// Does this to the budget and reports what is left of it.
    fn budget<T>(&self, change: impl FnOnce(&mut Budget, Instant) -> T) -> T {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut budget, Instant::now());
        debug_assert!(budget.balance() >= 0.0, "an overdrawn budget");
        self.instruments.budget_left(budget.balance());
        result
    }

    /// The length of a pause after so many before: anywhere up to a bound that doubles ("full
    /// jitter", AWS Architecture Blog, 2015), but not before Vehicle's `Retry-After`. `random` is
    /// in 0..1.
    fn length(&self, earlier: u32, retry_after: Option<Duration>, random: f64) -> Duration {
        let bound = bound(self.pause, self.max_pause, earlier);
        bound.mul_f64(random).max(retry_after.unwrap_or_default())
    }

    /// Pays into the budget for a good call.
    pub(super) fn earn(&self) {
        self.budget(Budget::earn);
    }

    /// Waits until a call that failed may be made again, or returns its failure.
    ///
    /// A retry is for a single bad answer. After the pause it is sent only if Vehicle does not
    /// fail call after call; otherwise it looks once more after another pause.
    pub(super) async fn pause(
        &self,
        call: &Call,
        attempt: u32,
        failure: Failure,
    ) -> Result<(), Failure> {
        if failure.nature != Nature::Transient {
            return Err(failure);
        }
        self.budget(|budget, _| budget.failed());
        call.group.failed(failure);
        if attempt >= self.max_retries {
            return Err(failure);
        }
        let mut pause = self.pause_in_time(call, attempt, failure)?;
        let Some(taken) = Taken::from(self) else {
            call.log()
                .add(format_args!("no retry: the budget is empty"));
            return Err(failure);
        };
        let failed = Instant::now();
        for look in 1..=LOOKS {
            sleep(pause).await;
            if !self.budget(|budget, _| budget.in_outage(attempt + 1)) {
                taken.spend();
                call.log()
                    .add(format_args!("retry after a pause of {pause:?}"));
                return Ok(());
            }
            if look < LOOKS {
                pause = self.pause_in_time(call, attempt + look, failure)?;
            }
        }
        call.log()
            .add(format_args!("no retry: call after call fails"));
        Err(failure.told_after(failed.elapsed()))
    }

    /// Takes a retry out of the budget for a call that another token may mend, or returns its
    /// failure. There is no pause: Vehicle is well.
    pub(super) fn at_once(
        &self,
        call: &Call,
        attempt: u32,
        failure: Failure,
    ) -> Result<Taken<'_>, Failure> {
        call.group.failed(failure);
        let taken = (attempt < self.max_retries).then(|| Taken::from(self));
        let taken = taken.flatten().ok_or(failure)?;
        call.log().add(format_args!("retry with another token"));
        Ok(taken)
    }

    /// A pause after so many before, or the failure where it leaves no time for the call.
    fn pause_in_time(
        &self,
        call: &Call,
        earlier: u32,
        failure: Failure,
    ) -> Result<Duration, Failure> {
        let pause = self.length(earlier, failure.retry_after, self.rng.sample());
        if call.group.hold(Instant::now() + pause, failure) {
            return Ok(pause);
        }
        call.log()
            .add(format_args!("no retry: nobody has time for it"));
        Err(failure)
    }
}

/// Times that a retry looks whether it may go out.
const LOOKS: u32 = 2;

/// The upper end of a pause after so many before.
fn bound(pause: Duration, max_pause: Duration, earlier: u32) -> Duration {
    pause.saturating_mul(1 << earlier.min(16)).min(max_pause)
}

/// The upper ends of all pauses between the attempts of one call.
pub(super) fn longest_pauses(options: &Options) -> Duration {
    // More are refused; the sum is also made for settings that are, to tell all their faults.
    let retries = 0..options.max_retries.min(MOST_RETRIES);
    let earlier = retries.flat_map(|retry| (0..LOOKS).map(move |look| retry + look));
    let pauses = earlier.map(|it| bound(options.retry_pause, options.max_retry_pause, it));
    pauses.fold(Duration::ZERO, Duration::saturating_add)
}

/// A retry out of the budget; put back when it is dropped before it was made.
pub(super) struct Taken<'a> {
    retry: &'a Retry,
    spent: bool,
}

impl<'a> Taken<'a> {
    fn from(retry: &'a Retry) -> Option<Self> {
        let spent = false;
        retry.budget(Budget::spend).then(|| Self { retry, spent })
    }

    /// It was made.
    pub(super) fn spend(mut self) {
        self.spent = true;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.spent {
            self.retry.budget(|budget, _| budget.put_back());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry::metrics::{MeterProvider, noop::NoopMeterProvider};
    use tokio::time::Instant;

    use super::Retry;
    use crate::{
        BudgetOptions, Call, Failure, FailureKind, Options, observe::Instruments, rng::Rng,
        simulation,
    };

    const FAILURE: Failure = Failure::transient(FailureKind::ServerError);
    const EMPTY: BudgetOptions = BudgetOptions {
        retries_per_good_call: 0.0,
        retries_per_second: 0.0,
        max_saved: 1.0,
    };
    /// One for each second.
    const FULL: BudgetOptions = BudgetOptions {
        retries_per_second: 1.0,
        ..EMPTY
    };

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// With pauses of half their bounds.
    fn retry(retry_budget: BudgetOptions) -> Retry {
        let options = Options {
            max_retries: 1,
            retry_pause: millis(50),
            max_retry_pause: millis(250),
            retry_budget,
            ..simulation::options()
        };
        let instruments = Instruments::new(&NoopMeterProvider::new().meter("test"));
        Retry::new(&options, Rng::new(|| 0.5), instruments)
    }

    /// Whether a call that failed so is made again, by a caller with so many milliseconds, and
    /// after how many, and what the log says.
    async fn again(retry: &Retry, failure: Failure, time: u64) -> (bool, u64, String) {
        let start = Instant::now();
        let (call, _waiter) = Call::awaited(start + millis(time));
        let result = retry.pause(&call, 0, failure).await;
        assert!(result.is_ok() || result == Err(failure));
        let after = u64::try_from(start.elapsed().as_millis()).unwrap();
        (result.is_ok(), after, call.log().text())
    }

    async fn full() -> Retry {
        let retry = retry(FULL);
        tokio::time::advance(Duration::from_secs(1)).await;
        retry
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_waits_for_as_long_as_vehicle_asks_and_not_past_the_deadline() {
        let after = |seconds| FAILURE.with_retry_after(Some(Duration::from_secs(seconds)));
        let (sent, waited, _) = again(&full().await, after(7), 60_000).await;
        assert_eq!((sent, waited), (true, 7_000));
        let (sent, waited, log) = again(&full().await, after(60), 60_000).await;
        assert_eq!((sent, waited), (false, 0));
        assert!(log.contains("nobody has time"), "{log}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_time_the_budget_is_not_asked() {
        for (time, reason) in [(9, "nobody has time"), (10, "the budget is empty")] {
            let (sent, waited, log) = again(&retry(EMPTY), FAILURE, 25 + time).await;
            assert_eq!((sent, waited), (false, 0));
            assert!(log.contains(reason), "{log}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_failures_that_may_pass_are_tried_again() {
        for failure in [
            Failure::lasting(FailureKind::ServerError),
            Failure::refusal(FailureKind::Unauthorized),
        ] {
            let (sent, waited, _) = again(&full().await, failure, 60_000).await;
            assert_eq!((sent, waited), (false, 0));
        }
        let (sent, waited, _) = again(&full().await, FAILURE, 60_000).await;
        assert_eq!((sent, waited), (true, 25));
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_looks_twice_whether_vehicle_fails_call_after_call() {
        let retry = full().await;
        // Another call's, so that this one's is the second in a row.
        retry.budget(|budget, _| budget.failed());
        let (sent, waited, log) = again(&retry, FAILURE, 60_000).await;
        // 25 and then 50.
        assert_eq!((sent, waited), (false, 75));
        assert!(log.contains("call after call"), "{log}");
        assert!(retry.left() >= 1.0, "what was not sent is put back");
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_look_is_not_waited_for_by_those_who_have_time_for_the_first_only() {
        let retry = full().await;
        retry.budget(|budget, _| budget.failed());
        let (sent, waited, log) = again(&retry, FAILURE, 75 + 9).await;
        assert_eq!((sent, waited), (false, 25));
        assert!(log.contains("nobody has time"), "{log}");
    }

    #[test]
    fn pauses_spread_from_nothing_to_a_bound_that_doubles_up_to_a_cap() {
        let retry = retry(EMPTY);
        for (earlier, bound) in [(0, 50), (1, 100), (2, 200), (3, 250), (40, 250)] {
            assert_eq!(retry.length(earlier, None, 0.0), Duration::ZERO);
            assert_eq!(retry.length(earlier, None, 0.5), millis(bound) / 2);
        }
        assert_eq!(retry.length(0, Some(millis(900)), 0.5), millis(900));
    }
}
