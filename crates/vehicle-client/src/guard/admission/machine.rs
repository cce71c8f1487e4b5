use std::time::Duration;

use tokio::time::Instant;

use super::{
    super::breaker::{self, Permit, Transition},
    isolation::Isolation,
};
use crate::{BreakerOptions, Failure, FailureKind, failure::NotSent};

/// The admission as a pure state machine: time and randomness come from outside.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) isolation: Isolation,
    /// Vehicle asked not to be called before this time, with an answer of this kind.
    wait: Option<(Instant, FailureKind)>,
    pub(super) breaker: breaker::Machine,
}

/// What stops calls to Vehicle, if anything; what lasts longest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    SwitchedOff,
    Isolated(Duration),
    WaitingUntil(Instant, FailureKind),
    BreakerOpen(Duration),
    Probing,
    Open,
}

/// What this means for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It may be sent.
    Open,
    /// It may be sent at this time; whoever cannot wait for it gets this failure.
    Wait(Instant, Failure),
    Refused(NotSent),
}

impl Machine {
    pub(super) fn new(options: BreakerOptions, slow_after: Duration, now: Instant) -> Self {
        Self {
            isolation: Isolation::default(),
            wait: None,
            breaker: breaker::Machine::new(options, slow_after, now),
        }
    }

    fn state(&self, is_on: bool, now: Instant) -> State {
        if !is_on {
            return State::SwitchedOff;
        }
        if let Some(remaining) = self.isolation.remaining(now) {
            return State::Isolated(remaining);
        }
        if let Some((until, kind)) = self.wait.filter(|(until, _)| now < *until) {
            return State::WaitingUntil(until, kind);
        }
        match self.breaker.refusal(now) {
            None => State::Open,
            Some(refused) => refused
                .retry_after
                .map_or(State::Probing, State::BreakerOpen),
        }
    }

    /// Whether a call could be sent now.
    pub(super) fn check(&self, is_on: bool, now: Instant) -> Decision {
        let refused = |kind, retry_after| {
            Decision::Refused(NotSent(
                Failure::lasting(kind).with_retry_after(retry_after),
            ))
        };
        match self.state(is_on, now) {
            State::Open => Decision::Open,
            State::SwitchedOff => refused(FailureKind::SwitchedOff, None),
            State::Isolated(remaining) => refused(FailureKind::Isolated, Some(remaining)),
            State::BreakerOpen(remaining) => refused(FailureKind::BreakerOpen, Some(remaining)),
            State::Probing => refused(FailureKind::BreakerOpen, None),
            State::WaitingUntil(until, kind) => {
                let failure = Failure::lasting(kind).with_retry_after(Some(until - now));
                Decision::Wait(until, failure)
            }
        }
    }

    /// Permits a call that is sent now. `random` is in 0..1.
    pub(super) fn enter(
        &mut self,
        is_on: bool,
        now: Instant,
        random: f64,
    ) -> (Result<Permit, Decision>, Option<Transition>) {
        match self.check(is_on, now) {
            Decision::Open => {}
            closed => return (Err(closed), None),
        }
        let (permit, transition) = self.breaker.ask(now, random);
        // It opened just now, for calls in flight that have become slow.
        let permit = permit.map_err(|_| self.check(is_on, now));
        (permit, transition)
    }

    /// Keeps calls back until then; never opens earlier than it was told before.
    pub(super) fn wait_until(&mut self, until: Instant, kind: FailureKind) {
        if self.wait.is_none_or(|(other, _)| other < until) {
            self.wait = Some((until, kind));
        }
    }

    /// How long Vehicle asked not to be called.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let (until, _) = self.wait?;
        (now < until).then(|| until - now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tokio::time::Instant;

    use super::{
        super::{IsolationOrder, Outcome},
        Decision, Machine,
    };
    use crate::{BreakerOptions, Failure, FailureKind, failure::NotSent, simulation};

    const SECOND: Duration = Duration::from_secs(1);

    /// Opens for 10 s at the first failure.
    fn machine(now: Instant) -> Machine {
        let options = BreakerOptions {
            minimum_calls: 1,
            open_for: 10 * SECOND,
            max_open_for: 10 * SECOND,
            probes_to_close: 1,
            ..simulation::options().breaker
        };
        Machine::new(options, SECOND, now)
    }

    fn order() -> IsolationOrder {
        IsolationOrder {
            reason: "a test".into(),
            owner: "a test".into(),
            key_id: "a test".into(),
        }
    }

    fn refused(kind: FailureKind, seconds: Option<u32>) -> Decision {
        let after = seconds.map(|seconds| seconds * SECOND);
        Decision::Refused(NotSent(Failure::lasting(kind).with_retry_after(after)))
    }

    /// The check and the entry decide alike.
    fn decide(machine: &mut Machine, is_on: bool, now: Instant) -> Decision {
        let decision = machine.check(is_on, now);
        if decision != Decision::Open {
            let (entered, transition) = machine.enter(is_on, now, 0.5);
            assert_eq!((entered, transition), (Err(decision), None));
        }
        decision
    }

    #[test]
    fn one_thing_after_the_other_keeps_calls_from_vehicle() {
        let now = Instant::now();
        let mut machine = machine(now);
        assert_eq!(decide(&mut machine, true, now), Decision::Open);
        let permit = machine.enter(true, now, 0.5).0.unwrap();
        assert!(
            machine
                .breaker
                .report(permit, Outcome::Failed, now, 0.5)
                .is_some()
        );
        let open = refused(FailureKind::BreakerOpen, Some(10));
        assert_eq!(decide(&mut machine, true, now), open);
        machine.wait_until(now + 2 * SECOND, FailureKind::RateLimited);
        let failure = Failure::lasting(FailureKind::RateLimited);
        let wait = Decision::Wait(now + 2 * SECOND, failure.with_retry_after(Some(2 * SECOND)));
        assert_eq!(decide(&mut machine, true, now), wait);
        machine
            .isolation
            .begin(order(), 5 * SECOND, now, SystemTime::now());
        let isolated = refused(FailureKind::Isolated, Some(5));
        assert_eq!(decide(&mut machine, true, now), isolated);
        let off = refused(FailureKind::SwitchedOff, None);
        assert_eq!(decide(&mut machine, false, now), off);
        let later = now + 5 * SECOND;
        let open = refused(FailureKind::BreakerOpen, Some(5));
        assert_eq!(decide(&mut machine, true, later), open);
        let due = now + 10 * SECOND;
        assert_eq!(decide(&mut machine, true, due), Decision::Open);
        let probe = machine.enter(true, due, 0.5).0.unwrap();
        let probing = refused(FailureKind::BreakerOpen, None);
        assert_eq!(decide(&mut machine, true, due), probing);
        machine.breaker.report(probe, Outcome::Good, due, 0.5);
        assert_eq!(decide(&mut machine, true, due), Decision::Open);
    }

    #[test]
    fn it_waits_until_the_latest_time_that_was_named_and_says_for_which_answer() {
        let now = Instant::now();
        let after = |seconds| now + seconds * SECOND;
        let mut machine = machine(now);
        machine.wait_until(after(5), FailureKind::RateLimited);
        machine.wait_until(after(2), FailureKind::ServerError);
        let waits = |machine: &Machine, at| match machine.check(true, at) {
            Decision::Wait(until, failure) => Some((until, failure.kind)),
            _ => None,
        };
        let expected = Some((after(5), FailureKind::RateLimited));
        assert_eq!(waits(&machine, after(4)), expected);
        machine.wait_until(after(6), FailureKind::ServerError);
        let expected = Some((after(6), FailureKind::ServerError));
        assert_eq!(waits(&machine, after(5)), expected);
        assert_eq!(machine.wait(after(5)), Some(SECOND));
        assert_eq!(waits(&machine, after(6)), None);
        assert_eq!(machine.wait(after(6)), None);
    }

    #[test]
    fn calls_that_have_become_slow_refuse_the_one_that_enters() {
        let now = Instant::now();
        let mut machine = machine(now);
        machine.enter(true, now, 0.5).0.unwrap();
        let later = now + SECOND;
        assert_eq!(machine.check(true, later), Decision::Open);
        let (entered, transition) = machine.enter(true, later, 0.5);
        assert_eq!(entered, Err(refused(FailureKind::BreakerOpen, Some(10))));
        assert!(transition.is_some());
    }
}
