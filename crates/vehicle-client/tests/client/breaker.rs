//! The circuit breaker, where it runs: in the guard, in front of a Vehicle that counts.

use std::time::Duration;

use serde_json::json;
use test_support::{FakeVehicle, Gate, Reply};
use vehicle_client::{BreakerOptions, FailureKind, Lookup, Options, Strategy};

use crate::setup::{BREAKER, Client, client, kind, many, patient, unhurried, within};

/// The documented breaker, without retries, so that a lookup is a call.
fn guarded(fake: &FakeVehicle, breaker: BreakerOptions) -> Options {
    Options {
        breaker,
        max_retries: 0,
        ..patient(fake)
    }
}

/// A breaker that stays open for longer than any test takes.
const LASTING: BreakerOptions = BreakerOptions {
    open_for: Duration::from_mins(1),
    ..BREAKER
};

/// A breaker that soon probes.
const PROBING: BreakerOptions = BreakerOptions {
    open_for: Duration::from_millis(20),
    max_open_for: Duration::from_millis(20),
    ..BREAKER
};

async fn open(client: &Client) {
    for _ in 0..BREAKER.minimum_calls {
        client.one("AAA111", &unhurried()).await;
    }
    assert_eq!(state(client), "open");
}

fn state(client: &Client) -> &'static str {
    ["closed", "open", "half_open"]
        .into_iter()
        .find(|state| client.metric("vehicle_client_breaker_state", &[("state", state)]) == 1)
        .unwrap()
}

#[tokio::test]
async fn twenty_failures_open_it_and_then_nothing_goes_out() {
    let fake = FakeVehicle::start(|_| Reply::status(500)).await;
    let client = client(&guarded(&fake, LASTING));
    open(&client).await;
    assert_eq!(fake.calls(), 20);
    for strategy in [Strategy::Single, Strategy::Batch] {
        let lookups = client
            .vehicles
            .look_up(&many("AB", 100), strategy, &unhurried())
            .await;
        assert_eq!(lookups.len(), 100);
        for lookup in lookups.values() {
            assert_eq!(kind(lookup), FailureKind::BreakerOpen);
            let Lookup::Unavailable(failure) = lookup else {
                unreachable!()
            };
            assert!(
                failure
                    .retry_after
                    .is_some_and(|after| after > Duration::from_secs(50))
            );
        }
    }
    assert_eq!(fake.calls(), 20);
}

#[tokio::test]
async fn nineteen_failures_do_not_open_it() {
    let fake = FakeVehicle::start(|_| Reply::status(500)).await;
    let client = client(&guarded(&fake, LASTING));
    for _ in 0..19 {
        assert_eq!(
            kind(&client.one("AAA111", &unhurried()).await),
            FailureKind::ServerError
        );
    }
    assert_eq!(state(&client), "closed");
}

#[tokio::test]
async fn twenty_failures_in_a_row_open_it_whatever_went_before() {
    let fake = FakeVehicle::start(Reply::healthy).await;
    let client = client(&guarded(&fake, LASTING));
    for _ in 0..200 {
        client.one("AAA111", &unhurried()).await;
    }
    fake.script(|_| Reply::status(500));
    open(&client).await;
    assert_eq!(fake.calls(), 220);
}

#[tokio::test]
async fn half_of_the_calls_failing_open_it() {
    let fake = FakeVehicle::start(|request| match request.number % 2 {
        0 => Reply::status(500),
        _ => Reply::healthy(request),
    })
    .await;
    let client = client(&guarded(&fake, LASTING));
    open(&client).await;
}

#[tokio::test]
async fn refusals_and_missing_vehicles_never_open_it() {
    for status in [400, 401, 403, 404] {
        let not_found = json!({ "code": "vehicle_not_found" });
        let fake = FakeVehicle::start(move |_| Reply::json(status, &not_found)).await;
        let client = client(&guarded(&fake, LASTING));
        for _ in 0..100 {
            client.one("AAA111", &unhurried()).await;
        }
        assert_eq!((fake.calls(), state(&client)), (100, "closed"), "{status}");
    }
}

#[tokio::test]
async fn calls_whose_callers_went_away_open_it() {
    let fake = FakeVehicle::start(|_| Reply::Hang).await;
    let mut options = guarded(&fake, LASTING);
    options.attempt_timeout = Duration::from_millis(50);
    let client = client(&options);
    for call in 1..=20 {
        assert_eq!(state(&client), "closed");
        let (asking, context) = (client.clone(), unhurried());
        let caller = tokio::spawn(async move { asking.one("AAA111", &context).await });
        client.begun(call).await;
        caller.abort();
        client.ended(call).await;
    }
    assert_eq!(state(&client), "open");
}

#[tokio::test]
async fn calls_whose_callers_ran_out_of_time_open_it() {
    let fake = FakeVehicle::start(|_| Reply::Hang).await;
    let mut options = guarded(&fake, LASTING);
    options.attempt_timeout = Duration::from_millis(100);
    let client = client(&options);
    for call in 1..=20 {
        assert_eq!(state(&client), "closed");
        while client.attempts() < call {
            let context = within(Duration::from_millis(20));
            let lookup = client.one("AAA111", &context).await;
            assert_eq!(kind(&lookup), FailureKind::Timeout);
        }
        client.ended(call).await;
    }
    assert_eq!(state(&client), "open");
}

#[tokio::test]
async fn calls_that_are_still_in_flight_open_it_once_they_are_slow() {
    let fake = FakeVehicle::start(|_| Reply::Hang).await;
    let breaker = BreakerOptions {
        // Of ten seconds.
        slow_after_share: 0.005,
        ..LASTING
    };
    let mut options = guarded(&fake, breaker);
    options.max_degree_of_parallelism_single = 100;
    let client = client(&options);
    let (asking, context) = (client.clone(), unhurried());
    let slow = tokio::spawn(async move {
        asking
            .vehicles
            .look_up(&many("AB", 20), Strategy::Single, &context)
            .await
    });
    while fake.calls() < 20 {
        tokio::task::yield_now().await;
    }
    // The callers of these are gone before any of them is slow itself.
    let mut refused = false;
    for number in many("CD", 80) {
        let context = within(Duration::from_millis(20));
        refused |= kind(&client.one(number.as_str(), &context).await) == FailureKind::BreakerOpen;
        if refused {
            break;
        }
    }
    assert!(refused && !slow.is_finished());
    slow.abort();
}

#[tokio::test]
async fn three_good_probes_close_it() {
    let fake = FakeVehicle::start(|_| Reply::status(500)).await;
    let client = client(&guarded(&fake, PROBING));
    open(&client).await;
    fake.script(Reply::healthy);
    while state(&client) != "closed" {
        client.one("AAA111", &unhurried()).await;
    }
    assert_eq!(fake.calls(), 23);
    let became = |state| {
        client.metric(
            "vehicle_client_breaker_transitions_total",
            &[("state", state)],
        )
    };
    assert_eq!(["open", "half_open", "closed"].map(became), [1, 1, 1]);
}

#[tokio::test]
async fn a_failed_probe_opens_it_again() {
    let fake = FakeVehicle::start(|_| Reply::status(500)).await;
    let client = client(&guarded(&fake, PROBING));
    open(&client).await;
    while fake.calls() < 25 {
        client.one("AAA111", &unhurried()).await;
    }
    let opened = client.metric(
        "vehicle_client_breaker_transitions_total",
        &[("state", "open")],
    );
    assert_eq!(opened, 6);
}

#[tokio::test]
async fn a_hundred_callers_are_one_probe() {
    let fake = FakeVehicle::start(|_| Reply::status(500)).await;
    let mut options = guarded(&fake, PROBING);
    options.max_degree_of_parallelism_single = 100;
    let client = client(&options);
    open(&client).await;
    let gate = Gate::closed();
    let held = gate.clone();
    fake.script(move |request| Reply::healthy(request).held(&held));
    let (asking, context) = (client.clone(), unhurried());
    let probe = tokio::spawn(async move {
        loop {
            asking.one("AAA111", &context).await;
        }
    });
    while fake.calls() < 21 {
        tokio::task::yield_now().await;
    }
    let lookups = client
        .vehicles
        .look_up(&many("AB", 99), Strategy::Single, &unhurried())
        .await;
    assert!(
        lookups
            .values()
            .all(|lookup| kind(lookup) == FailureKind::BreakerOpen)
    );
    assert_eq!(fake.calls(), 21);
    // The probe is out when its caller goes away, and is the one probe until it ends.
    probe.abort();
    assert!(probe.await.unwrap_err().is_cancelled());
    let other = client.one("CCC333", &unhurried()).await;
    assert_eq!(kind(&other), FailureKind::BreakerOpen);
    gate.open();
    client.ended(21).await;
    let next = client.one("CCC333", &unhurried()).await;
    assert!(matches!(next, Lookup::Found { .. }), "{next:?}");
    assert_eq!(fake.calls(), 22);
}

#[tokio::test]
async fn while_a_probe_holds_the_only_place_others_are_refused_and_not_queued() {
    let fake = FakeVehicle::start(|_| Reply::status(500)).await;
    let mut options = guarded(&fake, PROBING);
    options.max_degree_of_parallelism_single = 1;
    options.queue_length = 0;
    let client = client(&options);
    for _ in 0..20 {
        client.one("AAA111", &unhurried()).await;
    }
    let gate = Gate::closed();
    let held = gate.clone();
    fake.script(move |request| Reply::healthy(request).held(&held));
    let probing = client.clone();
    let probe = tokio::spawn(async move {
        while cause_if_any(&probing.one("AAA111", &unhurried()).await)
            == Some(FailureKind::BreakerOpen)
        {
            tokio::task::yield_now().await;
        }
    });
    fake.reached(21).await;
    // Were it to ask for a place first, it would be `overloaded`.
    let other = client.one("BBB222", &unhurried()).await;
    assert_eq!(kind(&other), FailureKind::BreakerOpen);
    gate.open();
    probe.await.unwrap();
}

fn cause_if_any(lookup: &Lookup) -> Option<FailureKind> {
    match lookup {
        Lookup::Unavailable(failure) => Some(failure.kind),
        _ => None,
    }
}
