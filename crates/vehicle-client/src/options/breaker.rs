use std::time::Duration;

use settings::{millis, seconds, section};

section! {
    /// When the breaker opens, for how long, and what closes it again.
    #[derive(Copy)]
    pub struct BreakerOptions {
        /// How far back calls count.
        pub window: Duration = "10s", in seconds(1)..=seconds(600);
        /// Fewer calls prove nothing. As many failures in a row open the breaker, whatever went
        /// before and however long they took to come together: a silent Vehicle may still be at
        /// work on each of them.
        pub minimum_calls: u64 = 20, in 1..=100_000;
        /// Share of failed calls that opens the breaker.
        pub failure_ratio: f64 = 0.5, in 0.01..=1.0;
        /// Share of slow calls that opens the breaker.
        pub slow_ratio: f64 => 0.8;
        /// Share of `attempt_timeout` from which on a call is slow, also while it is in flight.
        pub slow_after_share: f64 => 0.8;
        /// How long the breaker stays open the first time; doubles with each failed probe.
        pub open_for: Duration = "5s", in millis(100)..=seconds(600);
        /// Upper end of the doubling where `open_for` is less.
        pub max_open_for: Duration => seconds(60);
        /// Good probes in a row, one at a time, that close the breaker.
        pub probes_to_close: u32 => 3;
    }
    removed {
        "slow_ratio" => "is 0.8",
        "slow_after" => "is 0.8 of vehicle_client.attempt_timeout",
        "max_open_for" => "is 60s, or open_for where that is more",
        "probes_to_close" => "is 3",
    }
}

impl BreakerOptions {
    /// The longest that the breaker stays open, but for its jitter.
    pub(crate) fn longest_open(&self) -> Duration {
        self.max_open_for.max(self.open_for)
    }
}
