//! The queue before the caps: bounded in length and in time, and left by those who go away.

use std::time::Duration;

use contracts::Source;
use test_support::{FakeVehicle, Gate, Reply};
use vehicle_client::{FailureKind, Options};

use crate::setup::{Client, client, found, kind, patient, unhurried, within};

const HOUR: Duration = Duration::from_hours(1);

/// Options for one call at a time.
fn one_at_a_time(fake: &FakeVehicle) -> Options {
    let mut options = patient(fake);
    options.max_degree_of_parallelism_single = 1;
    options
}

/// A Vehicle that answers only when the gate is open, and then well.
async fn gated() -> (FakeVehicle, Gate) {
    let gate = Gate::closed();
    let held = gate.clone();
    let fake = FakeVehicle::start(move |request| Reply::healthy(request).held(&held)).await;
    (fake, gate)
}

/// Asks in a task of its own.
fn ask(client: &Client, number: &'static str) -> tokio::task::JoinHandle<vehicle_client::Lookup> {
    let client = client.clone();
    tokio::spawn(async move { client.one(number, &unhurried()).await })
}

#[tokio::test]
async fn a_call_that_finds_the_queue_full_is_shed_at_once() {
    let (fake, gate) = gated().await;
    let mut options = one_at_a_time(&fake);
    options.queue_length = 1;
    let client = client(&options);
    let first = ask(&client, "AAA111");
    fake.reached(1).await;
    let second = ask(&client, "BBB222");
    client.queued(1).await;
    // Had it waited, its deadline would have come first: a timeout.
    let third = client.one("CCC333", &within(Duration::from_secs(1))).await;
    assert_eq!(kind(&third), FailureKind::Overloaded);
    gate.open();
    assert_eq!(found(&first.await.unwrap()), Source::Live);
    assert_eq!(found(&second.await.unwrap()), Source::Live);
    assert_eq!(fake.calls(), 2);
}

#[tokio::test]
async fn a_call_whose_turn_does_not_come_in_time_is_shed() {
    let (fake, gate) = gated().await;
    let mut options = one_at_a_time(&fake);
    options.queue_wait = Duration::from_millis(50);
    let client = client(&options);
    let first = ask(&client, "AAA111");
    fake.reached(1).await;
    // Had it waited longer, its deadline would have come first: a timeout.
    let second = client.one("BBB222", &within(Duration::from_secs(2))).await;
    assert_eq!(kind(&second), FailureKind::Overloaded);
    gate.open();
    assert_eq!(found(&first.await.unwrap()), Source::Live);
    assert_eq!(fake.calls(), 1);
}

#[tokio::test]
async fn a_call_whose_deadline_comes_before_its_turn_is_a_timeout() {
    let (fake, gate) = gated().await;
    let client = client(&one_at_a_time(&fake));
    let first = ask(&client, "AAA111");
    fake.reached(1).await;
    let second = client
        .one("BBB222", &within(Duration::from_millis(50)))
        .await;
    assert_eq!(kind(&second), FailureKind::Timeout);
    gate.open();
    assert_eq!(found(&first.await.unwrap()), Source::Live);
    assert_eq!(fake.calls(), 1);
}

#[tokio::test]
async fn no_place_is_held_through_the_pause_before_a_retry() {
    let fake = FakeVehicle::start(|request| match request.number {
        0 => Reply::status(503),
        _ => Reply::healthy(request),
    })
    .await;
    let mut options = one_at_a_time(&fake);
    options.queue_wait = Duration::from_millis(500);
    // Of which some part is drawn: next to never as little as this test takes.
    (options.retry_pause, options.max_retry_pause) = (HOUR, HOUR);
    let client = client(&options);
    let pausing = client.clone();
    let first = tokio::spawn(async move { pausing.one("AAA111", &within(2 * HOUR)).await });
    client.ended(1).await;
    let second = client.one("BBB222", &unhurried()).await;
    assert_eq!(found(&second), Source::Live);
    assert!(!first.is_finished());
    assert_eq!(fake.calls(), 2);
}

#[tokio::test]
async fn a_place_comes_back_when_its_call_ends_and_not_when_its_caller_goes_away() {
    let (fake, gate) = gated().await;
    let client = client(&one_at_a_time(&fake));
    let gone = ask(&client, "AAA111");
    fake.reached(1).await;
    let queued = ask(&client, "BBB222");
    client.queued(1).await;
    queued.abort();
    gone.abort();
    client.unqueued().await;
    let hurried = client
        .one("CCC333", &within(Duration::from_millis(100)))
        .await;
    assert_eq!((kind(&hurried), fake.calls()), (FailureKind::Timeout, 1));
    let patient = ask(&client, "DDD444");
    client.queued(1).await;
    gate.open();
    assert_eq!(found(&patient.await.unwrap()), Source::Live);
    assert_eq!(fake.calls(), 2);
}

#[tokio::test]
async fn the_queue_is_first_in_first_out() {
    let (fake, gate) = gated().await;
    let client = client(&one_at_a_time(&fake));
    let numbers = ["AAA111", "BBB222", "CCC333", "DDD444", "EEE555"];
    let mut asking = vec![ask(&client, numbers[0])];
    fake.reached(1).await;
    for (before, number) in numbers[1..].iter().enumerate() {
        asking.push(ask(&client, number));
        client.queued(i64::try_from(before).unwrap() + 1).await;
    }
    gate.open();
    for asked in asking {
        found(&asked.await.unwrap());
    }
    let asked: Vec<_> = fake.requests().into_iter().map(|it| it.path).collect();
    assert_eq!(
        asked,
        numbers.map(|number| format!("/api/v1/vehicles/{number}"))
    );
}

#[tokio::test]
async fn of_a_caller_who_goes_away_the_calls_that_are_out_end_by_themselves_and_no_more_go_out() {
    let fake = FakeVehicle::start(|_| Reply::Hang).await;
    let client = client(&Options {
        attempt_timeout: Duration::from_millis(300),
        ..patient(&fake)
    });
    let (asking, context) = (client.clone(), unhurried());
    let request = tokio::spawn(async move {
        let numbers = crate::setup::many("ABC", 10);
        let strategy = vehicle_client::Strategy::Single;
        asking.vehicles.look_up(&numbers, strategy, &context).await
    });
    fake.reached(5).await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    assert_eq!(client.vehicles.guard_state().single.in_flight, 5);
    client.ended(5).await;
    let abandoned = [("outcome", "timeout"), ("awaited", "false")];
    assert_eq!(
        client.metric("vehicle_client_attempts_total", &abandoned),
        5
    );
    assert_eq!(client.vehicles.guard_state().single.in_flight, 0);
    // They were not retried, though there was a budget for it.
    assert_eq!(fake.calls(), 5);
}
