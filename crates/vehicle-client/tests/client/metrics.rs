//! The metrics of the guard, which add up to what Vehicle saw.

use std::time::Duration;

use test_support::{FakeVehicle, Gate, Reply};
use vehicle_client::Strategy;

use crate::setup::{Client, client, many, patient, unhurried};

const ATTEMPTS: &str = "vehicle_client_attempts_total";
const QUEUE_WAIT: &str = "vehicle_client_queue_wait_seconds_count";
const REQUESTS: &str = "http_client_request_duration_seconds_count";

/// Calls as the guard counted them, which must be as many by each of its metrics.
fn counted(client: &Client, labels: &[(&str, &str)]) -> i64 {
    let attempts = client.metric(ATTEMPTS, labels);
    if labels.is_empty() {
        let admitted = client.metric(QUEUE_WAIT, &[("result", "admitted")]);
        assert_eq!([client.metric(REQUESTS, &[]), admitted], [attempts; 2]);
    }
    attempts
}

fn assert_at_rest(client: &Client) {
    for level in ["vehicle_client_in_flight", "vehicle_client_queue_length"] {
        assert_eq!(client.metric(level, &[]), 0, "{level}");
    }
}

#[tokio::test]
async fn attempts_add_up_to_the_calls_that_vehicle_saw() {
    let fake = FakeVehicle::start(|request| match request.path.rsplit('/').next() {
        Some("AAA111") => Reply::status(500),
        Some("BBB222") => Reply::status(503),
        Some("CCC333") => Reply::Close,
        Some("DDD444") => Reply::Hang,
        _ => Reply::healthy(request),
    })
    .await;
    let mut options = patient(&fake);
    options.attempt_timeout = Duration::from_millis(200);
    let client = client(&options);
    // A good answer between, because failures in a row are not retried.
    for car in ["AAA111", "BBB222", "EEE555", "CCC333", "ZZZ999", "DDD444"] {
        client.one(car, &unhurried()).await;
    }
    client.all(&["EEE555"], Strategy::Batch, &unhurried()).await;
    assert_eq!(fake.calls(), 10);
    assert_eq!(counted(&client, &[]), 10);
    for (labels, expected) in [
        ([("reason", "first"), ("outcome", "answered")], 3),
        ([("reason", "first"), ("outcome", "server_error")], 2),
        ([("reason", "retry"), ("outcome", "server_error")], 1),
        ([("reason", "first"), ("outcome", "connection")], 1),
        ([("reason", "retry"), ("outcome", "connection")], 1),
        ([("reason", "first"), ("outcome", "timeout")], 1),
        ([("reason", "retry"), ("outcome", "timeout")], 1),
        ([("strategy", "batch"), ("outcome", "answered")], 1),
    ] {
        assert_eq!(counted(&client, &labels), expected, "{labels:?}");
    }
    let errors = |error| client.metric(REQUESTS, &[("error_type", error)]);
    assert_eq!((errors("timeout"), errors("connection")), (2, 2));
    assert_at_rest(&client);
}

#[tokio::test]
async fn calls_that_their_caller_gave_up_are_counted_as_such() {
    let fake = FakeVehicle::start(|_| Reply::Hang).await;
    let mut options = patient(&fake);
    options.attempt_timeout = Duration::from_millis(300);
    let client = client(&options);
    let asking = client.clone();
    let numbers = many("ABC", 3);
    let request = tokio::spawn(async move {
        let strategy = Strategy::Single;
        asking
            .vehicles
            .look_up(&numbers, strategy, &unhurried())
            .await
    });
    fake.reached(3).await;
    assert_eq!(client.metric("vehicle_client_in_flight", &[]), 3);
    request.abort();
    client.ended(3).await;
    let abandoned = [("outcome", "timeout"), ("awaited", "false")];
    assert_eq!(counted(&client, &[]), 3);
    assert_eq!(counted(&client, &abandoned), 3);
    assert_eq!(client.metric(REQUESTS, &[("error_type", "timeout")]), 3);
    assert_at_rest(&client);
}

#[tokio::test]
async fn calls_for_which_somebody_still_waits_are_counted_as_such() {
    let fake = FakeVehicle::start(|_| Reply::Hang).await;
    let mut options = patient(&fake);
    options.attempt_timeout = Duration::from_millis(100);
    options.max_retries = 0;
    let client = client(&options);
    client
        .all(&["AAA111", "BBB222"], Strategy::Single, &unhurried())
        .await;
    let awaited = [("outcome", "timeout"), ("awaited", "true")];
    assert_eq!(counted(&client, &[]), 2);
    assert_eq!(counted(&client, &awaited), 2);
    assert_at_rest(&client);
}

#[tokio::test]
async fn calls_that_are_shed_are_counted_in_the_queue_and_nowhere_else() {
    let gate = Gate::closed();
    let held = gate.clone();
    let fake = FakeVehicle::start(move |request| Reply::healthy(request).held(&held)).await;
    let mut options = patient(&fake);
    options.max_degree_of_parallelism_batch = 1;
    options.queue_length = 0;
    let client = client(&options);
    let asking = client.clone();
    let first =
        tokio::spawn(async move { asking.all(&["AAA111"], Strategy::Batch, &unhurried()).await });
    fake.reached(1).await;
    client.all(&["BBB222"], Strategy::Batch, &unhurried()).await;
    gate.open();
    first.await.unwrap();
    assert_eq!(counted(&client, &[]), 1);
    assert_eq!(client.metric(QUEUE_WAIT, &[("result", "shed")]), 1);
    assert_eq!(client.metric(QUEUE_WAIT, &[]), 2);
    assert_at_rest(&client);
}
