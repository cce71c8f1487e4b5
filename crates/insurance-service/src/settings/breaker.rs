use std::time::Duration;

use serde::Deserialize;
use service_defaults::settings::{Violations, duration};
use vehicle_client::BreakerOptions;

/// The section `[vehicle_client.breaker]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerSettings {
    /// How far back calls count.
    #[serde(with = "duration")]
    pub window: Duration,
    /// Fewer calls prove nothing; as many failures in a row open the breaker.
    pub minimum_calls: u64,
    /// Share of failed calls that opens the breaker.
    pub failure_ratio: f64,
    /// Share of slow calls that opens the breaker.
    pub slow_ratio: f64,
    /// From when on a call is slow.
    #[serde(with = "duration")]
    pub slow_after: Duration,
    /// How long the breaker stays open the first time.
    #[serde(with = "duration")]
    pub open_for: Duration,
    /// Upper end of the doubling.
    #[serde(with = "duration")]
    pub max_open_for: Duration,
    /// Good probes in a row that close the breaker.
    pub probes_to_close: u32,
}

impl BreakerSettings {
    pub(super) fn check(&self, violations: &mut Violations) {
        let (seconds, millis) = (Duration::from_secs, Duration::from_millis);
        let name = |key: &str| format!("vehicle_client.breaker.{key}");
        violations.range(&name("minimum_calls"), &self.minimum_calls, 1..=100_000);
        violations.range(&name("failure_ratio"), &self.failure_ratio, 0.01..=1.0);
        violations.range(&name("slow_ratio"), &self.slow_ratio, 0.01..=1.0);
        violations.range(&name("probes_to_close"), &self.probes_to_close, 1..=100);
        for (key, value, bounds) in [
            ("window", self.window, seconds(1)..=seconds(600)),
            ("slow_after", self.slow_after, millis(1)..=seconds(60)),
            ("open_for", self.open_for, millis(100)..=seconds(600)),
            (
                "max_open_for",
                self.max_open_for,
                self.open_for..=seconds(3600),
            ),
        ] {
            violations.duration(&name(key), value, bounds);
        }
    }

    pub(super) fn options(&self) -> BreakerOptions {
        BreakerOptions {
            window: self.window,
            minimum_calls: self.minimum_calls,
            failure_ratio: self.failure_ratio,
            slow_ratio: self.slow_ratio,
            slow_after: self.slow_after,
            open_for: self.open_for,
            max_open_for: self.max_open_for,
            probes_to_close: self.probes_to_close,
        }
    }
}
