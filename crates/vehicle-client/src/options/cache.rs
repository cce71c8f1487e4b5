use std::time::Duration;

use settings::{Shown, Violations, seconds, section};

section! {
    /// How long answers are kept and for what they are good.
    #[derive(Copy)]
    pub struct CacheOptions checked by CacheOptions::in_order {
        /// Keeps Vehicle's answers, by registration number and never by person.
        pub enabled: bool = true;
        /// Younger answers are given without asking Vehicle.
        pub fresh: Duration = "60s", in Duration::ZERO..=DAY;
        /// Younger answers are given and refreshed behind; no less than fresh.
        pub soft_stale: Duration = "10m", in Duration::ZERO..=DAY;
        /// Younger answers are given, as stale, only when Vehicle fails; no less than soft_stale.
        pub hard_stale: Duration = "24h", in Duration::ZERO..=seconds(30 * 86_400);
        /// How long Vehicle's word that there is no such vehicle is good; no more than fresh.
        pub negative: Duration = "30s", in Duration::ZERO..=DAY;
        /// Share by which expiry varies, so that entries do not expire in step.
        pub jitter: f64 => 0.1;
        /// Most memory for answers, in bytes.
        pub max_bytes: u64 = 67108864, in 65_536..=17_179_869_184;
    }
    removed {
        "jitter" => "is 0.1",
    }
}

const DAY: Duration = Duration::from_hours(24);

impl CacheOptions {
    fn in_order(&self, at: &str, violations: &mut Violations) {
        for (key, value, under, least) in [
            ("soft_stale", self.soft_stale, "fresh", self.fresh),
            ("hard_stale", self.hard_stale, "soft_stale", self.soft_stale),
        ] {
            if value < least {
                let (value, least) = (Shown(value), Shown(least));
                let rule = format_args!("{value} is under {at}.{under} = {least}");
                violations.report(&Violations::path(at, key), rule);
            }
        }
        if self.negative > self.fresh {
            let (negative, fresh) = (Shown(self.negative), Shown(self.fresh));
            let rule = format_args!("{negative} is over {at}.fresh = {fresh}");
            violations.report(&Violations::path(at, "negative"), rule);
        }
    }
}
