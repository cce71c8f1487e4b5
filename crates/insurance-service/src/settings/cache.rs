use std::time::Duration;

use serde::Deserialize;
use service_defaults::settings::{Violations, duration};
use vehicle_client::CacheOptions;

/// The section `[vehicle_client.cache]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheSettings {
    /// Keeps Vehicle's answers.
    pub enabled: bool,
    /// Younger answers are given without asking Vehicle.
    #[serde(with = "duration")]
    pub fresh: Duration,
    /// Younger answers are given and refreshed behind.
    #[serde(with = "duration")]
    pub soft_stale: Duration,
    /// Younger answers are given only when Vehicle fails.
    #[serde(with = "duration")]
    pub hard_stale: Duration,
    /// How long it is believed that there is no vehicle.
    #[serde(with = "duration")]
    pub negative: Duration,
    /// Share by which expiry varies.
    pub jitter: f64,
    /// Most memory for answers, in bytes.
    pub max_bytes: u64,
}

impl CacheSettings {
    pub(super) fn check(&self, violations: &mut Violations) {
        let name = |key: &str| format!("vehicle_client.cache.{key}");
        let day = Duration::from_hours(24);
        for (key, value, bounds) in [
            ("fresh", self.fresh, Duration::ZERO..=day),
            ("soft_stale", self.soft_stale, self.fresh..=day),
            ("hard_stale", self.hard_stale, self.soft_stale..=day * 30),
            ("negative", self.negative, Duration::ZERO..=day),
        ] {
            violations.duration(&name(key), value, bounds);
        }
        violations.range(&name("jitter"), &self.jitter, 0.0..=0.5);
        violations.range(&name("max_bytes"), &self.max_bytes, 65_536..=17_179_869_184);
    }

    pub(super) fn options(&self) -> Option<CacheOptions> {
        self.enabled.then_some(CacheOptions {
            fresh: self.fresh,
            soft_stale: self.soft_stale,
            hard_stale: self.hard_stale,
            negative: self.negative,
            jitter: self.jitter,
            max_bytes: self.max_bytes,
        })
    }
}
