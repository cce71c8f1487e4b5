//! Vehicle's `Retry-After`: nobody calls earlier than Vehicle asked for.

use std::time::Duration;

use test_support::{FakeVehicle, Reply};
use vehicle_client::{FailureKind, Lookup, Strategy};

use crate::setup::{client, kind, many, patient, unhurried, within};

#[tokio::test]
async fn nothing_goes_out_while_vehicle_asks_to_wait() {
    for status in [429, 503] {
        let fake =
            FakeVehicle::start(move |_| Reply::with_header(status, "retry-after", "50")).await;
        let client = client(&patient(&fake));
        client.one("AAA111", &unhurried()).await;
        for strategy in [Strategy::Single, Strategy::Batch] {
            let lookups = client
                .vehicles
                .look_up(&many("AB", 30), strategy, &unhurried())
                .await;
            for lookup in lookups.values() {
                let expected = if status == 429 {
                    FailureKind::RateLimited
                } else {
                    FailureKind::ServerError
                };
                assert_eq!(kind(lookup), expected);
                let Lookup::Unavailable(failure) = lookup else {
                    unreachable!()
                };
                assert!(
                    failure
                        .retry_after
                        .is_some_and(|after| after > Duration::from_secs(30))
                );
            }
        }
        assert_eq!(fake.calls(), 1);
    }
}

#[tokio::test]
async fn calls_that_wait_for_their_turn_are_kept_back_too() {
    let fake = FakeVehicle::start(|_| Reply::with_header(429, "retry-after", "50")).await;
    let mut options = patient(&fake);
    options.max_degree_of_parallelism_single = 1;
    let client = client(&options);
    let asking: Vec<_> = many("AB", 20)
        .into_iter()
        .map(|number| {
            let (client, context) = (client.clone(), unhurried());
            tokio::spawn(async move { client.one(number.as_str(), &context).await })
        })
        .collect();
    for lookup in asking {
        assert_eq!(kind(&lookup.await.unwrap()), FailureKind::RateLimited);
    }
    assert_eq!(fake.calls(), 1);
}

#[tokio::test]
async fn callers_with_time_wait_until_it_is_over() {
    let fake = FakeVehicle::start(|request| match request.number {
        0 => Reply::with_header(429, "retry-after", "1"),
        _ => Reply::healthy(request),
    })
    .await;
    let client = client(&patient(&fake));
    let lookups = client
        .vehicles
        .look_up(
            &many("AB", 10),
            Strategy::Single,
            &within(Duration::from_secs(30)),
        )
        .await;
    assert!(
        lookups
            .values()
            .all(|lookup| matches!(lookup, Lookup::Found { .. }))
    );
    // Each once, and the first once more.
    assert_eq!(fake.calls(), 11);
}
