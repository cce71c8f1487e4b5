use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{Call, Failure, FailureKind};

/// How long a kind of failure is not logged again after it was.
const QUIET: Duration = Duration::from_mins(1);

/// Logs the first failure of a kind and then none for a minute, however many there are: the
/// metrics count them all.
#[derive(Clone, Default)]
pub(crate) struct FailureLog(Arc<Mutex<HashMap<FailureKind, Logged>>>);

#[derive(Clone, Copy)]
struct Logged {
    at: Instant,
    not_logged: u64,
}

impl FailureLog {
    /// Names the request that asked first, because its call may go on when it is gone.
    pub(crate) fn log(&self, failure: &Failure, call: &Call, now: Instant) {
        let Some(unmentioned) = self.count(failure.kind, now) else {
            return;
        };
        let cause = failure.kind.label();
        let (request_id, strategy) = (&*call.origin.request_id, call.strategy.label());
        if failure.kind == FailureKind::Unauthorized {
            tracing::error!(
                cause,
                unmentioned,
                request_id,
                strategy,
                "Vehicle refuses our key or token; vehicle_client.api_key or vehicle_client.token is \
                 wrong, expired or without a scope"
            );
        } else {
            tracing::warn!(
                cause,
                unmentioned,
                request_id,
                strategy,
                "a call to Vehicle failed"
            );
        }
    }

    /// How many failures of this kind were not logged since the last that was, if this one is
    /// to be.
    fn count(&self, kind: FailureKind, now: Instant) -> Option<u64> {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match logged.get_mut(&kind) {
            Some(last) if now.duration_since(last.at) < QUIET => {
                last.not_logged += 1;
                None
            }
            before => {
                let not_logged = before.map_or(0, |last| last.not_logged);
                logged.insert(
                    kind,
                    Logged {
                        at: now,
                        not_logged: 0,
                    },
                );
                Some(not_logged)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::FailureLog;
    use crate::FailureKind;

    #[test]
    fn a_kind_of_failure_is_logged_once_a_minute_with_the_count_between() {
        let (log, start) = (FailureLog::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(log.count(FailureKind::Timeout, at(0)), Some(0));
        assert_eq!(log.count(FailureKind::Timeout, at(1)), None);
        assert_eq!(log.count(FailureKind::Timeout, at(59)), None);
        assert_eq!(log.count(FailureKind::Connection, at(59)), Some(0));
        assert_eq!(log.count(FailureKind::Timeout, at(60)), Some(2));
        assert_eq!(log.count(FailureKind::Timeout, at(61)), None);
    }
}
