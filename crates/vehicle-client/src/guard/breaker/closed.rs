use std::time::Duration;

use tokio::time::Instant;

use super::{in_flight::InFlight, window::Window};
use crate::BreakerOptions;

/// What a closed breaker knows of the calls, and the rules by which it opens.
#[derive(Debug)]
pub(super) struct Closed {
    options: BreakerOptions,
    window: Window,
    failures_in_row: u64,
    in_flight: InFlight,
}

/// The rule by which the breaker opened, with its figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// `failures_in_row`, `failure_ratio`, `slow_ratio`, `failed_probe` or `slow_probe`.
    pub(crate) name: &'static str,
    /// Calls that failed, in a row or in the window.
    pub(crate) failures: Option<u64>,
    /// Calls that were slow, those in flight included.
    pub(crate) slow: Option<u64>,
    /// Calls of which these are a share.
    pub(crate) calls: Option<u64>,
}

impl Rule {
    pub(super) const fn new(name: &'static str) -> Self {
        Self {
            name,
            failures: None,
            slow: None,
            calls: None,
        }
    }
}

impl Closed {
    pub(super) fn new(options: BreakerOptions, slow_after: Duration, now: Instant) -> Self {
        Self {
            options,
            window: Window::new(options.window, now),
            failures_in_row: 0,
            in_flight: InFlight::new(slow_after),
        }
    }

    /// A call that begins now; its number, for its end.
    pub(super) fn begin(&mut self, now: Instant) -> u64 {
        self.in_flight.begin(now)
    }

    /// The end of a call.
    pub(super) fn end(&mut self, number: u64, failed: bool, slow: bool, now: Instant) {
        self.in_flight.end(number, now);
        self.window.roll(now);
        self.failures_in_row = if failed { self.failures_in_row + 1 } else { 0 };
        self.window.record(failed, slow);
    }

    /// The rule by which the breaker has to open now, if any.
    pub(super) fn broken_rule(&mut self, now: Instant) -> Option<Rule> {
        let options = &self.options;
        self.window.roll(now);
        self.in_flight.roll(now);
        let ended = self.window.total();
        let calls = ended.calls + self.in_flight.slow;
        let slow = ended.slow + self.in_flight.slow;
        if self.failures_in_row >= options.minimum_calls {
            return Some(Rule {
                failures: Some(self.failures_in_row),
                ..Rule::new("failures_in_row")
            });
        }
        let name = if calls < options.minimum_calls {
            return None;
        } else if ratio(ended.failures, calls) >= options.failure_ratio {
            "failure_ratio"
        } else if ratio(slow, calls) >= options.slow_ratio {
            "slow_ratio"
        } else {
            return None;
        };
        Some(Rule {
            name,
            failures: Some(ended.failures),
            slow: Some(slow),
            calls: Some(calls),
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of calls in a window are far below 2^52"
)]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}
