use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout},
};

use crate::{
    Call, FailureKind, Options, Strategy,
    failure::NotSent,
    observe::{FailureLog, Instruments},
};

/// How many calls of a kind there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallsState {
    /// Calls that hold their permit.
    pub in_flight: usize,
    /// Calls that wait for one.
    pub waiting: usize,
    /// Permits.
    pub maximum: usize,
}

/// Bounds the calls in flight in the whole process, and the calls that wait for their turn:
/// first in time, because a slow Vehicle must not build a queue that a fast one would drain, then
/// in number.
pub(super) struct Bulkheads {
    single: Arc<Bulkhead>,
    batch: Arc<Bulkhead>,
    wait: Duration,
    instruments: Instruments,
    failures: FailureLog,
}

struct Bulkhead {
    permits: Semaphore,
    queue: Semaphore,
    maximum: usize,
    queue_length: usize,
}

impl Bulkhead {
    fn new(maximum: usize, queue_length: usize) -> Self {
        Self {
            permits: Semaphore::new(maximum),
            queue: Semaphore::new(queue_length),
            maximum,
            queue_length,
        }
    }

    fn state(&self) -> CallsState {
        CallsState {
            in_flight: self.maximum - self.permits.available_permits(),
            waiting: self.queue_length - self.queue.available_permits(),
            maximum: self.maximum,
        }
    }

    /// First in, first out: while anybody queues there is no permit to be had at once, because
    /// the semaphore hands each that comes back to the first in the queue.
    async fn enter(&self, wait: Duration) -> Option<SemaphorePermit<'_>> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Some(permit);
        }
        let _place = self.queue.try_acquire().ok()?;
        timeout(wait, self.permits.acquire()).await.ok()?.ok()
    }
}

impl Bulkheads {
    pub(super) fn new(options: &Options, instruments: Instruments, failures: FailureLog) -> Self {
        let of = |strategy, maximum| {
            let bulkhead = Arc::new(Bulkhead::new(maximum, options.queue_length));
            let shown = bulkhead.clone();
            instruments.show_calls(strategy, move || {
                let state = shown.state();
                (state.in_flight, state.waiting)
            });
            bulkhead
        };
        let single = of(Strategy::Single, options.max_degree_of_parallelism_single);
        let batch = of(Strategy::Batch, options.max_degree_of_parallelism_batch);
        Self {
            single,
            batch,
            wait: options.queue_wait,
            instruments,
            failures,
        }
    }

    /// Single and batch calls.
    pub(super) fn state(&self) -> (CallsState, CallsState) {
        (self.single.state(), self.batch.state())
    }

    /// Waits for a permit; it is held until it is dropped.
    pub(super) async fn enter(&self, call: &Call) -> Result<SemaphorePermit<'_>, NotSent> {
        let bulkhead = match call.strategy {
            Strategy::Single => &self.single,
            Strategy::Batch => &self.batch,
        };
        let queued = Instant::now();
        let mut waiting = self.instruments.waiting(call.strategy, queued);
        let permit = bulkhead.enter(self.wait).await;
        waiting.result = if permit.is_some() { "admitted" } else { "shed" };
        drop(waiting);
        let step = if permit.is_some() {
            "has a place"
        } else {
            "no place"
        };
        call.log().add(format_args!("{step}"));
        permit.ok_or_else(|| {
            let refused = NotSent::because(FailureKind::Overloaded);
            self.failures.log(&refused.0, call, queued);
            refused
        })
    }
}
