//! What events make of a policy, one after the other.

use contracts::{PolicyEvent, PolicyStatus};
use proptest::prelude::*;

use super::{STATUSES, active, car_from, changed, day, drafted, facts, money, to};
use crate::policy::{
    decide::{Command, Facts, decide, draft},
    state::{Cover, FoldError, State},
};

/// As `insurance.import_policy` fills `covers`.
#[test]
fn an_imported_policy_that_has_ended_covers_no_day_from_its_end_on() {
    for (status, until, cancelled, end) in [
        ("cancelled", "null", "null", None),
        ("expired", "null", "null", None),
        ("draft", "\"2030-01-01\"", "null", None),
        ("cancelled", "null", "\"2021-01-01\"", Some("2021-01-01")),
        (
            "cancelled",
            "\"2100-01-01\"",
            "\"2021-01-01\"",
            Some("2021-01-01"),
        ),
        ("cancelled", "\"2021-01-01\"", "\"2019-01-01\"", None),
        ("expired", "\"2021-01-01\"", "null", Some("2021-01-01")),
        (
            "active",
            "\"2100-01-01\"",
            "\"2100-01-01\"",
            Some("2100-01-01"),
        ),
    ] {
        let data = format!(
            r#"{{"insuranceId": 1, "product": "pet", "status": "{status}", "validFrom": "2020-01-01",
                "validUntil": {until}, "cancelledOn": {cancelled}, "monthlyCost": 10,
                "carRegistrationNumber": null, "coverOverlaps": false}}"#
        );
        let event = PolicyEvent::parse("policy.imported.v1", &data).unwrap();
        let policy = State::with(None, 1, &event).unwrap();
        let ends: Vec<_> = policy.covers.iter().map(|cover| cover.until).collect();
        let expected: Vec<_> = end
            .map(|day| Some(day.parse().unwrap()))
            .into_iter()
            .collect();
        assert_eq!(ends, expected, "{status} {until} {cancelled}");
    }
}

#[test]
fn nothing_is_left_of_a_policy_that_was_removed() {
    let event = PolicyEvent::parse("policy.removed.v1", "null").unwrap();
    assert_eq!(serde_json::to_string(&event).unwrap(), "null");
    let removed = State::with(Some(drafted(0, None)), 2, &event);
    assert_eq!(removed, Err(FoldError::Removed));
}

#[test]
fn a_policy_begins_once() {
    let drafted_once = drafted(0, None);
    let event = draft(1, car_from(0, None), Some(money("30"))).unwrap();
    assert!(State::with(Some(drafted_once), 2, &event).is_err());
    let suspended = decide(
        &active(0, None),
        &to(PolicyStatus::Suspended, None),
        &facts(0),
    );
    assert!(State::with(None, 1, &suspended.unwrap()).is_err());
}

fn any_command() -> impl Strategy<Value = Command> {
    let number = -5..60_i32;
    let car = prop::option::of(prop::sample::select(vec!["ABC123", "DEF456"]));
    let end = prop::option::of(prop::option::of(number.clone()));
    prop_oneof![
        1 => (number.clone(), prop::option::of(number.clone()))
            .prop_map(|(from, until)| Command::Redraft(car_from(from, until))),
        4 => (prop::sample::select(STATUSES.to_vec()), prop::option::of(number.clone()))
            .prop_map(|(status, on)| to(status, on)),
        4 => (number, car, end).prop_map(|(on, car, end)| changed(on, car, end)),
        1 => Just(Command::End),
    ]
}

proptest! {
    #[test]
    fn any_history_folds_to_its_policy(
        first in (0..20_i32, prop::option::of(1..40_i32)),
        price in 1..5_u32,
        steps in prop::collection::vec((0..6_i32, any_command(), any::<bool>()), 1..40),
    ) {
        let terms = car_from(first.0, first.1.map(|days| first.0 + days));
        let began = draft(7, terms, Some(money("30"))).unwrap();
        let mut policy = State::with(None, 1, &began).unwrap();
        let (mut log, mut today) = (vec![began], 0);
        for (days, command, past_allowed) in steps {
            today += days;
            let price = Some(money(&price.to_string()));
            let facts = Facts { price, past_allowed, ..facts(today) };
            let before = policy.clone();
            if let Ok(event) = decide(&policy, &command, &facts) {
                policy = State::with(Some(policy), before.version + 1, &event).unwrap();
                log.push(event);
            } else {
                prop_assert_eq!(&policy, &before);
            }
            holds_together(&policy)?;
            keeps_the_past(&before, &policy, today, past_allowed)?;
        }
        // Out of the log, where the data is text.
        let folded = log.iter().enumerate().fold(None, |policy, (index, event)| {
            let data = serde_json::to_string(event).unwrap();
            let event = PolicyEvent::parse(event.kind(), &data).unwrap();
            let version = i64::try_from(index).unwrap() + 1;
            Some(State::with(policy, version, &event).unwrap())
        });
        prop_assert_eq!(folded, Some(policy));
    }
}

/// Periods follow each other without gaps, from the first day of the policy to its end.
fn holds_together(policy: &State) -> Result<(), TestCaseError> {
    for cover in &policy.covers {
        prop_assert!(
            cover.until.is_none_or(|until| until > cover.from),
            "{policy:?}"
        );
    }
    for pair in policy.covers.windows(2) {
        prop_assert_eq!(pair[0].until, Some(pair[1].from));
    }
    let Some((first, last)) = policy.covers.first().zip(policy.covers.last()) else {
        return Ok(());
    };
    prop_assert_eq!(first.from, policy.valid_from);
    prop_assert_eq!(last.until, policy.valid_until);
    Ok(())
}

/// What a policy in force covered before today is what it covered.
fn keeps_the_past(
    before: &State,
    policy: &State,
    today: i32,
    past_allowed: bool,
) -> Result<(), TestCaseError> {
    if before.status == PolicyStatus::Draft && past_allowed {
        return Ok(());
    }
    for number in -5..today {
        let covered = |policy: &State| {
            let on = |cover: &&Cover| {
                cover.from <= day(number) && cover.until.is_none_or(|until| day(number) < until)
            };
            policy
                .covers
                .iter()
                .find(on)
                .map(|it| (it.car.clone(), it.monthly_cost))
        };
        prop_assert_eq!(covered(before), covered(policy), "day {}", number);
    }
    Ok(())
}
