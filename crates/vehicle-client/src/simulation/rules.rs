//! What a caller is told is what happened.

use std::time::Duration;

use contracts::{RegistrationNumber, Source};
use tokio::time::Instant;

use super::world::{State, World};
use crate::{Failure, FailureKind, Lookup, Strategy, group::LEAST_TIME};

/// What a run must have shown for its rules to mean something.
pub(super) const EVERYTHING: [&str; 25] = [
    "closed",
    "open",
    "half_open",
    "first",
    "retry",
    "retry_after",
    "jump",
    "erased",
    "isolation",
    "isolated",
    "cancelled",
    "live",
    "batch",
    "shared",
    "cache",
    "last_known_good",
    "not_found",
    "timeout",
    "breaker_open",
    "connection",
    "server_error",
    "overloaded",
    "rate_limited",
    "unauthorized",
    "contract_violation",
];

/// Timers have whole milliseconds.
const TICK: Duration = Duration::from_millis(2);
/// What a caller shares may have begun before the caller came.
const LONGEST: Duration = super::caller::LONGEST;
/// What Vehicle asks for beyond this is cut.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// One question of a caller.
pub(super) struct Asked<'a> {
    pub(super) number: &'a RegistrationNumber,
    pub(super) strategy: Strategy,
    pub(super) started: Instant,
    pub(super) deadline: Instant,
}

impl World {
    /// Holds an answer that was given now to what really happened.
    pub(super) fn judge(&self, asked: &Asked<'_>, lookup: &Lookup) {
        self.look_at_breaker();
        let mut state = self.state();
        state.in_time(asked);
        match lookup {
            Lookup::Found {
                vehicle,
                source,
                age,
            } => {
                assert_eq!(
                    vehicle.registration_number, *asked.number,
                    "another's vehicle"
                );
                assert_eq!(vehicle.make.as_deref(), Some(asked.number.as_str()));
                let said = vehicle.model_year.unwrap();
                self.judge_source(&mut state, asked, *source, Some(said), *age);
            }
            Lookup::NotFound { source } => {
                assert!(asked.number.as_str().starts_with('Z'), "it exists");
                state.saw("not_found");
                self.judge_source(&mut state, asked, *source, None, Duration::ZERO);
            }
            Lookup::Unavailable(failure) => {
                state.saw(failure.kind.label());
                state.judge_failure(asked, failure);
            }
        }
    }

    fn judge_source(
        &self,
        state: &mut State,
        asked: &Asked<'_>,
        source: Source,
        said: Option<i16>,
        age: Duration,
    ) {
        let now = Instant::now();
        let when = |answer: i16| {
            let said = &state.said[asked.number];
            said.iter().find(|(_, known)| *known == answer).unwrap().0
        };
        let erased = state.erased.get(asked.number).copied();
        let cache = self.options.cache;
        let name = match source {
            Source::Live | Source::Batch => {
                assert_eq!(source, asked.strategy.source());
                assert!(
                    said.is_none_or(|answer| when(answer) >= asked.started),
                    "old news as new"
                );
                asked.strategy.source().label()
            }
            Source::Shared => {
                assert!(
                    said.is_none_or(|answer| when(answer) >= asked.started),
                    "old news as new"
                );
                "shared"
            }
            Source::Replica => panic!("the client keeps no copy"),
            Source::Cache | Source::LastKnownGood => {
                assert!(cache.enabled);
                let fresh = cache.fresh.mul_f64(1.0 + cache.jitter);
                let (longest, name) = match source {
                    Source::Cache => (cache.soft_stale.max(fresh), "cache"),
                    _ => (
                        cache.hard_stale.max(fresh) + (now - asked.started),
                        "last_known_good",
                    ),
                };
                assert!(age <= longest, "{age:?} old, over {longest:?}");
                if let Some(answer) = said {
                    let then = when(answer) + age;
                    assert!(then >= asked.started && then <= now, "a wrong age");
                    let known = erased.is_none_or(|at| at <= when(answer) || at >= then);
                    assert!(known, "it was erased");
                }
                name
            }
        };
        state.saw(name);
    }
}

impl State {
    /// Nothing is waited for past the deadline, but a clock that jumps over it is nobody's fault.
    fn in_time(&self, asked: &Asked<'_>) {
        let allowed = match self.jump {
            Some((from, to)) if from <= asked.deadline + TICK => asked.deadline.max(to),
            _ => asked.deadline,
        };
        let late = Instant::now().saturating_duration_since(allowed + TICK);
        assert_eq!(late, Duration::ZERO, "an answer past the deadline");
    }

    fn judge_failure(&self, asked: &Asked<'_>, failure: &Failure) {
        let now = Instant::now();
        let earlier = |at: Instant| at - LONGEST.min(at - self.start);
        let since = match self.jump {
            Some((from, to)) if to >= earlier(asked.started) => earlier(from.min(asked.started)),
            _ => earlier(asked.started),
        };
        // The call may have failed long before, if it waits for Vehicle's `Retry-After` since.
        let attempted = since - LONGEST_PAUSE.min(since - self.start);
        let failed = |kind: FailureKind| {
            self.failed.get(asked.number).is_some_and(|all| {
                all.iter()
                    .any(|(at, failure)| *at >= attempted && failure.kind == kind)
            })
        };
        let told_to_wait = self.not_before > asked.started;
        let reason = match failure.kind {
            FailureKind::Timeout => {
                now + TICK + LEAST_TIME >= asked.deadline || failed(FailureKind::Timeout)
            }
            FailureKind::SwitchedOff => false,
            FailureKind::Isolated => self.isolated_until >= since,
            FailureKind::BreakerOpen => self.last_not_closed.is_some_and(|at| at >= since),
            FailureKind::Overloaded => self.last_full.values().any(|at| *at >= since),
            FailureKind::RateLimited | FailureKind::ServerError => {
                failed(failure.kind) || told_to_wait
            }
            FailureKind::Connection
            | FailureKind::Unauthorized
            | FailureKind::ContractViolation => failed(failure.kind),
        };
        assert!(reason, "told {:?}, which did not happen", failure.kind);
    }
}

trait Label {
    fn label(self) -> &'static str;
}

impl Label for Source {
    fn label(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            _ => "live",
        }
    }
}
