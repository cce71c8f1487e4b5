//! The caps on calls in flight, looked at whenever a call comes.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use test_support::{FakeVehicle, Reply};

use super::{
    load::closely,
    service::{PATIENT, Service, WITHOUT_CACHE},
};

/// Calls at each of which the fake looks at how many are in flight. The number rises at no other
/// time, so that no more samples could see more.
const CALLS: usize = 1_000;
const PERSONS: usize = 8;
const CARS_EACH: usize = 40;

#[tokio::test]
async fn there_are_never_more_single_calls_in_flight_than_may_be() {
    assert_eq!(most_in_flight(&[]).await, 5);
}

#[tokio::test]
async fn there_are_never_more_batch_calls_in_flight_than_may_be() {
    let settings = [
        ("FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL", "true"),
        // A call for each number, and more than one at a time.
        ("VEHICLE_CLIENT__MAX_BATCH_SIZE", "1"),
        ("VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_BATCH", "3"),
    ];
    assert_eq!(most_in_flight(&settings).await, 3);
}

/// The most calls in flight at once while persons with many cars ask side by side.
async fn most_in_flight(settings: &[(&str, &str)]) -> usize {
    // Not at once, or no two calls would ever meet.
    let pause = Duration::from_millis(1);
    let vehicle = FakeVehicle::start(move |request| Reply::healthy(request).after(pause)).await;
    let settings = [settings, &PATIENT, &WITHOUT_CACHE].concat();
    let service = Service::with_cars(&vehicle, PERSONS, CARS_EACH, &settings).await;
    let enriched = AtomicUsize::new(0);
    // Each person asks again and again, so that no two requests share a car.
    closely(PERSONS, 0..PERSONS, async |person| {
        while vehicle.calls() < CALLS {
            let policies = service.policies(person).await;
            let good = policies.iter().filter(|policy| policy.is_enriched());
            enriched.fetch_add(good.count(), Ordering::SeqCst);
        }
    })
    .await;
    assert!(enriched.into_inner() >= CALLS * 99 / 100);
    let computed = service.computed("most_calls_in_flight").await;
    assert!(f64::from(u32::try_from(vehicle.most_in_flight()).unwrap()) <= computed);
    vehicle.most_in_flight()
}
