//! The guard's state, for callers and for the platform.

use std::time::SystemTime;

use contracts::{
    BreakerState, GuardBreaker, GuardCache, GuardCalls, GuardIsolation, GuardMode, RetryAfterGate,
    VehicleGuard,
};
use service_defaults::health::{Check, CheckStatus};
use vehicle_client::{BreakerPhase, CallsState, GuardState};

use crate::enrichment::whole_seconds;

/// The state as it is on the wire.
pub(crate) fn vehicle_guard(state: GuardState) -> VehicleGuard {
    let isolation = state.isolated.map(|isolated| GuardIsolation {
        reason: isolated.order.reason,
        owner: isolated.order.owner,
        key_id: isolated.order.key_id,
        since: rfc3339(isolated.since),
        until: rfc3339(isolated.until),
        remaining_seconds: whole_seconds(isolated.remaining),
    });
    VehicleGuard {
        mode: match isolation {
            None => GuardMode::Automatic,
            Some(_) => GuardMode::Isolated,
        },
        isolation,
        breaker: GuardBreaker {
            state: match state.breaker.phase {
                BreakerPhase::Closed => BreakerState::Closed,
                BreakerPhase::Open => BreakerState::Open,
                BreakerPhase::HalfOpen => BreakerState::HalfOpen,
            },
            retry_after_seconds: state.breaker.retry_after.map(whole_seconds),
        },
        retry_after_gate: RetryAfterGate {
            closed_for_seconds: state.retry_after.map(whole_seconds),
        },
        retries_left: state.retries_left,
        single: calls(state.single),
        batch: calls(state.batch),
        cache: state.cache.map(|cache| GuardCache {
            entries: cache.entries,
            bytes: cache.bytes,
        }),
    }
}

fn calls(state: CallsState) -> GuardCalls {
    GuardCalls {
        in_flight: state.in_flight,
        waiting: state.waiting,
        maximum: state.maximum,
    }
}

/// The state in words, as information only: Vehicle's troubles are told with each answer and never
/// stop us. Readiness is open to everyone, so why and by whom is not said.
pub(crate) fn check(state: &GuardState) -> Check {
    let (breaker, single, batch) = (state.breaker.phase, state.single, state.batch);
    let mut detail = format!(
        "breaker {}, {} of {} single calls and {} of {} batch calls in flight",
        breaker.label(),
        single.in_flight,
        single.maximum,
        batch.in_flight,
        batch.maximum
    );
    if let Some(isolated) = &state.isolated {
        let left = whole_seconds(isolated.remaining);
        detail = format!("isolated by an operator for another {left} s, {detail}");
    }
    let usual = state.isolated.is_none() && breaker == BreakerPhase::Closed;
    Check {
        name: "vehicle_guard",
        status: if usual {
            CheckStatus::Pass
        } else {
            CheckStatus::Warn
        },
        detail: Some(detail),
    }
}

/// A time as in RFC 3339, in UTC.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use service_defaults::health::CheckStatus;
    use vehicle_client::{BreakerPhase, BreakerState, CallsState, GuardState};

    use super::check;

    #[test]
    fn every_state_of_the_breaker_but_closed_is_a_warning() {
        let calls = CallsState {
            in_flight: 0,
            waiting: 0,
            maximum: 1,
        };
        for (phase, status) in [
            (BreakerPhase::Closed, CheckStatus::Pass),
            (BreakerPhase::Open, CheckStatus::Warn),
            (BreakerPhase::HalfOpen, CheckStatus::Warn),
        ] {
            let state = GuardState {
                isolated: None,
                breaker: BreakerState {
                    phase,
                    retry_after: None,
                },
                retry_after: None,
                retries_left: 0.0,
                single: calls,
                batch: calls,
                cache: None,
            };
            assert_eq!(check(&state).status, status, "{phase:?}");
        }
    }
}
