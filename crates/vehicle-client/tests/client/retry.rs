//! Which calls are made again, and how often.

use std::time::Duration;

use contracts::Source;
use test_support::{FakeVehicle, Reply};

use vehicle_client::FailureKind;

use crate::setup::{client, found, kind, patient, retry_after, unhurried, within};

#[tokio::test]
async fn a_vehicle_that_was_away_for_a_moment_is_found_by_the_retry() {
    for first in [
        Reply::status(408),
        Reply::status(429),
        Reply::status(502),
        Reply::status(503),
        Reply::status(504),
        Reply::Close,
    ] {
        let fake = FakeVehicle::start(move |request| match request.number {
            0 => first.clone(),
            _ => Reply::healthy(request),
        })
        .await;
        let lookup = client(&patient(&fake)).one("ABC123", &unhurried()).await;
        assert_eq!((found(&lookup), fake.calls()), (Source::Live, 2));
    }
}

#[tokio::test]
async fn there_are_as_many_retries_as_the_settings_say() {
    for retries in [0, 1, 3] {
        let fake = FakeVehicle::start(|_| Reply::status(503)).await;
        let mut options = patient(&fake);
        options.max_retries = retries;
        let lookup = client(&options).one("ABC123", &unhurried()).await;
        assert_eq!(kind(&lookup), FailureKind::ServerError);
        assert_eq!(fake.calls(), retries as usize + 1);
    }
}

#[tokio::test]
async fn the_last_failure_is_the_one_that_is_told() {
    let fake = FakeVehicle::start(|request| match request.number {
        0 => Reply::status(503),
        _ => Reply::status(401),
    })
    .await;
    let lookup = client(&patient(&fake)).one("ABC123", &unhurried()).await;
    assert_eq!(
        (kind(&lookup), fake.calls()),
        (FailureKind::Unauthorized, 2)
    );
}

#[tokio::test]
async fn a_pause_past_the_deadline_is_not_begun() {
    let fake = FakeVehicle::start(|_| Reply::with_header(503, "retry-after", "3")).await;
    let lookup = client(&patient(&fake))
        .one("ABC123", &within(Duration::from_secs(2)))
        .await;
    // Had the pause begun, the deadline would have ended it: a timeout.
    assert_eq!(kind(&lookup), FailureKind::ServerError);
    assert_eq!((retry_after(&lookup), fake.calls()), (Some(3), 1));
}
