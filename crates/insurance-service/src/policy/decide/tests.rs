mod histories;

use contracts::{Day, Money, PolicyStatus, Product, TransitionReason};
use jiff::{ToSpan, civil::date};

use super::{Change, Command, Facts, Move, Refusal, Rule, Terms, allowed, decide, draft};
use crate::policy::state::{Cover, State};

const STATUSES: [PolicyStatus; 5] = [
    PolicyStatus::Draft,
    PolicyStatus::Active,
    PolicyStatus::Suspended,
    PolicyStatus::Cancelled,
    PolicyStatus::Expired,
];

/// The day so many days after the first one of the tests.
fn day(number: i32) -> Day {
    let day = date(2026, 12, 1).checked_add(number.days()).unwrap();
    day.try_into().unwrap()
}

fn money(text: &str) -> Money {
    text.parse().unwrap()
}

fn facts(today: i32) -> Facts {
    Facts {
        today: day(today),
        price: Some(money("30")),
        past_allowed: false,
        erased: false,
    }
}

fn car_from(from: i32, until: Option<i32>) -> Terms {
    Terms {
        product: Product::Car,
        car: Some("ABC123".parse().unwrap()),
        valid_from: day(from),
        valid_until: until.map(day),
    }
}

fn drafted(from: i32, until: Option<i32>) -> State {
    let event = draft(1, car_from(from, until), Some(money("30"))).unwrap();
    State::with(None, 1, &event).unwrap()
}

fn to(to: PolicyStatus, effective_on: Option<i32>) -> Command {
    Command::Move(Move {
        to,
        reason: TransitionReason::Other,
        effective_on: effective_on.map(day),
    })
}

#[expect(clippy::option_option, reason = "as in a change")]
fn changed(effective_on: i32, car: Option<&str>, valid_until: Option<Option<i32>>) -> Command {
    Command::Change(Change {
        effective_on: day(effective_on),
        car: car.map(|car| car.parse().unwrap()),
        valid_until: valid_until.map(|until| until.map(day)),
    })
}

/// The policy after these commands, each given on its day.
fn after(mut policy: State, commands: &[(i32, Command)]) -> State {
    for (today, command) in commands {
        let event = decide(&policy, command, &facts(*today)).unwrap();
        let version = policy.version + 1;
        policy = State::with(Some(policy), version, &event).unwrap();
    }
    policy
}

fn active(from: i32, until: Option<i32>) -> State {
    after(
        drafted(from, until),
        &[(from, to(PolicyStatus::Active, None))],
    )
}

/// The days of each period as `first..end`, and its car.
fn periods(policy: &State) -> Vec<String> {
    let text = |cover: &Cover| {
        let until = cover.until.map_or(String::new(), |until| until.to_string());
        let car = cover.car.as_ref().unwrap();
        format!("{}..{until} {car}", cover.from)
    };
    policy.covers.iter().map(text).collect()
}

fn rule(policy: &State, command: &Command, today: i32) -> Rule {
    match decide(policy, command, &facts(today)) {
        Err(Refusal::Rule(rule)) => rule,
        other => panic!("{command:?}: {other:?}"),
    }
}

/// What each status may become, as the design has it.
#[test]
fn every_pair_of_statuses_is_allowed_or_refused() {
    use PolicyStatus::{Cancelled, Suspended};
    let suspended = || after(active(0, Some(31)), &[(0, to(Suspended, None))]);
    let no = None;
    let (activated, resumed) = (Some("policy.activated.v1"), Some("policy.resumed.v1"));
    let (off, cancelled) = (Some("policy.suspended.v1"), Some("policy.cancelled.v1"));
    for (name, policy, today, table) in [
        (
            "draft",
            drafted(0, Some(31)),
            0,
            [no, activated, no, cancelled, no],
        ),
        (
            "active",
            active(0, Some(31)),
            5,
            [no, no, off, cancelled, no],
        ),
        (
            "suspended",
            suspended(),
            5,
            [no, resumed, no, cancelled, no],
        ),
        (
            "cancelled for later",
            after(active(0, None), &[(0, to(Cancelled, Some(20)))]),
            5,
            [no, no, off, no, no],
        ),
        (
            "suspended and cancelled for later",
            after(suspended(), &[(0, to(Cancelled, Some(20)))]),
            5,
            [no, resumed, no, no, no],
        ),
        (
            "cancelled",
            after(active(0, None), &[(0, to(Cancelled, Some(20)))]),
            20,
            [no; 5],
        ),
        (
            "cancelled draft",
            after(drafted(0, None), &[(0, to(Cancelled, None))]),
            0,
            [no; 5],
        ),
        ("expired", active(0, Some(31)), 31, [no; 5]),
        ("expired while suspended", suspended(), 31, [no; 5]),
    ] {
        for (status, expected) in STATUSES.into_iter().zip(table) {
            let pair = format!("{name} to {}", status.name());
            let decided = decide(&policy, &to(status, None), &facts(today));
            let told = allowed(&policy, day(today), false);
            assert_eq!(told.contains(&status), expected.is_some(), "{pair}");
            match (expected, decided) {
                (Some(kind), Ok(event)) => assert_eq!(event.kind(), kind, "{pair}"),
                (None, Err(Refusal::TransitionNotAllowed { from, to, allowed })) => {
                    assert_eq!(from, policy.status_on(day(today)), "{pair}");
                    assert_eq!((to, allowed), (status, told), "{pair}");
                }
                (_, other) => panic!("{pair}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_draft_without_its_person_can_only_be_cancelled() {
    let (policy, erased) = (
        drafted(0, None),
        Facts {
            erased: true,
            ..facts(0)
        },
    );
    assert_eq!(allowed(&policy, day(0), true), [PolicyStatus::Cancelled]);
    assert!(decide(&policy, &to(PolicyStatus::Active, None), &erased).is_err());
    let redraft = Command::Redraft(car_from(0, None));
    assert_eq!(decide(&policy, &redraft, &erased), Err(Refusal::Erased));
    assert!(decide(&policy, &to(PolicyStatus::Cancelled, None), &erased).is_ok());
}

#[test]
fn what_a_draft_says_is_held_to_rules() {
    let refused = |terms| match draft(1, terms, Some(money("30"))) {
        Err(Refusal::Rule(rule)) => rule,
        other => panic!("{other:?}"),
    };
    let of = |product, car: Option<&str>| Terms {
        product,
        car: car.map(|car| car.parse().unwrap()),
        ..car_from(0, None)
    };
    assert_eq!(refused(of(Product::Car, None)), Rule::CarRequired);
    assert_eq!(
        refused(of(Product::Pet, Some("ABC123"))),
        Rule::CarNotAllowed
    );
    assert_eq!(refused(car_from(5, Some(5))), Rule::DatesReversed);
    assert_eq!(draft(1, car_from(0, None), None), Err(Rule::NoPrice.into()));
    let redraft = Command::Redraft(car_from(5, Some(4)));
    assert_eq!(rule(&drafted(0, None), &redraft, 0), Rule::DatesReversed);
    let active = active(0, None);
    let redraft = Command::Redraft(car_from(0, None));
    assert_eq!(
        decide(&active, &redraft, &facts(0)),
        Err(Refusal::NotADraft)
    );
}

#[test]
fn an_activation_freezes_the_price_and_begins_today_or_later() {
    let policy = drafted(5, None);
    let activate = to(PolicyStatus::Active, None);
    let dear = Facts {
        price: Some(money("35")),
        ..facts(5)
    };
    let event = decide(&policy, &activate, &dear).unwrap();
    let active = State::with(Some(policy.clone()), 2, &event).unwrap();
    assert_eq!(
        (active.monthly_cost, active.covers[0].monthly_cost),
        (money("35"), money("35"))
    );
    assert_eq!(rule(&policy, &activate, 6), Rule::CoverInThePast);
    let administrator = Facts {
        past_allowed: true,
        ..facts(6)
    };
    assert!(decide(&policy, &activate, &administrator).is_ok());
    let unpriced = Facts {
        price: None,
        ..facts(5)
    };
    assert_eq!(
        decide(&policy, &activate, &unpriced),
        Err(Rule::NoPrice.into())
    );
    assert_eq!(
        rule(&policy, &to(PolicyStatus::Active, Some(5)), 5),
        Rule::EffectiveOnNotAllowed
    );
}

#[test]
fn a_cancellation_cuts_the_cover_at_its_day() {
    use PolicyStatus::{Active, Cancelled, Expired};
    let policy = active(0, Some(31));
    for outside in [4, 31, 40] {
        let cancel = to(Cancelled, Some(outside));
        assert_eq!(
            rule(&policy, &cancel, 5),
            Rule::EffectiveOnOutOfRange,
            "{outside}"
        );
    }
    let cancelled = after(policy.clone(), &[(5, to(Cancelled, Some(30)))]);
    assert_eq!(periods(&cancelled), ["2026-12-01..2026-12-31 ABC123"]);
    assert_eq!(cancelled.valid_until, Some(day(30)));
    assert_eq!(cancelled.status_on(day(29)), Active);
    assert_eq!(cancelled.status_on(day(30)), Cancelled);
    let ended = after(cancelled, &[(30, Command::End)]);
    assert_eq!(ended.status, Cancelled);

    let at_once = after(policy.clone(), &[(5, to(Cancelled, None))]);
    assert_eq!(at_once.status_on(day(5)), Cancelled);
    // Before its first day it loses its cover whole.
    let never = after(
        drafted(10, None),
        &[(3, to(Active, None)), (4, to(Cancelled, Some(8)))],
    );
    assert_eq!(
        (periods(&never).len(), never.valid_until),
        (0, Some(day(10)))
    );

    assert_eq!(policy.status_on(day(31)), Expired);
    let expired = after(policy, &[(31, Command::End)]);
    assert_eq!(expired.status, Expired);
    assert_eq!(
        decide(&expired, &Command::End, &facts(40)),
        Err(Refusal::NotInForce)
    );
}

#[test]
fn a_change_takes_effect_on_its_day() {
    let policy = active(0, Some(31));
    let other = after(policy.clone(), &[(2, changed(14, Some("DEF456"), None))]);
    let expected = [
        "2026-12-01..2026-12-15 ABC123",
        "2026-12-15..2027-01-01 DEF456",
    ];
    assert_eq!(periods(&other), expected);
    // An earlier change takes the later one's place, with the car of its own day.
    let shorter = after(other.clone(), &[(2, changed(10, None, Some(Some(20))))]);
    let expected = [
        "2026-12-01..2026-12-11 ABC123",
        "2026-12-11..2026-12-21 ABC123",
    ];
    assert_eq!(periods(&shorter), expected);
    // From its first day.
    let whole = after(active(5, None), &[(5, changed(5, Some("DEF456"), None))]);
    assert_eq!(periods(&whole), ["2026-12-06.. DEF456"]);

    let range = Rule::EffectiveOnOutOfRange;
    for (command, refused) in [
        (changed(14, None, None), Rule::NothingToChange),
        (changed(4, Some("DEF456"), None), range),
        (changed(32, Some("DEF456"), None), range),
        (changed(31, Some("DEF456"), None), range),
        (changed(14, None, Some(Some(14))), Rule::DatesReversed),
        (changed(31, None, Some(Some(31))), Rule::DatesReversed),
    ] {
        assert_eq!(rule(&policy, &command, 5), refused, "{command:?}");
    }
    let later = active(10, None);
    assert_eq!(
        rule(&later, &changed(10, None, None), 10),
        Rule::NothingToChange
    );
    let early = changed(9, Some("DEF456"), None);
    let future = after(drafted(10, None), &[(0, to(PolicyStatus::Active, None))]);
    assert_eq!(rule(&future, &early, 0), range);

    let leaving = after(policy, &[(5, to(PolicyStatus::Cancelled, Some(20)))]);
    for unchangeable in [leaving, drafted(0, None)] {
        let command = changed(14, Some("DEF456"), None);
        let decided = decide(&unchangeable, &command, &facts(5));
        assert_eq!(decided, Err(Refusal::NotInForce));
    }
}

#[test]
fn only_a_renewal_takes_a_new_price() {
    let policy = active(0, Some(31));
    let dear = Facts {
        price: Some(money("35")),
        ..facts(5)
    };
    let cost = |command| {
        let event = decide(&policy, &command, &dear).unwrap();
        let changed = State::with(Some(policy.clone()), 3, &event).unwrap();
        changed.covers.last().unwrap().monthly_cost
    };
    assert_eq!(cost(changed(14, Some("DEF456"), Some(None))), money("30"));
    assert_eq!(cost(changed(31, None, Some(None))), money("35"));
    let unpriced = Facts {
        price: None,
        ..facts(5)
    };
    let renewal = changed(31, None, Some(None));
    assert_eq!(
        decide(&policy, &renewal, &unpriced),
        Err(Rule::NoPrice.into())
    );
}
