//! Manual control: while an operator stops calls to Vehicle, not one reaches it.

use std::time::Duration;

use contracts::Source;
use test_support::{FakeVehicle, Gate, Reply};
use tokio::{
    runtime::Handle,
    task::yield_now,
    time::{advance, pause, resume},
};
use vehicle_client::{
    BreakerOptions, BreakerPhase, CacheOptions, CallsState, FailureKind, IsolationOrder, Lookup,
    Options, Strategy,
};

use crate::setup::{BREAKER, Client, client, found, kind, many, patient, retry_after, unhurried};

const MINUTE: Duration = Duration::from_mins(1);

fn order(reason: &str) -> IsolationOrder {
    IsolationOrder {
        reason: reason.to_owned(),
        owner: "on-call".to_owned(),
        key_id: "operations".to_owned(),
    }
}

fn isolate(client: &Client, lasts: Duration) {
    client.vehicles.isolate(order("a test"), lasts);
}

fn isolated(client: &Client) -> i64 {
    client.metric("vehicle_client_isolated", &[])
}

/// Lets time go by while nothing is asked: sockets need the real clock.
async fn pass(time: Duration) {
    // Whoever waits has begun to.
    yield_now().await;
    pause();
    // Timers have the grain of a millisecond.
    advance(time + Duration::from_millis(1)).await;
    yield_now().await;
    resume();
}

#[tokio::test]
async fn not_one_call_goes_out_until_the_release() {
    let fake = FakeVehicle::healthy().await;
    let client = client(&patient(&fake));
    assert_eq!(isolated(&client), 0);
    isolate(&client, MINUTE);
    assert_eq!(isolated(&client), 1);
    for strategy in [Strategy::Single, Strategy::Batch] {
        let lookups = client
            .vehicles
            .look_up(&many("AB", 100), strategy, &unhurried())
            .await;
        for lookup in lookups.values() {
            assert_eq!(kind(lookup), FailureKind::Isolated);
            assert!((30..60).contains(&retry_after(lookup).unwrap()));
        }
    }
    assert_eq!(fake.calls(), 0);
    assert_eq!(client.metric("vehicle_client_attempts_total", &[]), 0);
    client.vehicles.release();
    assert_eq!(isolated(&client), 0);
    let lookup = client.one("ABC123", &unhurried()).await;
    assert_eq!(found(&lookup), Source::Live);
    assert_eq!(fake.calls(), 1);
}

#[tokio::test]
async fn calls_that_wait_for_their_turn_are_kept_back_and_the_one_in_flight_is_not() {
    let gate = Gate::closed();
    let held = gate.clone();
    let fake = FakeVehicle::start(move |request| Reply::healthy(request).held(&held)).await;
    let client = client(&Options {
        max_degree_of_parallelism_single: 1,
        ..patient(&fake)
    });
    let asking: Vec<_> = many("AB", 5)
        .into_iter()
        .map(|number| {
            let (client, context) = (client.clone(), unhurried());
            tokio::spawn(async move { client.one(number.as_str(), &context).await })
        })
        .collect();
    fake.reached(1).await;
    client.queued(4).await;
    isolate(&client, MINUTE);
    gate.open();
    let mut answered = 0;
    for lookup in asking {
        match lookup.await.unwrap() {
            Lookup::Found { .. } => answered += 1,
            lookup => assert_eq!(kind(&lookup), FailureKind::Isolated),
        }
    }
    assert_eq!((answered, fake.calls()), (1, 1));
}

#[tokio::test]
async fn it_ends_by_itself_though_nobody_asks() {
    let fake = FakeVehicle::healthy().await;
    let client = client(&patient(&fake));
    isolate(&client, MINUTE);
    pass(Duration::from_secs(59)).await;
    assert_eq!(isolated(&client), 1);
    let left = client.vehicles.guard_state().isolated.unwrap().remaining;
    assert!(left <= Duration::from_secs(1), "{left:?}");
    pass(Duration::from_secs(1)).await;
    assert_eq!(isolated(&client), 0);
    assert_eq!(client.vehicles.guard_state().isolated, None);
    let lookup = client.one("ABC123", &unhurried()).await;
    assert_eq!(found(&lookup), Source::Live);
}

#[tokio::test]
async fn another_order_lasts_for_its_own_time() {
    let fake = FakeVehicle::healthy().await;
    let client = client(&patient(&fake));
    isolate(&client, MINUTE);
    client.vehicles.isolate(order("another"), 3 * MINUTE);
    pass(2 * MINUTE).await;
    assert_eq!(isolated(&client), 1);
    let now = client.vehicles.guard_state().isolated.unwrap();
    assert_eq!(now.order, order("another"));
    assert_eq!(
        kind(&client.one("ABC123", &unhurried()).await),
        FailureKind::Isolated
    );
    // A shorter one ends earlier.
    isolate(&client, Duration::from_secs(1));
    pass(Duration::from_secs(1)).await;
    assert_eq!(isolated(&client), 0);
}

#[tokio::test]
async fn one_task_waits_for_the_end_and_none_without_an_isolation() {
    let fake = FakeVehicle::healthy().await;
    let client = client(&patient(&fake));
    let tasks = || Handle::current().metrics().num_alive_tasks();
    yield_now().await;
    let before = tasks();
    for _ in 0..10 {
        isolate(&client, MINUTE);
    }
    yield_now().await;
    assert_eq!(tasks(), before + 1);
    client.vehicles.release();
    yield_now().await;
    assert_eq!(tasks(), before);
    isolate(&client, MINUTE);
    drop(client);
    yield_now().await;
    assert_eq!(tasks(), before);
}

#[tokio::test]
async fn the_breaker_learns_nothing_from_calls_that_were_kept_back() {
    let fake = FakeVehicle::start(|_| Reply::status(500)).await;
    let client = client(&Options {
        breaker: BreakerOptions {
            open_for: MINUTE,
            ..BREAKER
        },
        max_retries: 0,
        ..patient(&fake)
    });
    let phase = || client.vehicles.guard_state().breaker.phase;
    let ask = async |times: usize| {
        for _ in 0..times {
            client.one("ABC123", &unhurried()).await;
        }
    };
    ask(19).await;
    isolate(&client, MINUTE);
    ask(50).await;
    assert_eq!(phase(), BreakerPhase::Closed);
    client.vehicles.release();
    ask(1).await;
    assert_eq!(phase(), BreakerPhase::Open);
    // Open it stays, without a probe, for as long as an isolation lasts beyond its end.
    isolate(&client, 5 * MINUTE);
    pass(2 * MINUTE).await;
    ask(50).await;
    assert_eq!(phase(), BreakerPhase::Open);
    assert_eq!(fake.calls(), 20);
    client.vehicles.release();
    fake.script(Reply::healthy);
    ask(1).await;
    assert_eq!(phase(), BreakerPhase::HalfOpen);
    // Nor does a half-open one close.
    isolate(&client, MINUTE);
    ask(50).await;
    assert_eq!(phase(), BreakerPhase::HalfOpen);
    client.vehicles.release();
    ask(2).await;
    assert_eq!(phase(), BreakerPhase::Closed);
}

#[tokio::test]
async fn answers_that_are_kept_are_still_given() {
    let keeping = CacheOptions {
        enabled: true,
        fresh: MINUTE,
        soft_stale: MINUTE,
        hard_stale: Duration::from_hours(1),
        negative: MINUTE,
        jitter: 0.0,
        max_bytes: 1 << 20,
    };
    for (fresh, source) in [
        (keeping.fresh, Source::Cache),
        (Duration::ZERO, Source::LastKnownGood),
    ] {
        let fake = FakeVehicle::healthy().await;
        let client = client(&Options {
            cache: CacheOptions {
                fresh,
                soft_stale: fresh,
                ..keeping
            },
            ..patient(&fake)
        });
        client.one("ABC123", &unhurried()).await;
        isolate(&client, MINUTE);
        let lookup = client.one("ABC123", &unhurried()).await;
        assert_eq!(found(&lookup), source);
        assert_eq!(fake.calls(), 1);
        let kept = client.vehicles.guard_state().cache.unwrap();
        assert!(kept.entries == 1 && kept.bytes > 0, "{kept:?}");
    }
}

#[tokio::test]
async fn the_state_counts_calls_in_flight_and_calls_that_wait() {
    let gate = Gate::closed();
    let held = gate.clone();
    let fake = FakeVehicle::start(move |request| Reply::healthy(request).held(&held)).await;
    let client = client(&Options {
        max_degree_of_parallelism_single: 2,
        ..patient(&fake)
    });
    let before = client.vehicles.guard_state();
    let calls = |in_flight, waiting, maximum| CallsState {
        in_flight,
        waiting,
        maximum,
    };
    assert_eq!(
        (before.single, before.batch),
        (calls(0, 0, 2), calls(0, 0, 1))
    );
    assert_eq!(before.isolated, None);
    assert_eq!(before.breaker.phase, BreakerPhase::Closed);
    assert_eq!(
        (before.breaker.retry_after, before.retry_after),
        (None, None)
    );
    assert_eq!(before.cache, None);
    let asking: Vec<_> = many("AB", 5)
        .into_iter()
        .map(|number| {
            let (client, context) = (client.clone(), unhurried());
            tokio::spawn(async move { client.one(number.as_str(), &context).await })
        })
        .collect();
    client.queued(3).await;
    fake.reached(2).await;
    assert_eq!(client.vehicles.guard_state().single, calls(2, 3, 2));
    asking.iter().for_each(tokio::task::JoinHandle::abort);
    client.unqueued().await;
    assert_eq!(client.vehicles.guard_state().single, calls(2, 0, 2));
    gate.open();
    client.ended(2).await;
    assert_eq!(client.vehicles.guard_state().single, calls(0, 0, 2));
}

#[tokio::test]
async fn the_state_says_for_how_long_vehicle_asked_to_be_left_alone() {
    let fake = FakeVehicle::start(|_| Reply::with_header(503, "retry-after", "50")).await;
    let client = client(&patient(&fake));
    client.one("ABC123", &unhurried()).await;
    let state = client.vehicles.guard_state();
    let left = state.retry_after.unwrap().as_secs();
    assert!((30..=50).contains(&left), "{left}");
    assert!(state.retries_left > 0.0, "{state:?}");
}

#[tokio::test]
async fn nobody_waits_for_a_place_to_be_told_of_an_isolation() {
    let gate = Gate::closed();
    let held = gate.clone();
    let fake = FakeVehicle::start(move |request| Reply::healthy(request).held(&held)).await;
    let client = client(&Options {
        max_degree_of_parallelism_single: 1,
        queue_length: 0,
        ..patient(&fake)
    });
    let asking = client.clone();
    let first = tokio::spawn(async move { asking.one("AB00", &unhurried()).await });
    fake.reached(1).await;
    isolate(&client, MINUTE);
    // Were it to ask for a place first, it would be `overloaded`.
    let other = client.one("AB01", &unhurried()).await;
    assert_eq!(kind(&other), FailureKind::Isolated);
    gate.open();
    assert_eq!(found(&first.await.unwrap()), Source::Live);
}
