use std::time::Duration;

use tokio::time::Instant;

/// Steps in which the window rolls on. Memory and cost per call depend on this number alone.
const BUCKETS: u64 = 20;
const SLOTS: usize = 20;

/// What the calls of a stretch of time came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) failures: u64,
    pub(super) slow: u64,
}

/// Counts over a rolling window of time, in O(1) a call: a ring of buckets with a running total.
#[derive(Clone, Debug)]
pub(super) struct Window {
    buckets: [Counts; SLOTS],
    total: Counts,
    start: Instant,
    width: Duration,
    /// Number of the newest bucket since `start`.
    newest: u64,
}

impl Window {
    pub(super) fn new(length: Duration, now: Instant) -> Self {
        let width = (length / u32::try_from(BUCKETS).unwrap_or(1)).max(Duration::from_nanos(1));
        let buckets = [Counts::default(); SLOTS];
        Self {
            buckets,
            total: Counts::default(),
            start: now,
            width,
            newest: 0,
        }
    }

    /// Forgets what has left the window by now.
    pub(super) fn roll(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.start).as_nanos();
        let newest = u64::try_from(age / self.width.as_nanos()).unwrap_or(u64::MAX);
        let steps = newest.saturating_sub(self.newest).min(BUCKETS);
        for step in 1..=steps {
            let left = std::mem::take(&mut self.buckets[slot(self.newest + step)]);
            self.total.calls -= left.calls;
            self.total.failures -= left.failures;
            self.total.slow -= left.slow;
        }
        self.newest = self.newest.max(newest);
    }

    pub(super) fn record(&mut self, failed: bool, slow: bool) {
        for counts in [&mut self.buckets[slot(self.newest)], &mut self.total] {
            counts.calls += 1;
            counts.failures += u64::from(failed);
            counts.slow += u64::from(slow);
        }
    }

    pub(super) fn total(&self) -> Counts {
        self.total
    }
}

fn slot(bucket: u64) -> usize {
    usize::try_from(bucket % BUCKETS).unwrap_or_default()
}
