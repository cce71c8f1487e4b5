//! The guard around Vehicle: every protection once, in one order.

mod admission;
mod attempt;
mod breaker;
mod budget;
mod bulkhead;
mod retry;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

pub use admission::{Isolated, IsolationOrder};
pub(crate) use breaker::JITTER;
pub use breaker::{BreakerState, Phase};
pub use bulkhead::CallsState;

pub(crate) use admission::Admission;
use attempt::Attempts;
use bulkhead::Bulkheads;
use retry::{Retry, Taken, longest_pauses};

use crate::{
    Answer, Call, Failure, FailureKind, Options,
    failure::{Nature, NotSent},
    observe::{FailureLog, Instruments},
    rng::Rng,
    wire::Transport,
};

/// What the guard is doing.
pub(crate) struct State {
    pub(crate) admission: admission::State,
    pub(crate) retries_left: f64,
    pub(crate) single: CallsState,
    pub(crate) batch: CallsState,
}

/// The guard of one process. Clones are the same guard, so that there is one cap however many
/// inbound requests there are.
///
/// What saves calls (deadline, cache, single-flight, batch) stands before it, in
/// [`lookup`](crate::lookup). All of it, outermost first:
///
/// 1. *Retry* with its *budget*: above the bulkhead, so that no permit is held through a pause.
/// 2. *Admission*, asked before the queue: *kill switch*, *isolation*, *Retry-After*, *circuit
///    breaker*. Nobody waits for a permit to be refused; what waits for a `Retry-After` waits
///    without a permit and outside the queue.
/// 3. *Token*, where Vehicle knows us by one: fetched without a permit. Without it nothing is sent.
///    A call whose token was refused is made once more with a new one, out of the retry budget.
/// 4. *Bulkhead*: the process-wide cap and its queue, bounded in time and length. A permit is held
///    for one attempt.
/// 5. *Waiters*, for the last time: a call for which nobody has time is not sent. From here on it
///    is the guard's and ends by itself.
/// 6. *Admission*, entered with the permit: nothing that was queued is sent after it has closed.
///    It learns from each attempt that is sent, and from no other.
/// 7. *Attempt*: time limit, span and metrics, around transport and *contract check*.
#[derive(Clone)]
pub(crate) struct Guard(Arc<Layers>);

struct Layers {
    retry: Retry,
    admission: Admission,
    bulkheads: Bulkheads,
    attempts: Attempts,
}

impl Guard {
    pub(crate) fn new(
        transport: impl Transport,
        options: &Options,
        rng: &Rng,
        instruments: &Instruments,
    ) -> Self {
        let failures = FailureLog::default();
        Self(Arc::new(Layers {
            retry: Retry::new(options, rng.clone(), instruments.clone()),
            admission: Admission::new(options, rng.clone(), instruments.clone()),
            bulkheads: Bulkheads::new(options, instruments.clone(), failures.clone()),
            attempts: Attempts::new(transport, options, instruments.clone(), failures),
        }))
    }

    /// Makes a call, and makes it again where that may help.
    pub(crate) async fn call(&self, call: &Arc<Call>) -> Result<Answer, Failure> {
        let Layers { retry, .. } = &*self.0;
        let (mut attempt, mut last) = (0, None);
        // For the one attempt with another token: put back where that is not sent.
        let (mut renewed, mut taken) = (false, None::<Taken<'_>>);
        loop {
            let made = self.attempt(call, attempt).await;
            if made.is_ok()
                && let Some(taken) = taken.take()
            {
                taken.spend();
            }
            let failure = match made {
                Ok(Ok(answer)) => {
                    retry.earn();
                    return Ok(answer);
                }
                Ok(Err(failure)) => failure,
                // What kept the retry from being sent is not why there is no answer, and says
                // when another call makes sense.
                Err(NotSent(refusal)) => {
                    return Err(last.map_or(refusal, |last| {
                        let failure = told_now(last);
                        failure.with_retry_after(failure.retry_after.max(refusal.retry_after))
                    }));
                }
            };
            let failed = (failure, Instant::now());
            if failure.nature == Nature::Renewal && !renewed {
                (renewed, taken) = (true, Some(retry.at_once(call, attempt, failure)?));
            } else {
                retry.pause(call, attempt, failure).await?;
            }
            (attempt, last) = (attempt + 1, Some(failed));
        }
    }

    /// Makes one attempt, when the admission and the bulkhead let it through.
    async fn attempt(
        &self,
        call: &Arc<Call>,
        attempt: u32,
    ) -> Result<Result<Answer, Failure>, NotSent> {
        let Layers {
            retry,
            admission,
            bulkheads,
            attempts,
        } = &*self.0;
        loop {
            admission.ready(call).await?;
            let token = attempts.token(call).await?;
            let _permit = bulkheads.enter(call).await?;
            let Some(mut in_flight) = call.group.begin_attempt() else {
                // What has stopped calls since it was queued comes first: an operator who isolates
                // Vehicle is not to look for slow calls.
                return Err(admission.refusal(call).unwrap_or_else(|| {
                    call.log().add(format_args!("nobody has time for a call"));
                    NotSent::because(FailureKind::Timeout)
                }));
            };
            let Some(admitted) = admission.enter(call)? else {
                continue;
            };
            in_flight.sent();
            let numbers = in_flight.numbers.clone();
            let result = attempts.make(call, numbers, attempt, retry, token).await;
            admitted.ended(&result);
            return Ok(result);
        }
    }

    /// Kill switch, isolation, breaker and `Retry-After`.
    pub(crate) fn admission(&self) -> &Admission {
        &self.0.admission
    }

    /// What the guard is doing.
    pub(crate) fn state(&self) -> State {
        let admission = self.0.admission.state();
        let (single, batch) = self.0.bulkheads.state();
        State {
            admission,
            retries_left: self.0.retry.left(),
            single,
            batch,
        }
    }
}

/// The longest that a call takes, all attempts, their turns and the pauses between them, where
/// Vehicle names no `Retry-After`; and the part of it that is pauses.
pub(crate) fn longest_call(options: &Options) -> (Duration, Duration) {
    let (attempts, pauses) = (1 + options.max_retries, longest_pauses(options));
    let turn = options
        .queue_wait
        .saturating_add(options.longest_wait_for_token());
    let turns = turn.saturating_mul(attempts);
    let call = options.longest_attempts().saturating_add(turns);
    (call.saturating_add(pauses), pauses)
}

/// A failure, of which some time may be over since it came.
fn told_now((failure, came): (Failure, Instant)) -> Failure {
    failure.told_after(came.elapsed())
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use opentelemetry::metrics::{MeterProvider, noop::NoopMeterProvider};
    use tokio::time::{Instant, advance};

    use super::{Guard, IsolationOrder};
    use crate::{
        Answer, Attempt, BudgetOptions, Call, Failure, FailureKind, Options, observe::Instruments,
        rng::Rng, simulation, wire::Transport,
    };

    const FAILURE: Failure = Failure::transient(FailureKind::ServerError);

    /// With a retry, for which the budget has enough after a second.
    fn guard(transport: impl Transport) -> Guard {
        let options = Options {
            max_retries: 1,
            retry_budget: BudgetOptions {
                retries_per_good_call: 0.0,
                retries_per_second: 1.0,
                max_saved: 1.0,
            },
            ..simulation::options()
        };
        let instruments = Instruments::new(&NoopMeterProvider::new().meter("test"));
        Guard::new(transport, &options, &Rng::default(), &instruments)
    }

    fn order() -> IsolationOrder {
        IsolationOrder {
            reason: "a test".into(),
            owner: "a test".into(),
            key_id: "a test".into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_that_is_isolated_tells_the_failure_and_the_end_of_the_isolation() {
        let guard = guard(|_: Attempt| async { Err::<Answer, _>(FAILURE) });
        advance(Duration::from_secs(1)).await;
        let (call, _waiter) = Call::awaited(Instant::now() + Duration::from_secs(9));
        let isolate = async {
            tokio::task::yield_now().await;
            let hour = Duration::from_hours(1);
            guard.admission().isolate(order(), hour);
            Instant::now() + hour
        };
        let (result, end) = tokio::join!(guard.call(&call), isolate);
        let left = end - Instant::now();
        assert_eq!(result, Err(FAILURE.with_retry_after(Some(left))));
    }

    #[tokio::test(start_paused = true)]
    async fn an_isolation_that_began_in_the_queue_is_told_before_that_nobody_has_time() {
        let options = Options {
            max_degree_of_parallelism_single: 1,
            queue_length: 1,
            queue_wait: Duration::from_secs(1),
            attempt_timeout: Duration::from_millis(100),
            max_retries: 0,
            ..simulation::options()
        };
        let instruments = Instruments::new(&NoopMeterProvider::new().meter("test"));
        let hanging = |_: Attempt| std::future::pending::<Result<Answer, Failure>>();
        let guard = Guard::new(hanging, &options, &Rng::default(), &instruments);
        let (first, _waiter) = Call::awaited(Instant::now() + Duration::from_secs(1));
        // Too little time is left when the first one's place is free.
        let (queued, _waiter) = Call::awaited(Instant::now() + Duration::from_millis(105));
        let isolate = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            guard.admission().isolate(order(), Duration::from_hours(1));
        };
        let (_, told, ()) = tokio::join!(guard.call(&first), guard.call(&queued), isolate);
        assert_eq!(told.unwrap_err().kind, FailureKind::Isolated);
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_that_is_not_sent_hides_no_failure() {
        let (is_on, attempts) = (
            Arc::new(AtomicBool::new(true)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (switch, made) = (is_on.clone(), attempts.clone());
        let guard = guard(move |_: Attempt| {
            made.fetch_add(1, Ordering::SeqCst);
            switch.store(false, Ordering::SeqCst);
            async { Err::<Answer, _>(FAILURE.with_retry_after(Some(Duration::from_secs(1)))) }
        });
        guard
            .admission()
            .ask_whether_on(move || is_on.load(Ordering::SeqCst));
        advance(Duration::from_secs(1)).await;
        let later = || Instant::now() + Duration::from_secs(9);
        let (call, _waiter) = Call::awaited(later());
        // The pause took what Vehicle had asked for.
        assert_eq!(guard.call(&call).await, Err(FAILURE));
        let log = call.log().text();
        assert!(log.contains("retry after a pause"), "{log}");
        // What was never sent says so.
        let (call, _waiter) = Call::awaited(later());
        let switched_off = Failure::lasting(FailureKind::SwitchedOff);
        assert_eq!(guard.call(&call).await, Err(switched_off));
        assert_eq!(attempts.load(Ordering::SeqCst), 1);
    }
}
