//! What becomes of a call whose callers have all gone: once it is out it is the guard's.

use std::time::Duration;

use contracts::Source;
use serde_json::json;
use test_support::{FakeVehicle, Gate, Reply, Request};
use tokio::task::JoinHandle;
use vehicle_client::{CacheOptions, FailureKind, IsolationOrder, Options, Strategy};

use crate::setup::{Client, client, found, kind, numbers, patient, unhurried, within};

const KEEPING: CacheOptions = CacheOptions {
    enabled: true,
    fresh: Duration::from_hours(1),
    soft_stale: Duration::from_hours(1),
    hard_stale: Duration::from_hours(24),
    negative: Duration::from_hours(1),
    jitter: 0.0,
    max_bytes: 1 << 20,
};

/// A client with a cache and one call at a time, in front of a Vehicle that answers once the gate
/// is open.
async fn gated() -> (FakeVehicle, Gate, Client) {
    let gate = Gate::closed();
    let held = gate.clone();
    let fake = FakeVehicle::start(move |request| Reply::healthy(request).held(&held)).await;
    let client = client(&Options {
        cache: KEEPING,
        max_degree_of_parallelism_single: 1,
        ..patient(&fake)
    });
    (fake, gate, client)
}

fn ask(client: &Client, texts: &[&str], strategy: Strategy) -> JoinHandle<()> {
    let (client, numbers) = (client.clone(), numbers(texts));
    tokio::spawn(async move {
        let vehicles = client.vehicles;
        vehicles.look_up(&numbers, strategy, &unhurried()).await;
    })
}

async fn gone(caller: JoinHandle<()>) {
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn its_answer_is_kept() {
    for strategy in [Strategy::Single, Strategy::Batch] {
        let (fake, gate, client) = gated().await;
        let caller = ask(&client, &["ABC123"], strategy);
        fake.reached(1).await;
        gone(caller).await;
        gate.open();
        client.ended(1).await;
        let kept = client.all(&["ABC123"], strategy, &unhurried()).await;
        // By then it may still be on its way into the cache; but no second call is made for it.
        assert!(matches!(
            found(&kept["ABC123"]),
            Source::Cache | Source::Shared
        ));
        let kept = client.one("ABC123", &unhurried()).await;
        assert_eq!((found(&kept), fake.calls()), (Source::Cache, 1));
    }
}

#[tokio::test]
async fn an_erasure_wins_over_its_answer() {
    let (fake, gate, client) = gated().await;
    let caller = ask(&client, &["ABC123"], Strategy::Single);
    fake.reached(1).await;
    gone(caller).await;
    client.vehicles.erase(&numbers(&["ABC123"])[0]);
    gate.open();
    client.ended(1).await;
    let lookup = client.one("ABC123", &unhurried()).await;
    assert_eq!((found(&lookup), fake.calls()), (Source::Live, 2));
}

#[tokio::test]
async fn when_it_ends_after_an_erasure_the_newer_call_can_still_be_joined() {
    let gates = [Gate::closed(), Gate::closed()];
    let held = gates.clone();
    let fake = FakeVehicle::start(move |request| {
        Reply::healthy(request).held(&held[request.number.min(1)])
    })
    .await;
    let client = client(&patient(&fake));
    let caller = ask(&client, &["ABC123"], Strategy::Single);
    fake.reached(1).await;
    gone(caller).await;
    client.vehicles.erase(&numbers(&["ABC123"])[0]);
    let newer = ask(&client, &["ABC123"], Strategy::Single);
    fake.reached(2).await;
    let [old, new] = gates;
    old.open();
    client.ended(1).await;
    while client.metric("vehicle_client_in_flight", &[]) > 1 {
        tokio::task::yield_now().await;
    }
    let joining = client.clone();
    let joining = tokio::spawn(async move { joining.one("ABC123", &unhurried()).await });
    client.asked(3).await;
    new.open();
    assert_eq!(found(&joining.await.unwrap()), Source::Shared);
    newer.await.unwrap();
    assert_eq!(fake.calls(), 2);
}

#[tokio::test]
async fn it_is_not_tried_again_and_not_kept_when_it_fails() {
    let gate = Gate::closed();
    let held = gate.clone();
    let fake = FakeVehicle::start(move |_| Reply::status(503).held(&held)).await;
    let client = client(&patient(&fake));
    let caller = ask(&client, &["ABC123"], Strategy::Single);
    fake.reached(1).await;
    gone(caller).await;
    gate.open();
    client.ended(1).await;
    // There was a retry for it, but nobody to make it for.
    let labels = [("awaited", "false"), ("retry_budget", "unused")];
    let attempts = "vehicle_client_attempts_total";
    assert_eq!(client.metric(attempts, &labels), 1);
    fake.script(Reply::healthy);
    let lookup = client.one("ABC123", &unhurried()).await;
    assert_eq!((found(&lookup), fake.calls()), (Source::Live, 2));
}

#[tokio::test]
async fn a_number_that_nobody_waits_for_leaves_a_batch_that_is_not_out_yet() {
    let (fake, gate, client) = gated().await;
    let holding = ask(&client, &["AAA111"], Strategy::Batch);
    fake.reached(1).await;
    let (staying, leaving) = (
        ask(&client, &["BBB222", "CCC333"], Strategy::Batch),
        ask(&client, &["CCC333", "DDD444"], Strategy::Batch),
    );
    client.queued(1).await;
    gone(leaving).await;
    gate.open();
    for caller in [holding, staying] {
        caller.await.unwrap();
    }
    let sent: Vec<_> = fake.requests().iter().map(Request::numbers).collect();
    assert_eq!(sent, [vec!["AAA111"], vec!["BBB222", "CCC333"]]);
    // And can be asked for again.
    let lookups = client.all(&["DDD444"], Strategy::Batch, &unhurried()).await;
    assert_eq!(found(&lookups["DDD444"]), Source::Batch);
}

#[tokio::test]
async fn a_batch_that_nobody_waits_for_is_not_sent() {
    let (fake, gate, client) = gated().await;
    let holding = ask(&client, &["AAA111"], Strategy::Batch);
    fake.reached(1).await;
    let leaving = ask(&client, &["BBB222", "CCC333"], Strategy::Batch);
    client.queued(1).await;
    gone(leaving).await;
    client.unqueued().await;
    gate.open();
    holding.await.unwrap();
    assert_eq!(fake.calls(), 1);
}

#[tokio::test]
async fn an_isolation_lets_it_end_and_nothing_more_go_out() {
    let (fake, gate, client) = gated().await;
    let (out, queued) = (
        ask(&client, &["AAA111"], Strategy::Single),
        ask(&client, &["BBB222"], Strategy::Single),
    );
    fake.reached(1).await;
    client.queued(1).await;
    gone(out).await;
    let order = IsolationOrder {
        reason: "a test".into(),
        owner: "a test".into(),
        key_id: "a test".into(),
    };
    client.vehicles.isolate(order, Duration::from_mins(1));
    gate.open();
    client.ended(1).await;
    queued.await.unwrap();
    assert_eq!(
        found(&client.one("AAA111", &unhurried()).await),
        Source::Cache
    );
    assert_eq!(fake.calls(), 1);
}

#[tokio::test]
async fn who_joins_it_has_the_retry_that_its_first_caller_did_not_wait_for() {
    let gate = Gate::closed();
    let held = gate.clone();
    let fake = FakeVehicle::start(move |request| match request.number {
        0 => Reply::json(503, &json!({})).held(&held),
        _ => Reply::healthy(request),
    })
    .await;
    let client = client(&patient(&fake));
    let hurried = client
        .one("ABC123", &within(Duration::from_millis(100)))
        .await;
    assert_eq!(kind(&hurried), FailureKind::Timeout);
    let joining = client.clone();
    let joining = tokio::spawn(async move { joining.one("ABC123", &unhurried()).await });
    client.asked(2).await;
    gate.open();
    assert_eq!(found(&joining.await.unwrap()), Source::Shared);
    assert_eq!(fake.calls(), 2);
}
