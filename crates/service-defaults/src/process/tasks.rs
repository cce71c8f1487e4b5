//! What a process does beside requests.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::lifecycle::Shutdown;

/// Pause before a task that has ended is started again; doubles each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What becomes of a task that ends by itself, which it never should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnEnd {
    /// It is started again after a pause.
    Restart,
    /// The process stops and fails: it is of no use without the task.
    Stop,
}

/// The background tasks of a process. Clones share them.
///
/// They are stopped when no request is left, which may have begun something for them to do: first
/// they are told, and at the end of `server.shutdown_timeout` those that have not ended are dropped.
#[derive(Clone, Debug)]
pub struct Tasks {
    shutdown: Shutdown,
    told: CancellationToken,
    dropped: CancellationToken,
    tracker: TaskTracker,
    failed: Arc<OnceLock<&'static str>>,
}

impl Tasks {
    /// None yet.
    pub(crate) fn new(shutdown: Shutdown) -> Self {
        Self {
            shutdown,
            told: CancellationToken::new(),
            dropped: CancellationToken::new(),
            tracker: TaskTracker::new(),
            failed: Arc::default(),
        }
    }

    /// Runs a task from now on. The token that it is made with is cancelled when it has to end by
    /// itself.
    pub fn spawn<F>(
        &self,
        name: &'static str,
        on_end: OnEnd,
        make: impl FnMut(CancellationToken) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = self.clone();
        self.tracker.spawn(async move {
            let kept = tasks.keep(name, on_end, make);
            if tasks.dropped.run_until_cancelled(kept).await.is_none() {
                tracing::warn!(task = name, "a background task was cut at the stop");
            }
        });
    }

    async fn keep<F: Future<Output = ()>>(
        &self,
        name: &'static str,
        on_end: OnEnd,
        mut make: impl FnMut(CancellationToken) -> F,
    ) {
        let mut pause = FIRST_PAUSE;
        loop {
            let started = Instant::now();
            // What panics has said so itself.
            let _ = AssertUnwindSafe(make(self.told.clone()))
                .catch_unwind()
                .await;
            if self.told.is_cancelled() {
                return;
            }
            tracing::error!(task = name, "a background task has ended by itself");
            if on_end == OnEnd::Stop {
                // The first one is the cause.
                let _ = self.failed.set(name);
                self.shutdown.begin();
                return;
            }
            if started.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            if self.told.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Lets the tasks end, until then at most.
    pub(crate) async fn stop(&self, until: Instant) {
        self.tracker.close();
        self.told.cancel();
        if timeout_at(until, self.tracker.wait()).await.is_err() {
            self.dropped.cancel();
            self.tracker.wait().await;
        }
    }

    /// The task for whose end the process stopped.
    pub(crate) fn failed(&self) -> Option<&'static str> {
        self.failed.get().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
        time::Duration,
    };

    use tokio::time::{Instant, sleep};

    use super::{OnEnd, Tasks};
    use crate::lifecycle::Shutdown;

    fn tasks() -> Tasks {
        Tasks::new(Shutdown::default())
    }

    fn in_seconds(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_or_panics_is_started_again_after_growing_pauses() {
        let (tasks, runs) = (tasks(), Arc::new(AtomicUsize::new(0)));
        let counted = runs.clone();
        tasks.spawn("sample", OnEnd::Restart, move |_| {
            let run = counted.fetch_add(1, SeqCst);
            async move { assert!(run.is_multiple_of(2), "every second run panics") }
        });
        let mut seen = Vec::new();
        for pause in [1, 2, 4, 8] {
            sleep(Duration::from_millis(pause * 1_000 - 500)).await;
            seen.push(runs.load(SeqCst));
            sleep(Duration::from_millis(500)).await;
        }
        assert_eq!(seen, [1, 2, 3, 4]);
        assert!(!tasks.shutdown.is_draining());
        tasks.stop(Instant::now()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_without_which_the_process_is_of_no_use_stops_it() {
        let tasks = tasks();
        tasks.spawn("sample", OnEnd::Stop, |_| async {});
        tasks.shutdown.begun().await;
        assert_eq!(tasks.failed(), Some("sample"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_is_told_to_end_and_finishes_its_work() {
        let (tasks, done) = (tasks(), Arc::new(AtomicUsize::new(0)));
        let finished = done.clone();
        tasks.spawn("sample", OnEnd::Restart, move |told| {
            let finished = finished.clone();
            async move {
                told.cancelled().await;
                sleep(Duration::from_secs(3)).await;
                finished.fetch_add(1, SeqCst);
            }
        });
        let begun = Instant::now();
        tasks.stop(in_seconds(5)).await;
        assert_eq!((done.load(SeqCst), begun.elapsed().as_secs()), (1, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_is_dropped_at_the_end_of_the_stop() {
        let tasks = tasks();
        tasks.spawn("sample", OnEnd::Stop, |_| pending());
        let begun = Instant::now();
        tasks.stop(in_seconds(5)).await;
        assert_eq!(begun.elapsed().as_secs(), 5);
        assert_eq!(tasks.failed(), None);
    }
}
