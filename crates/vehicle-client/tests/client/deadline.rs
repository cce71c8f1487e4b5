//! The deadline of a request: what is there by then is kept, and nothing is waited for past it.

use std::time::Duration;

use contracts::Source;
use test_support::{FakeVehicle, Reply};
use vehicle_client::{FailureKind, Strategy};

use crate::setup::{client, found, kind, many, patient, within};

#[tokio::test]
async fn what_is_there_by_the_deadline_is_kept_and_the_rest_is_a_timeout() {
    let fake = FakeVehicle::start(|request| match request.path.rsplit('/').next() {
        Some("LATE99") => Reply::healthy(request).after(Duration::from_secs(3)),
        _ => Reply::healthy(request),
    })
    .await;
    let lookups = client(&patient(&fake))
        .all(
            &["ABC123", "LATE99", "ZZZ999"],
            Strategy::Single,
            &within(Duration::from_secs(1)),
        )
        .await;
    assert_eq!(found(&lookups["ABC123"]), Source::Live);
    assert_eq!(kind(&lookups["LATE99"]), FailureKind::Timeout);
    assert!(matches!(
        lookups["ZZZ999"],
        vehicle_client::Lookup::NotFound { .. }
    ));
    assert_eq!(fake.calls(), 3);
}

#[tokio::test]
async fn batches_that_came_by_the_deadline_are_kept() {
    let fake = FakeVehicle::start(|request| match request.number {
        0 => Reply::healthy(request),
        _ => Reply::healthy(request).after(Duration::from_secs(3)),
    })
    .await;
    let mut options = patient(&fake);
    options.max_batch_size = 1;
    let lookups = client(&options)
        .all(
            &["AAA111", "BBB222", "CCC333"],
            Strategy::Batch,
            &within(Duration::from_secs(1)),
        )
        .await;
    assert_eq!(found(&lookups["AAA111"]), Source::Batch);
    assert_eq!(kind(&lookups["BBB222"]), FailureKind::Timeout);
    assert_eq!(kind(&lookups["CCC333"]), FailureKind::Timeout);
    assert_eq!(fake.calls(), 2);
}

#[tokio::test]
async fn nothing_goes_out_for_callers_who_would_be_gone_at_once() {
    let fake = FakeVehicle::healthy().await;
    let client = client(&patient(&fake));
    for (round, numbers) in many("AB", 100).chunks(2).enumerate() {
        let strategy = [Strategy::Single, Strategy::Batch][round % 2];
        let context = within(Duration::from_millis(1 + round as u64 % 9));
        let lookups = client.vehicles.look_up(numbers, strategy, &context).await;
        assert!(lookups.values().all(|it| kind(it) == FailureKind::Timeout));
    }
    assert_eq!(fake.calls(), 0);
}

#[tokio::test]
async fn nothing_goes_out_after_the_deadline() {
    let fake = FakeVehicle::healthy().await;
    let client = client(&patient(&fake));
    for strategy in [Strategy::Single, Strategy::Batch] {
        let lookups = client
            .all(&["ABC123", "DEF456"], strategy, &within(Duration::ZERO))
            .await;
        assert!(lookups.values().all(|it| kind(it) == FailureKind::Timeout));
    }
    assert_eq!(client.metric("vehicle_client_attempts_total", &[]), 0);
    assert_eq!(fake.calls(), 0);
}
