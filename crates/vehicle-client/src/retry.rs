use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    Answer, Call, Failure, Options,
    step::{Inner, Step, ask},
};

/// Makes a call again that failed for a passing reason. All calls are reads, so all may be.
#[derive(Clone, Copy)]
pub(crate) struct Retry {
    max_retries: u32,
    pause: Duration,
    max_pause: Duration,
}

impl Retry {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            max_retries: options.max_retries,
            pause: options.retry_pause,
            max_pause: options.max_retry_pause,
        }
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
        loop {
            let failure = match ask(&inner, call.clone()).await {
                Err(failure) if failure.transient && call.attempt < self.max_retries => failure,
                result => return result,
            };
            let pause = self.pause(call.attempt, failure.retry_after, rand::random());
            if Instant::now() + pause >= call.context.deadline {
                return Err(failure);
            }
            sleep(pause).await;
            call.attempt += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    use contracts::Cause;
    use tokio::time::Instant;
    use tower::service_fn;

    use super::Retry;
    use crate::{Answer, Call, CallContext, Failure, Strategy, step::Step};

    /// Passes a call whose every attempt fails like this, with the deadline in this many seconds:
    /// the attempts and the seconds that went by.
    async fn fail(failure: Failure, deadline: u64) -> (u32, u64) {
        let (attempts, start) = (Arc::new(AtomicU32::new(0)), Instant::now());
        let made = attempts.clone();
        let vehicle = service_fn(move |_: Call| {
            made.fetch_add(1, Ordering::Relaxed);
            async move { Err::<Answer, _>(failure) }
        });
        let call = Call {
            numbers: Arc::from(["ABC123".parse().unwrap()]),
            strategy: Strategy::Single,
            context: CallContext {
                deadline: start + Duration::from_secs(deadline),
                request_id: "".into(),
                traceparent: "".into(),
            },
            attempt: 0,
        };
        let retry = Retry {
            max_retries: 1,
            pause: Duration::from_millis(1),
            max_pause: Duration::from_millis(1),
        };
        assert_eq!(retry.pass(call, vehicle).await, Err(failure));
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

    #[tokio::test(start_paused = true)]
    async fn a_lasting_failure_is_not_tried_again() {
        let violation = Failure::lasting(Cause::ContractViolation);
        assert_eq!(fail(violation, 60).await, (1, 0));
    }

    #[test]
    fn pauses_spread_from_nothing_to_a_bound_that_doubles_up_to_a_cap() {
        let millis = Duration::from_millis;
        let retry = Retry {
            max_retries: 9,
            pause: millis(50),
            max_pause: millis(250),
        };
        for (number, bound) in [(0, 50), (1, 100), (2, 200), (3, 250), (40, 250)] {
            assert_eq!(retry.pause(number, None, 0.0), Duration::ZERO);
            assert_eq!(retry.pause(number, None, 0.5), millis(bound) / 2);
        }
        assert_eq!(retry.pause(0, Some(millis(900)), 0.5), millis(900));
    }
}
