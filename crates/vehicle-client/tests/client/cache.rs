//! The cache: which answers are given without asking Vehicle, and how old they may be.

use std::time::Duration;

use contracts::Source;
use serde_json::json;
use test_support::{FakeVehicle, Gate, Reply, Request};
use vehicle_client::{CacheOptions, FailureKind, Lookup, Options, Strategy};

use crate::setup::{Client, client, found, kind, patient, unhurried, within};

/// Nothing leaves its class within a test.
const KEEPING: CacheOptions = CacheOptions {
    enabled: true,
    fresh: Duration::from_hours(1),
    soft_stale: Duration::from_hours(2),
    hard_stale: Duration::from_hours(24),
    negative: Duration::from_hours(1),
    jitter: 0.0,
    max_bytes: 1 << 20,
};
/// Everything is soft-stale as soon as it is there.
const SOFT: CacheOptions = CacheOptions {
    fresh: Duration::ZERO,
    ..KEEPING
};
/// Everything is hard-stale as soon as it is there.
const HARD: CacheOptions = CacheOptions {
    soft_stale: Duration::ZERO,
    ..SOFT
};

fn caching(fake: &FakeVehicle, cache: CacheOptions) -> Client {
    client(&Options {
        cache,
        max_retries: 0,
        ..patient(fake)
    })
}

#[tokio::test]
async fn a_fresh_answer_is_given_again_without_asking() {
    for strategy in [Strategy::Single, Strategy::Batch] {
        let fake = FakeVehicle::healthy().await;
        let client = caching(&fake, KEEPING);
        for _ in 0..2 {
            client
                .all(&["ABC123", "ZZZ999"], strategy, &unhurried())
                .await;
        }
        let lookups = client
            .all(&["ABC123", "ZZZ999"], strategy, &unhurried())
            .await;
        assert_eq!(found(&lookups["ABC123"]), Source::Cache);
        assert_eq!(
            lookups["ZZZ999"],
            Lookup::NotFound {
                source: Source::Cache
            }
        );
        assert_eq!(
            fake.calls(),
            if strategy == Strategy::Single { 2 } else { 1 }
        );
        let looked = |class| {
            client.metric(
                "vehicle_client_cache_lookups_total",
                &[("freshness", class)],
            )
        };
        assert_eq!([looked("miss"), looked("fresh")], [2, 4]);
    }
}

#[tokio::test]
async fn failures_are_not_kept() {
    let fake = FakeVehicle::start(|_| Reply::status(500)).await;
    let client = caching(&fake, KEEPING);
    assert_eq!(
        kind(&client.one("ABC123", &unhurried()).await),
        FailureKind::ServerError
    );
    fake.script(Reply::healthy);
    assert_eq!(
        found(&client.one("ABC123", &unhurried()).await),
        Source::Live
    );
}

#[tokio::test]
async fn a_soft_stale_answer_is_given_and_refreshed_behind() {
    let fake = FakeVehicle::healthy().await;
    let client = caching(&fake, SOFT);
    client.one("ABC123", &unhurried()).await;
    assert_eq!(
        found(&client.one("ABC123", &unhurried()).await),
        Source::Cache
    );
    fake.reached(2).await;
}

#[tokio::test]
async fn a_refresh_that_fails_harms_nobody() {
    let fake = FakeVehicle::healthy().await;
    let client = caching(&fake, SOFT);
    client.one("ABC123", &unhurried()).await;
    fake.script(|_| Reply::status(500));
    while fake.calls() < 5 {
        let lookup = client.one("ABC123", &unhurried()).await;
        assert_eq!(found(&lookup), Source::Cache);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_hard_stale_answer_is_given_only_when_vehicle_fails() {
    let fake = FakeVehicle::healthy().await;
    let client = caching(&fake, HARD);
    assert_eq!(
        found(&client.one("ABC123", &unhurried()).await),
        Source::Live
    );
    assert_eq!(
        found(&client.one("ABC123", &unhurried()).await),
        Source::Live
    );
    fake.script(|_| Reply::status(500));
    assert_eq!(
        found(&client.one("ABC123", &unhurried()).await),
        Source::LastKnownGood
    );
    fake.script(|_| Reply::json(404, &json!({ "code": "vehicle_not_found" })));
    let gone = client.one("ABC123", &unhurried()).await;
    assert_eq!(
        gone,
        Lookup::NotFound {
            source: Source::Live
        }
    );
}

#[tokio::test]
async fn what_is_erased_is_asked_for_anew() {
    let fake = FakeVehicle::healthy().await;
    let client = caching(&fake, KEEPING);
    client.one("ABC123", &unhurried()).await;
    client.vehicles.erase(&"abc 123".parse().unwrap());
    assert_eq!(
        found(&client.one("ABC123", &unhurried()).await),
        Source::Live
    );
    assert_eq!(fake.calls(), 2);
}

#[tokio::test]
async fn what_is_erased_while_it_is_on_its_way_is_not_kept() {
    let fake =
        FakeVehicle::start(|request| Reply::healthy(request).after(Duration::from_millis(100)))
            .await;
    let client = caching(&fake, KEEPING);
    let (asking, context) = (client.clone(), unhurried());
    let first = tokio::spawn(async move { asking.one("ABC123", &context).await });
    fake.reached(1).await;
    client.vehicles.erase(&"ABC123".parse().unwrap());
    assert_eq!(
        found(&client.one("ABC123", &unhurried()).await),
        Source::Live
    );
    assert_eq!(found(&first.await.unwrap()), Source::Live);
    assert_eq!(fake.calls(), 2);
}

#[tokio::test]
async fn a_refresh_has_its_own_time_and_not_what_is_left_of_a_callers() {
    let fake = FakeVehicle::healthy().await;
    let client = caching(&fake, SOFT);
    client.one("ABC123", &unhurried()).await;
    fake.script(|request| Reply::healthy(request).after(Duration::from_millis(200)));
    let hasty = within(Duration::from_millis(20));
    assert_eq!(found(&client.one("ABC123", &hasty).await), Source::Cache);
    fake.reached(2).await;
    fake.idle().await;
    let answered = [("outcome", "answered")];
    let ended = async {
        while client.metric("vehicle_client_attempts_total", &[]) < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), ended)
        .await
        .expect("the refresh ends");
    assert_eq!(client.metric("vehicle_client_attempts_total", &answered), 2);
}

#[tokio::test]
async fn what_is_erased_while_vehicle_is_asked_is_not_given_when_it_fails() {
    let fake = FakeVehicle::healthy().await;
    let client = caching(&fake, HARD);
    client.one("ABC123", &unhurried()).await;
    let gate = Gate::closed();
    let held = gate.clone();
    fake.script(move |_| Reply::status(500).held(&held));
    let (asking, context) = (client.clone(), unhurried());
    let asked = tokio::spawn(async move { asking.one("ABC123", &context).await });
    fake.reached(2).await;
    client.vehicles.erase(&"ABC123".parse().unwrap());
    gate.open();
    assert_eq!(kind(&asked.await.unwrap()), FailureKind::ServerError);
}

#[tokio::test]
async fn what_others_asked_for_while_a_number_waited_for_its_turn_is_not_asked_for_again() {
    let (fake, gate) = (FakeVehicle::healthy().await, Gate::closed());
    let held = gate.clone();
    fake.script(move |request| match request.number {
        0 => Reply::healthy(request).held(&held),
        _ => Reply::healthy(request),
    });
    let client = client(&Options {
        cache: KEEPING,
        max_degree_of_parallelism_single: 1,
        ..patient(&fake)
    });
    let ask = |numbers: &'static [&str], strategy| {
        let client = client.clone();
        tokio::spawn(async move { client.all(numbers, strategy, &unhurried()).await })
    };
    let batch = ask(&["AAA111"], Strategy::Batch);
    fake.reached(1).await;
    // Its first number waits for the batch, and its second for the first.
    let both = ask(&["AAA111", "BBB222"], Strategy::Single);
    client.asked(3).await;
    let meanwhile = client.one("BBB222", &unhurried()).await;
    assert_eq!(found(&meanwhile), Source::Live);
    gate.open();
    batch.await.unwrap();
    let both = both.await.unwrap();
    assert_eq!(found(&both["AAA111"]), Source::Shared);
    assert_eq!(found(&both["BBB222"]), Source::Cache);
    assert_eq!(fake.calls(), 2);
    let answered = [("result", "answered")];
    assert_eq!(client.metric("vehicle_client_lookups_total", &answered), 4);
    assert_eq!(client.metric("vehicle_client_lookups_asked_total", &[]), 4);
}

#[tokio::test]
async fn a_failure_hides_no_answer_that_came_meanwhile() {
    let (fake, gate) = (FakeVehicle::healthy().await, Gate::closed());
    let held = gate.clone();
    fake.script(move |request| match request.number {
        0 => Reply::status(500).held(&held),
        _ => Reply::healthy(request),
    });
    let client = caching(&fake, KEEPING);
    let (asking, context) = (client.clone(), unhurried());
    let asked = tokio::spawn(async move { asking.one("ABC123", &context).await });
    fake.reached(1).await;
    // Whoever comes after an erasure does not join the call from before it.
    client.vehicles.erase(&"ABC123".parse().unwrap());
    client.one("ABC123", &unhurried()).await;
    gate.open();
    assert_eq!(found(&asked.await.unwrap()), Source::Cache);
}

#[tokio::test]
async fn what_is_missing_goes_before_what_is_refreshed() {
    for (strategy, expected) in [
        (
            Strategy::Single,
            &[&["BBB222"][..], &["CCC333"], &["AAA111"]][..],
        ),
        // One call for all.
        (Strategy::Batch, &[&["BBB222", "CCC333", "AAA111"]]),
    ] {
        let fake = FakeVehicle::healthy().await;
        let client = client(&Options {
            cache: SOFT,
            max_degree_of_parallelism_single: 1,
            ..patient(&fake)
        });
        client.one("AAA111", &unhurried()).await;
        let cars = ["AAA111", "BBB222", "CCC333"];
        let lookups = client.all(&cars, strategy, &unhurried()).await;
        assert_eq!(found(&lookups["AAA111"]), Source::Cache);
        fake.reached(1 + expected.len()).await;
        let numbers = |request: &Request| match strategy {
            Strategy::Single => request.path.rsplit('/').take(1).map(Into::into).collect(),
            Strategy::Batch => request.numbers(),
        };
        let sent: Vec<_> = fake.requests()[1..].iter().map(numbers).collect();
        assert_eq!(sent, expected);
    }
}
