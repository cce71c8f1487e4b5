//! How much Vehicle is burdened, as it counts for itself.

use std::time::Duration;

use tokio::time::Instant;

use super::plan::LONGEST_WORK;
use crate::{Answer, Failure, Options};

#[derive(Debug, Default)]
pub(super) struct Load {
    /// When the work on each call ends, whether or not the guard still waits for it.
    work: Vec<Instant>,
    /// Calls that came since the last good answer.
    unanswered: u64,
    good: u32,
    retries: u32,
}

impl Load {
    /// Vehicle works for this long on a call that came now.
    pub(super) fn works(&mut self, options: &Options, time: Duration) {
        let now = Instant::now();
        self.work.retain(|end| *end > now);
        self.work.push(now + time);
        let rounds = LONGEST_WORK
            .as_nanos()
            .div_ceil(options.attempt_timeout.as_nanos());
        let most = caps(options) * (1 + u64::try_from(rounds).unwrap());
        let at_work = self.work.len() as u64;
        assert!(at_work <= most, "{at_work} calls at work, over {most}");
    }

    /// A call came while the breaker was closed: as many failures in a row as open it may have
    /// come before, but for the last, and as many calls as may be in flight.
    pub(super) fn in_a_row(&mut self, options: &Options) {
        self.unanswered += 1;
        let most = options.breaker.minimum_calls - 1 + caps(options);
        let calls = self.unanswered;
        assert!(
            calls <= most,
            "{calls} calls without a good one, over {most}"
        );
    }

    /// Vehicle answered in time.
    pub(super) fn ended(&mut self, result: &Result<Answer, Failure>) {
        match result {
            Ok(_) => {
                self.good += 1;
                self.unanswered = 0;
            }
            Err(failure) if failure.shows_vehicle_well() => self.unanswered = 0,
            Err(_) => {}
        }
    }

    /// A retry came, so long after the start but for jumps of the clock, each of which fills the
    /// budget at most.
    pub(super) fn retried(&mut self, options: &Options, time: Duration, jumps: u32) {
        self.retries += 1;
        let budget = &options.retry_budget;
        let earned = f64::from(self.good) * budget.retries_per_good_call
            + time.as_secs_f64() * budget.retries_per_second
            + f64::from(jumps) * budget.max_saved;
        let retries = f64::from(self.retries);
        assert!(
            retries <= earned + 1e-6,
            "{retries} retries, over the {earned} that were earned"
        );
    }
}

fn caps(options: &Options) -> u64 {
    let single = options.max_degree_of_parallelism_single;
    (single + options.max_degree_of_parallelism_batch) as u64
}
