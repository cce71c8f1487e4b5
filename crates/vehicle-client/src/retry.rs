use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    Answer, Call, Failure, Options,
    budget::Budget,
    chance::Chance,
    failure::Nature,
    instruments::Instruments,
    step::{Inner, Step, ask},
    waiters::Waiters,
};

/// What the budget has for an attempt after which no retry comes into question.
pub(crate) const UNUSED: &str = "unused";

/// Makes a call again that failed for a passing reason, as long as the budget has a retry for it.
/// All calls are reads, so all may be made again.
#[derive(Clone)]
pub(crate) struct Retry {
    max_retries: u32,
    pause: Duration,
    max_pause: Duration,
    budget: Arc<Mutex<Budget>>,
    chance: Chance,
    instruments: Instruments,
}

impl Retry {
    pub(crate) fn new(options: &Options, chance: Chance, instruments: Instruments) -> Self {
        Self {
            max_retries: options.max_retries,
            pause: options.retry_pause,
            max_pause: options.max_retry_pause,
            budget: Arc::new(Mutex::new(Budget::new(
                options.retry_budget,
                Instant::now(),
            ))),
            chance,
            instruments,
        }
    }

    /// Retries that could be made at once.
    pub(crate) fn left(&self) -> f64 {
        self.budget(Budget::left)
    }

    /// What the budget has for an attempt that ended so, as a metric label: whether a retry is
    /// `left` or it is `empty` where one comes into question, `unused` where none does.
    pub(crate) fn label(
        &self,
        attempt: u32,
        waiters: &Waiters,
        result: &Result<Answer, Failure>,
    ) -> &'static str {
        match result {
            Err(failure)
                if failure.nature == Nature::Transient
                    && attempt < self.max_retries
                    && waiters.any() =>
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

    /// The pause before the retry of this number (0 = the first): anywhere up to a bound that
    /// doubles ("full jitter", AWS Architecture Blog, 2015), but not before Vehicle's
    /// `Retry-After`. `random` is in 0..1.
    fn pause(&self, retry: u32, retry_after: Option<Duration>, random: f64) -> Duration {
        let bound = self
            .pause
            .saturating_mul(1 << retry.min(16))
            .min(self.max_pause);
        bound.mul_f64(random).max(retry_after.unwrap_or_default())
    }
}

impl Step for Retry {
    async fn pass(self, mut call: Call, inner: impl Inner) -> Result<Answer, Failure> {
        let mut earlier = None;
        loop {
            let failure = match ask(&inner, call.clone()).await {
                Err(failure) if failure.nature == Nature::Transient => failure,
                // What kept the retry from going out is not why there is no answer.
                Err(failure) if failure.never_went_out() => return Err(earlier.unwrap_or(failure)),
                Ok(answer) => {
                    self.budget(Budget::earn);
                    return Ok(answer);
                }
                result => return result,
            };
            self.budget(|budget, _| budget.failed());
            call.waiters.failed(failure);
            if call.attempt >= self.max_retries {
                return Err(failure);
            }
            self.wait(&call, failure).await?;
            call.attempt += 1;
            earlier = Some(failure);
        }
    }
}

impl Retry {
    /// Waits until the call may be made again, or gives it up.
    ///
    /// A retry is for a single bad answer. After the pause it goes out only if Vehicle does not
    /// fail call after call; otherwise it looks once more after another pause.
    async fn wait(&self, call: &Call, failure: Failure) -> Result<(), Failure> {
        let mut pause = self.pause_in_time(call, failure, 0)?;
        let Some(mut taken) = Taken::from(self) else {
            call.trail
                .note(format_args!("no retry: the budget is empty"));
            return Err(failure);
        };
        for look in 1..=LOOKS {
            sleep(pause).await;
            let own = call.attempt + 1;
            if !self.budget(|budget, _| budget.in_outage(own)) {
                taken.spent = true;
                call.trail
                    .note(format_args!("retry after a pause of {pause:?}"));
                return Ok(());
            }
            if look < LOOKS {
                pause = self.pause_in_time(call, failure, look)?;
            }
        }
        call.trail
            .note(format_args!("no retry: call after call fails"));
        Err(failure)
    }

    /// The pause before this look of the call's next retry, or the failure where it leaves no time
    /// for the call.
    fn pause_in_time(&self, call: &Call, failure: Failure, look: u32) -> Result<Duration, Failure> {
        let pause = self.pause(call.attempt + look, failure.retry_after, self.chance.draw());
        if call.waiters.hold(Instant::now() + pause, failure) {
            return Ok(pause);
        }
        call.trail
            .note(format_args!("no retry: nobody has time for it"));
        Err(failure)
    }
}

/// Times that a retry looks whether it may go out.
const LOOKS: u32 = 2;

/// A retry out of the budget; put back when it is dropped before it was made.
struct Taken<'a> {
    retry: &'a Retry,
    spent: bool,
}

impl<'a> Taken<'a> {
    fn from(retry: &'a Retry) -> Option<Self> {
        let spent = false;
        retry.budget(Budget::spend).then(|| Self { retry, spent })
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
    use std::{
        sync::{
            Arc, Mutex,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    use contracts::Cause;
    use futures_util::FutureExt;
    use opentelemetry::metrics::{MeterProvider, noop::NoopMeterProvider};
    use tokio::time::Instant;
    use tower::service_fn;

    use super::Retry;
    use crate::{
        Answer, BudgetOptions, Call, Failure, budget::Budget, chance::Chance,
        instruments::Instruments, step::Step,
    };

    /// With a budget that is never used up.
    fn retry(max_retries: u32, pause: Duration, max_pause: Duration) -> Retry {
        let plenty = BudgetOptions {
            retries_per_good_call: 1.0,
            retries_per_second: f64::MAX,
            max_saved: 1e9,
        };
        let earlier = Instant::now() - Duration::from_secs(1);
        Retry {
            max_retries,
            pause,
            max_pause,
            budget: Arc::new(Mutex::new(Budget::new(plenty, earlier))),
            chance: Chance::default(),
            instruments: Instruments::new(&NoopMeterProvider::new().meter("test")),
        }
    }

    /// Passes a call whose every attempt fails like this, with the deadline in this many seconds:
    /// the attempts and the seconds that went by.
    async fn fail(failure: Failure, deadline: u64) -> (u32, u64) {
        let (attempts, start) = (Arc::new(AtomicU32::new(0)), Instant::now());
        let made = attempts.clone();
        let vehicle = service_fn(move |_: Call| {
            made.fetch_add(1, Ordering::Relaxed);
            async move { Err::<Answer, _>(failure) }
        });
        let (call, _waiter) = Call::awaited(start + Duration::from_secs(deadline));
        let retry = retry(1, Duration::from_millis(1), Duration::from_millis(1));
        let failed = retry.pass(call, vehicle).await.unwrap_err();
        assert_eq!(failed.cause, failure.cause);
        (attempts.load(Ordering::Relaxed), start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn the_retry_waits_for_as_long_as_vehicle_asks_and_not_past_the_deadline() {
        let after = |seconds| {
            Failure::transient(Cause::RateLimited)
                .with_retry_after(Some(Duration::from_secs(seconds)))
        };
        assert_eq!(fail(after(7), 60).await, (2, 7));
        assert_eq!(fail(after(60), 60).await, (1, 0));
    }

    #[test]
    fn without_time_the_budget_is_not_asked() {
        let mut retry = retry(1, Duration::ZERO, Duration::ZERO);
        let nothing = BudgetOptions {
            retries_per_good_call: 0.0,
            retries_per_second: 0.0,
            max_saved: 1.0,
        };
        retry.budget = Arc::new(Mutex::new(Budget::new(nothing, Instant::now())));
        let failure = Failure::transient(Cause::ServerError);
        let told = |after| {
            let vehicle = service_fn(move |_: Call| async move { Err::<Answer, _>(failure) });
            let (call, _waiter) = Call::awaited(Instant::now() + after);
            let trail = call.trail.clone();
            let passed = retry.clone().pass(call, vehicle).now_or_never();
            assert_eq!(passed.unwrap().unwrap_err(), failure);
            trail.steps_so_far()
        };
        assert!(told(Duration::from_millis(9)).contains("nobody has time"));
        assert!(told(Duration::from_secs(1)).contains("the budget is empty"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_that_never_goes_out_hides_no_failure() {
        let failed = Failure::transient(Cause::ServerError);
        for kept_back in [Cause::BreakerOpen, Cause::Overloaded, Cause::Timeout] {
            let vehicle = service_fn(move |call: Call| async move {
                Err::<Answer, _>(match call.attempt {
                    0 => failed,
                    _ => Failure::lasting(kept_back),
                })
            });
            let (call, _waiter) = Call::awaited(Instant::now() + Duration::from_secs(9));
            let retry = retry(1, Duration::from_millis(1), Duration::from_millis(1));
            assert_eq!(retry.pass(call, vehicle).await, Err(failed));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lasting_failure_is_not_tried_again() {
        let violation = Failure::lasting(Cause::ContractViolation);
        assert_eq!(fail(violation, 60).await, (1, 0));
    }

    #[test]
    fn pauses_spread_from_nothing_to_a_bound_that_doubles_up_to_a_cap() {
        let millis = Duration::from_millis;
        let retry = retry(9, millis(50), millis(250));
        for (number, bound) in [(0, 50), (1, 100), (2, 200), (3, 250), (40, 250)] {
            assert_eq!(retry.pause(number, None, 0.0), Duration::ZERO);
            assert_eq!(retry.pause(number, None, 0.5), millis(bound) / 2);
        }
        assert_eq!(retry.pause(0, Some(millis(900)), 0.5), millis(900));
    }
}
