use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use contracts::Cause;
use tokio::time::Instant;

use crate::Failure;

/// How long a kind of failure stays unmentioned after it was logged.
const QUIET: Duration = Duration::from_mins(1);

/// Logs the first failure of a kind and then none for a minute, however many there are: the
/// metrics count them all.
#[derive(Clone, Default)]
pub(crate) struct FailureLog(Arc<Mutex<HashMap<Cause, Told>>>);

#[derive(Clone, Copy)]
struct Told {
    at: Instant,
    unmentioned: u64,
}

impl FailureLog {
    pub(crate) fn tell(&self, failure: &Failure, now: Instant) {
        let Some(unmentioned) = self.count(failure.cause, now) else {
            return;
        };
        let cause = failure.label();
        if failure.cause == Cause::Unauthorized {
            tracing::error!(
                cause,
                unmentioned,
                "Vehicle refuses our key; vehicle_client.api_key is wrong or expired"
            );
        } else {
            tracing::warn!(cause, unmentioned, "a call to Vehicle failed");
        }
    }

    /// How many failures of this kind were not mentioned since the last that was, if this one is
    /// to be.
    fn count(&self, cause: Cause, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match told.get_mut(&cause) {
            Some(last) if now.duration_since(last.at) < QUIET => {
                last.unmentioned += 1;
                None
            }
            before => {
                let unmentioned = before.map_or(0, |last| last.unmentioned);
                told.insert(
                    cause,
                    Told {
                        at: now,
                        unmentioned: 0,
                    },
                );
                Some(unmentioned)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use contracts::Cause;
    use tokio::time::Instant;

    use super::FailureLog;

    #[test]
    fn a_kind_of_failure_is_told_once_a_minute_with_the_count_between() {
        let (log, start) = (FailureLog::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(log.count(Cause::Timeout, at(0)), Some(0));
        assert_eq!(log.count(Cause::Timeout, at(1)), None);
        assert_eq!(log.count(Cause::Timeout, at(59)), None);
        assert_eq!(log.count(Cause::Connection, at(59)), Some(0));
        assert_eq!(log.count(Cause::Timeout, at(60)), Some(2));
        assert_eq!(log.count(Cause::Timeout, at(61)), None);
    }
}
