use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// The calls in flight, of which it knows at any time how many have become slow.
#[derive(Debug)]
pub(super) struct InFlight {
    slow_after: Duration,
    /// Calls that are not slow yet, by their start. An ended one stays, marked, until it comes to
    /// the front.
    young: VecDeque<(Instant, bool)>,
    /// Number of the call at the front of `young`: every smaller one is slow or has ended.
    front: u64,
    pub(super) slow: u64,
}

impl InFlight {
    pub(super) fn new(slow_after: Duration) -> Self {
        Self {
            slow_after,
            young: VecDeque::new(),
            front: 0,
            slow: 0,
        }
    }

    pub(super) fn begin(&mut self, now: Instant) -> u64 {
        self.young.push_back((now, true));
        self.front + self.young.len() as u64 - 1
    }

    pub(super) fn end(&mut self, number: u64, now: Instant) {
        self.roll(now);
        match number.checked_sub(self.front) {
            None => self.slow = self.slow.saturating_sub(1),
            Some(index) => {
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                if let Some((_, alive)) = self.young.get_mut(index) {
                    *alive = false;
                }
            }
        }
    }

    pub(super) fn roll(&mut self, now: Instant) {
        while let Some((started, alive)) = self.young.front().copied() {
            let slow = now.saturating_duration_since(started) >= self.slow_after;
            if alive && !slow {
                break;
            }
            self.young.pop_front();
            self.front += 1;
            self.slow += u64::from(alive);
        }
    }
}
