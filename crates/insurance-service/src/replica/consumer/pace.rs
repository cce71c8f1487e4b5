//! How long the consumer rests after a turn.

use std::time::Duration;

use tokio::time::Instant;

use super::{Turn, TurnError};

/// Between two questions at the end of the log. Events of the meantime share a page.
pub(super) const BETWEEN_PAGES: Duration = Duration::from_millis(100);
/// Between two looks of one that has nothing to do.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// After a failure; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Between two copies that were begun because the log was another one: shorter than a lease. Two
/// Vehicles behind one address, each with a log of its own, are not copied in turns without a rest.
const LONGEST_BETWEEN_LOGS: Duration = Duration::from_secs(10);
/// After this long with one log, the next one is the first again.
const SAME_LOG: Duration = Duration::from_mins(10);

/// What has gone wrong of late.
pub(super) struct Pace {
    /// Failures in a row.
    failures: u32,
    /// Logs that were lost, each soon after the one before.
    logs: u32,
    lost: Instant,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            failures: 0,
            logs: 0,
            lost: Instant::now(),
        }
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// How long to rest after this turn.
    pub(super) fn after(&mut self, turn: &Result<Turn, TurnError>) -> Duration {
        self.failures = match turn {
            Ok(Turn::Resting) => self.failures,
            Ok(_) => 0,
            Err(_) => self.failures.saturating_add(1),
        };
        match turn {
            Ok(Turn::Leased | Turn::Paused | Turn::Resting) => BETWEEN_LOOKS,
            Ok(Turn::Followed { at_the_end, .. }) if *at_the_end => BETWEEN_PAGES,
            Ok(Turn::Lost) => {
                if self.lost.elapsed() > SAME_LOG {
                    self.logs = 0;
                }
                self.logs = self.logs.saturating_add(1);
                self.lost = Instant::now();
                doubled(self.logs).min(LONGEST_BETWEEN_LOGS)
            }
            Ok(_) => Duration::ZERO,
            Err(_) => doubled(self.failures).min(LONGEST_PAUSE),
        }
    }
}

/// How long something that fails again and again is left alone.
pub(super) struct Rest {
    /// In a row.
    failures: u32,
    until: Instant,
}

impl Rest {
    /// Of something that has not failed.
    pub(super) fn new() -> Self {
        Self {
            failures: 0,
            until: Instant::now(),
        }
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    pub(super) fn is_over(&self) -> bool {
        self.until <= Instant::now()
    }

    /// It fails no more, or what failed is over: the next failure is told. Vehicle is still asked when
    /// it said.
    pub(super) fn forget(&mut self) {
        self.failures = 0;
    }

    /// What has become of it. It rests at least as long as Vehicle says.
    pub(super) fn after(&mut self, turn: &Result<Turn, TurnError>) {
        match turn {
            Ok(Turn::Told) => {}
            Ok(_) => self.forget(),
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let rest = doubled(self.failures).min(LONGEST_PAUSE);
                self.until = Instant::now() + rest.max(error.retry_after());
            }
        }
    }
}

/// The first pause, doubled with each time after the first.
fn doubled(times: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(times.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;
    use vehicle_client::FeedError;

    use super::{Pace, Rest, Turn, TurnError};

    const FOLLOWED: Turn = Turn::Followed {
        events: 1,
        at_the_end: false,
    };

    fn milliseconds(pace: &mut Pace, turn: Turn) -> u128 {
        pace.after(&Ok(turn)).as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn logs_that_are_lost_in_turns_are_begun_ever_more_slowly() {
        let mut pace = Pace::new();
        for expected in [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
            assert_eq!(milliseconds(&mut pace, Turn::Lost), expected);
            // Pages of the register, and some of the feed, make it no new beginning.
            for turn in [Turn::Copied, FOLLOWED] {
                assert_eq!(milliseconds(&mut pace, turn), 0);
            }
            advance(Duration::from_mins(9)).await;
        }
        advance(Duration::from_mins(2)).await;
        assert_eq!(milliseconds(&mut pace, Turn::Lost), 250);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_are_tried_again_ever_more_slowly() {
        let (mut pace, mut rest) = (Pace::new(), Rest::new());
        for expected in [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000] {
            let failed = Err(TurnError::Feed(FeedError::Timeout));
            let pause = pace.after(&failed);
            assert_eq!(pause.as_millis(), expected);
            // One that only waits until Vehicle is to be asked again has not succeeded.
            assert_eq!(milliseconds(&mut pace, Turn::Resting), 1_000);
            assert!(pace.is_failing());
            rest.after(&failed);
            advance(pause.saturating_sub(Duration::from_millis(1))).await;
            assert!(!rest.is_over());
            advance(Duration::from_millis(1)).await;
            assert!(rest.is_over() && rest.is_failing());
        }
        assert_eq!(milliseconds(&mut pace, FOLLOWED), 0);
        assert!(!pace.is_failing());
    }
}
