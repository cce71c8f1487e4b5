use std::time::Duration;

use tokio::time::Instant;

use super::{
    closed::Rule,
    machine::{Machine, Outcome, Phase, Refused, Transition},
};
use crate::BreakerOptions;

const OPTIONS: BreakerOptions = BreakerOptions {
    window: Duration::from_secs(10),
    minimum_calls: 2,
    failure_ratio: 1.0,
    slow_ratio: 1.0,
    slow_after_share: 0.8,
    open_for: Duration::from_secs(10),
    max_open_for: Duration::from_secs(40),
    probes_to_close: 1,
};
const SLOW_AFTER: Duration = Duration::from_millis(400);

/// Fails a call now; `random` is what the open time is spread by.
fn fail(machine: &mut Machine, now: Instant, random: f64) -> Option<Transition> {
    let permit = machine.ask(now, random).0.unwrap();
    machine.report(permit, Outcome::Failed, now, random)
}

#[test]
fn open_times_spread_by_a_tenth_to_both_sides() {
    for (random, millis) in [(0.0, 9_000), (0.25, 9_500), (0.5, 10_000), (0.75, 10_500)] {
        let now = Instant::now();
        let mut machine = Machine::new(OPTIONS, SLOW_AFTER, now);
        assert_eq!(fail(&mut machine, now, random), None);
        let duration = Duration::from_millis(millis);
        let opened = fail(&mut machine, now, random);
        assert!(
            matches!(opened, Some(Transition::Opened { duration: lasts, .. }) if lasts == duration)
        );
    }
}

#[test]
fn failures_in_a_row_count_however_far_apart_they_are_until_a_good_call() {
    let start = Instant::now();
    let after = |minutes| start + Duration::from_mins(minutes);
    let mut machine = Machine::new(OPTIONS, SLOW_AFTER, start);
    assert_eq!(fail(&mut machine, start, 0.5), None);
    let good = machine.ask(after(1), 0.5).0.unwrap();
    assert_eq!(machine.report(good, Outcome::Good, after(1), 0.5), None);
    assert_eq!(fail(&mut machine, after(2), 0.5), None);
    assert!(fail(&mut machine, after(3), 0.5).is_some());
    assert_eq!(machine.phase(), Phase::Open);
}

#[test]
fn a_look_sees_what_would_be_refused_and_changes_nothing() {
    let start = Instant::now();
    let mut machine = Machine::new(OPTIONS, SLOW_AFTER, start);
    assert_eq!(machine.refusal(start), None);
    fail(&mut machine, start, 0.5);
    fail(&mut machine, start, 0.5);
    let retry_after = Some(Duration::from_secs(9));
    let second = start + Duration::from_secs(1);
    assert_eq!(machine.refusal(second), Some(Refused { retry_after }));
    assert_eq!(machine.state(second).retry_after, retry_after);
    let due = start + Duration::from_secs(10);
    assert_eq!(machine.refusal(due), None);
    assert_eq!(machine.phase(), Phase::Open);
    let (probe, half_opened) = machine.ask(due, 0.5);
    assert_eq!(half_opened, Some(Transition::HalfOpened));
    let probe = probe.unwrap();
    assert_eq!(machine.refusal(due), Some(Refused { retry_after: None }));
    assert_eq!(machine.state(due).retry_after, None);
    machine.report(probe, Outcome::Failed, due, 0.5);
    assert_eq!(machine.phase(), Phase::Open);
}

#[test]
fn a_permit_of_an_older_state_has_no_say() {
    let start = Instant::now();
    let mut machine = Machine::new(OPTIONS, SLOW_AFTER, start);
    let old = machine.ask(start, 0.5).0.unwrap();
    fail(&mut machine, start, 0.5);
    fail(&mut machine, start, 0.5);
    let due = start + Duration::from_secs(10);
    let probe = machine.ask(due, 0.5).0.unwrap();
    for outcome in [Outcome::Good, Outcome::Failed] {
        assert_eq!(machine.report(old, outcome, due, 0.5), None);
    }
    assert_eq!(machine.refusal(due), Some(Refused { retry_after: None }));
    let closed = machine.report(probe, Outcome::Good, due, 0.5);
    assert_eq!(closed, Some(Transition::Closed { probes: 1 }));
    assert_eq!(machine.report(old, Outcome::Failed, due, 0.5), None);
    assert_eq!(fail(&mut machine, due, 0.5), None);
}

#[test]
fn states_have_the_names_of_the_metric() {
    let names = [Phase::Closed, Phase::Open, Phase::HalfOpen].map(Phase::label);
    assert_eq!(names, ["closed", "open", "half_open"]);
}

/// The rule by which it opens now.
fn rule(transition: Option<Transition>) -> Rule {
    match transition {
        Some(Transition::Opened { rule, .. }) => rule,
        other => panic!("{other:?}"),
    }
}

fn figures(name: &'static str, failures: u64, slow: u64, calls: u64) -> Rule {
    Rule {
        name,
        failures: Some(failures),
        slow: Some(slow),
        calls: Some(calls),
    }
}

#[test]
fn it_says_by_which_rule_it_opens_and_with_which_figures() {
    let now = Instant::now();
    let new = || {
        Machine::new(
            BreakerOptions {
                failure_ratio: 0.5,
                ..OPTIONS
            },
            SLOW_AFTER,
            now,
        )
    };
    let slow = now + SLOW_AFTER;

    let mut machine = new();
    fail(&mut machine, now, 0.5);
    let in_row = Rule {
        slow: None,
        calls: None,
        ..figures("failures_in_row", 2, 0, 0)
    };
    assert_eq!(rule(fail(&mut machine, now, 0.5)), in_row);

    let mut machine = new();
    let good = machine.ask(now, 0.5).0.unwrap();
    machine.report(good, Outcome::Good, now, 0.5);
    let failed = rule(fail(&mut machine, now, 0.5));
    assert_eq!(failed, figures("failure_ratio", 1, 0, 2));

    let mut machine = new();
    let [first, _in_flight] = [0; 2].map(|_| machine.ask(now, 0.5).0.unwrap());
    let ended = machine.report(first, Outcome::Good, slow, 0.5);
    assert_eq!(rule(ended), figures("slow_ratio", 0, 2, 2));

    for (outcome, name) in [
        (Outcome::Failed, "failed_probe"),
        (Outcome::Good, "slow_probe"),
    ] {
        let mut machine = new();
        fail(&mut machine, now, 0.5);
        fail(&mut machine, now, 0.5);
        let due = now + Duration::from_secs(10);
        let probe = machine.ask(due, 0.5).0.unwrap();
        let ended = machine.report(probe, outcome, due + SLOW_AFTER, 0.5);
        assert_eq!(rule(ended).name, name);
    }
}
