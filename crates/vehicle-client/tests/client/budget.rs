//! The retry budget: retries are a share of the calls that work.

use std::time::Duration;

use test_support::{FakeVehicle, Reply};
use vehicle_client::{BudgetOptions, FailureKind, Options};

use crate::setup::{client, found, kind, patient, retry_after, unhurried};

/// Earns nothing by time, so that the counts are exact.
fn earning(fake: &FakeVehicle) -> Options {
    let retry_budget = BudgetOptions {
        retries_per_good_call: 0.25,
        retries_per_second: 0.0,
        max_saved: 3.0,
    };
    Options {
        retry_budget,
        ..patient(fake)
    }
}

#[tokio::test]
async fn a_vehicle_that_is_down_from_the_start_is_never_retried() {
    let fake = FakeVehicle::start(|_| Reply::status(503)).await;
    let client = client(&earning(&fake));
    for _ in 0..100 {
        let lookup = client.one("ABC123", &unhurried()).await;
        assert_eq!(kind(&lookup), FailureKind::ServerError);
    }
    assert_eq!(fake.calls(), 100);
    let without = [("outcome", "server_error"), ("retry_budget", "empty")];
    assert_eq!(
        client.metric("vehicle_client_attempts_total", &without),
        100
    );
}

#[tokio::test]
async fn good_calls_earn_retries() {
    // Every fifth call fails, so four good ones go before each failure.
    let fake = FakeVehicle::start(|request| match request.number % 5 {
        4 => Reply::status(503),
        _ => Reply::healthy(request),
    })
    .await;
    let client = client(&earning(&fake));
    for _ in 0..40 {
        found(&client.one("ABC123", &unhurried()).await);
    }
    assert_eq!(fake.calls(), 49);
    for (label, attempts) in [("unused", 40), ("left", 9), ("empty", 0)] {
        let labels = [("retry_budget", label)];
        let counted = client.metric("vehicle_client_attempts_total", &labels);
        assert_eq!(counted, attempts, "{label}");
    }
}

#[tokio::test]
async fn an_outage_is_not_retried_whatever_was_saved() {
    let fake = FakeVehicle::healthy().await;
    let client = client(&earning(&fake));
    for _ in 0..100 {
        client.one("ABC123", &unhurried()).await;
    }
    fake.script(|_| Reply::status(503));
    for _ in 0..10 {
        let lookup = client.one("ABC123", &unhurried()).await;
        assert_eq!(kind(&lookup), FailureKind::ServerError);
    }
    // One for the first failure, which might have been a single one.
    assert_eq!(fake.calls(), 111);
    // What was taken for the others was put back.
    fake.script(Reply::healthy);
    client.one("ABC123", &unhurried()).await;
    fake.script(|request| match request.number {
        112 => Reply::status(503),
        _ => Reply::healthy(request),
    });
    found(&client.one("ABC123", &unhurried()).await);
    assert_eq!(fake.calls(), 114);
}

#[tokio::test]
async fn a_failure_that_no_retry_would_mend_costs_nothing() {
    let fake = FakeVehicle::start(|request| match request.number {
        4..50 => Reply::status(500),
        50 => Reply::status(503),
        _ => Reply::healthy(request),
    })
    .await;
    let client = client(&earning(&fake));
    for _ in 0..51 {
        client.one("ABC123", &unhurried()).await;
    }
    // The one retry that was earned was still there for the one failure that it could mend.
    assert_eq!(fake.calls(), 52);
}

#[tokio::test]
async fn a_failure_without_a_retry_left_is_told_as_what_it_was() {
    for (reply, cause, after) in [
        (Reply::Close, FailureKind::Connection, None),
        (Reply::Hang, FailureKind::Timeout, None),
        (Reply::status(503), FailureKind::ServerError, None),
        (
            Reply::with_header(429, "retry-after", "7"),
            FailureKind::RateLimited,
            Some(7),
        ),
    ] {
        let fake = FakeVehicle::start(move |_| reply.clone()).await;
        let client = client(&Options {
            attempt_timeout: Duration::from_millis(100),
            ..earning(&fake)
        });
        let lookup = client.one("ABC123", &unhurried()).await;
        assert_eq!((kind(&lookup), retry_after(&lookup)), (cause, after));
        let labels = [("outcome", cause.label()), ("retry_budget", "empty")];
        assert_eq!(client.metric("vehicle_client_attempts_total", &labels), 1);
    }
}
