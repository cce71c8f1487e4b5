//! The caps on calls in flight, which hold for the whole process.

use std::time::Duration;

use contracts::Source;
use futures_util::future::join_all;
use test_support::{FakeVehicle, Gate, Reply};
use vehicle_client::{Lookup, Strategy};

use crate::setup::{client, found, many, patient, unhurried};

#[tokio::test]
async fn a_hundred_requests_for_ten_cars_never_have_more_than_five_calls_in_flight() {
    let gate = Gate::closed();
    let held = gate.clone();
    let fake = FakeVehicle::start(move |request| match request.number {
        0..5 => Reply::healthy(request).held(&held),
        _ => Reply::healthy(request).after(Duration::from_millis(1)),
    })
    .await;
    let client = client(&patient(&fake));
    let requests = join_all((0..100).map(|request| {
        let clone = client.vehicles.clone();
        tokio::spawn(async move {
            let numbers = many(&format!("R{request:02}"), 10);
            clone
                .look_up(&numbers, Strategy::Single, &unhurried())
                .await
        })
    }));
    // All five must be in flight at once, or the gate stays shut.
    let (requests, ()) = tokio::join!(requests, async {
        fake.reached(5).await;
        gate.open();
    });
    for lookups in requests {
        let lookups = lookups.unwrap();
        assert_eq!(lookups.len(), 10);
        assert!(lookups.values().all(|it| found(it) == Source::Live));
    }
    assert_eq!((fake.most_in_flight(), fake.calls()), (5, 1000));
}

#[tokio::test]
async fn batch_calls_have_a_cap_of_their_own() {
    let fake =
        FakeVehicle::start(|request| Reply::healthy(request).after(Duration::from_millis(1))).await;
    let mut options = patient(&fake);
    options.max_batch_size = 2;
    let client = client(&options);
    let cars: Vec<_> = ('A'..='J')
        .map(|letter| many(&format!("AB{letter}"), 10))
        .collect();
    let context = unhurried();
    let requests = cars
        .iter()
        .map(|cars| client.vehicles.look_up(cars, Strategy::Batch, &context));
    let found_all = |lookups: &std::collections::HashMap<_, Lookup>| {
        lookups.values().all(|it| found(it) == Source::Batch)
    };
    assert!(join_all(requests).await.iter().all(found_all));
    assert_eq!((fake.most_in_flight(), fake.calls()), (1, 50));
}
