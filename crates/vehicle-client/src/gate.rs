//! The `Retry-After` gate: when Vehicle says when to come back, nobody comes earlier.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use contracts::Cause;
use tokio::time::{Instant, sleep_until};

use crate::{
    Answer, Call, Failure,
    failure::Nature,
    step::{Inner, Step, ask},
};

/// When the next call may go out, as a pure state machine: time comes from outside.
#[derive(Debug, Default)]
struct Gate {
    closed: Option<(Instant, Cause)>,
}

impl Gate {
    /// Keeps calls back for this long; never opens earlier than it was told before.
    fn close(&mut self, cause: Cause, now: Instant, pause: Duration) {
        let until = now + pause;
        if self.closed.is_none_or(|(other, _)| other < until) {
            self.closed = Some((until, cause));
        }
    }

    /// Until when calls are kept back, and why; nothing once that is past.
    fn closed(&mut self, now: Instant) -> Option<(Instant, Cause)> {
        self.closed = self.closed.filter(|(until, _)| now < *until);
        self.closed
    }
}

/// The half above the bulkhead: waits without a permit while the gate is closed, or fails at once
/// when it does not open in time.
#[derive(Clone, Default)]
pub(crate) struct RetryAfter(Arc<Mutex<Gate>>);

/// The half below the bulkhead: keeps back what was let through above before the gate closed, and
/// closes it when an answer says so.
#[derive(Clone)]
pub(crate) struct RetryAfterCheck(RetryAfter);

impl RetryAfter {
    pub(crate) fn check(&self) -> RetryAfterCheck {
        RetryAfterCheck(self.clone())
    }

    /// How long nobody may call, if Vehicle asked for it.
    pub(crate) fn closed_for(&self) -> Option<Duration> {
        let now = Instant::now();
        self.gate().closed(now).map(|(until, _)| until - now)
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Step for RetryAfter {
    async fn pass(self, call: Call, inner: impl Inner) -> Result<Answer, Failure> {
        loop {
            let now = Instant::now();
            let closed = self.gate().closed(now);
            if let Some((until, cause)) = closed {
                let refusal = Failure::lasting(cause).with_retry_after(Some(until - now));
                if !call.waiters.hold(until, refusal) {
                    call.trail
                        .note(format_args!("Retry-After leaves no time for the call"));
                    return Err(refusal);
                }
                call.trail
                    .note(format_args!("waits {:?} for Retry-After", until - now));
                sleep_until(until).await;
            }
            match ask(&inner, call.clone()).await {
                Err(failure) if failure.nature == Nature::KeptBack => {}
                result => return result,
            }
        }
    }
}

impl Step for RetryAfterCheck {
    async fn pass(self, call: Call, inner: impl Inner) -> Result<Answer, Failure> {
        let Self(gate) = self;
        if let Some((_, cause)) = gate.gate().closed(Instant::now()) {
            call.trail
                .note(format_args!("kept back: Retry-After came meanwhile"));
            return Err(Failure::new(cause, Nature::KeptBack));
        }
        let result = ask(&inner, call).await;
        // Only Vehicle closes the gate. The layers below that keep calls back say for themselves
        // when they let them through again, and an isolation may end before it said.
        if let Err(Failure {
            cause,
            retry_after: Some(pause),
            ..
        }) = &result
            && *cause != Cause::BreakerOpen
        {
            gate.gate().close(*cause, Instant::now(), *pause);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use contracts::Cause;
    use tokio::time::Instant;
    use tower::service_fn;

    use super::{Gate, RetryAfter};
    use crate::{Answer, Call, Failure, step::Step};

    #[test]
    fn it_opens_at_the_latest_time_that_was_named() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(gate.closed(now), None);
        gate.close(Cause::RateLimited, now, Duration::from_secs(5));
        gate.close(Cause::ServerError, now, Duration::from_secs(2));
        assert_eq!(gate.closed(after(4)), Some((after(5), Cause::RateLimited)));
        gate.close(Cause::ServerError, after(4), Duration::from_secs(2));
        assert_eq!(gate.closed(after(5)), Some((after(6), Cause::ServerError)));
        assert_eq!(gate.closed(after(6)), None);
        // A clock that steps back does not close it again.
        assert_eq!(gate.closed(after(5)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_waits_no_longer_and_no_shorter_than_it_must() {
        let start = Instant::now();
        let gate = RetryAfter::default();
        gate.gate()
            .close(Cause::RateLimited, start, Duration::from_secs(7));
        let vehicle = service_fn(|_: Call| async { Ok::<_, Failure>(Answer::new()) });
        let call = |millis| Call::awaited(start + Duration::from_millis(millis));
        let (hurried, _waiter) = call(7_009);
        let refused = gate.clone().pass(hurried, vehicle).await.unwrap_err();
        assert_eq!(refused.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(start.elapsed(), Duration::ZERO);
        let (patient, _waiter) = call(7_010);
        assert!(gate.pass(patient, vehicle).await.is_ok());
        assert_eq!(start.elapsed().as_secs(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_was_let_through_before_the_gate_closed_is_kept_back_until_it_opens() {
        let (start, gate) = (Instant::now(), RetryAfter::default());
        let vehicle = service_fn(|_: Call| async { Ok::<_, Failure>(Answer::new()) });
        let queue = service_fn({
            let gate = gate.clone();
            move |call: Call| {
                let gate = gate.clone();
                async move {
                    if start.elapsed().is_zero() {
                        // Told to another call while this one waits for its turn.
                        let pause = Duration::from_secs(7);
                        gate.gate().close(Cause::RateLimited, start, pause);
                    }
                    gate.check().pass(call, vehicle).await
                }
            }
        });
        let (call, _waiter) = Call::awaited(start + Duration::from_mins(1));
        assert!(gate.pass(call, queue).await.is_ok());
        assert_eq!(start.elapsed().as_secs(), 7);
    }
}
