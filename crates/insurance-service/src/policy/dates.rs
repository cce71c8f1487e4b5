//! Days as policies count them: from `validFrom` to the day before `validUntil`, in Sweden.

use std::{fmt, sync::Arc};

use contracts::Day;
use jiff::{Timestamp, tz::TimeZone};

/// The zone whose days count, wherever the service runs.
static STOCKHOLM: TimeZone = jiff::tz::get!("Europe/Stockholm");

/// Tells what day it is. Clones tell the same.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Day + Send + Sync>);

impl Clock {
    /// The clock of this machine, with the days of Sweden.
    pub fn system() -> Self {
        Self::new(|| day_of(Timestamp::now()))
    }

    /// A clock that tells what this function gives.
    pub fn new(today: impl Fn() -> Day + Send + Sync + 'static) -> Self {
        Self(Arc::new(today))
    }

    /// The day that it is.
    pub(crate) fn today(&self) -> Day {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Clock({})", self.today())
    }
}

fn day_of(moment: Timestamp) -> Day {
    Day::clamped(moment.to_zoned(STOCKHOLM.clone()).date())
}

#[cfg(test)]
mod tests {
    use super::day_of;

    #[test]
    fn a_day_begins_at_midnight_in_sweden() {
        for (moment, day) in [
            ("2026-11-30T22:59:59Z", "2026-11-30"),
            ("2026-11-30T23:00:00Z", "2026-12-01"),
            // Summer time.
            ("2026-06-30T21:59:59Z", "2026-06-30"),
            ("2026-06-30T22:00:00Z", "2026-07-01"),
            // Beyond the years that the zone's table lists one by one.
            ("2150-07-01T22:00:00Z", "2150-07-02"),
        ] {
            assert_eq!(day_of(moment.parse().unwrap()).to_string(), day);
        }
    }
}
