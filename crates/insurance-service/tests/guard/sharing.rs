//! Many who ask for the same numbers are few calls.

use futures_util::future::join_all;
use test_support::{FakeVehicle, Gate, Reply};

use super::{
    load::{closely, ratio},
    service::{PATIENT, Policy, Service},
};

#[tokio::test]
async fn a_hundred_callers_who_ask_for_one_number_make_one_call() {
    let gate = Gate::closed();
    let held = gate.clone();
    let vehicle = FakeVehicle::start(move |request| Reply::healthy(request).held(&held)).await;
    let service = Service::start(&vehicle, 1, &PATIENT).await;
    let (policies, ()) = tokio::join!(join_all((0..100).map(|_| service.policy(0))), async {
        let asked = "vehicle_client_lookups_asked_total";
        service.measures(asked, 100).await;
        gate.open();
    });
    assert!(policies.iter().all(Policy::is_enriched));
    let shared = policies.iter().filter(|policy| policy.source() == "shared");
    assert_eq!((vehicle.calls(), shared.count()), (1, 99));
}

#[tokio::test]
async fn hot_numbers_are_at_most_a_call_for_five_requests() {
    const NUMBERS: usize = 125;
    const REQUESTS: usize = 1_000;
    let vehicle = FakeVehicle::healthy().await;
    let service = Service::start(&vehicle, NUMBERS, &PATIENT).await;
    let policies = closely(10, 0..REQUESTS, async |request| {
        // A prime apart, so that neighbours in time are none in number.
        service.policy(request * 7_919 % NUMBERS).await
    });
    assert!(policies.await.iter().all(Policy::is_enriched));
    let calls = ratio(vehicle.calls(), REQUESTS);
    assert!(calls <= 0.2, "{calls}");
}

#[tokio::test]
async fn numbers_that_are_asked_for_while_a_batch_is_in_flight_share_the_next() {
    const CARS_EACH: usize = 25;
    let gate = Gate::closed();
    let held = gate.clone();
    let vehicle = FakeVehicle::start(move |request| Reply::healthy(request).held(&held)).await;
    let batch = [("FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL", "true")];
    let settings = [&PATIENT[..], &batch].concat();
    let service = Service::with_cars(&vehicle, 21, CARS_EACH, &settings).await;
    let others = async {
        vehicle.reached(1).await;
        join_all((1..21).map(|person| service.policies(person))).await
    };
    let (first, others, ()) = tokio::join!(service.policies(0), others, async {
        let asked = "vehicle_client_lookups_asked_total";
        service.measures(asked, 21 * 25).await;
        gate.open();
    });
    assert!(
        first
            .iter()
            .chain(others.iter().flatten())
            .all(Policy::is_enriched)
    );
    // Two of the others fill a batch.
    assert_eq!(vehicle.calls(), 1 + 10);
}
