//! What is said of each car and of all of them, when Vehicle answers.

use std::time::Duration;

use serde_json::{Value, json};
use test_support::{FakeVehicle, Reply, until};
use tokio::time::{advance, pause, resume};

use super::service::{Service, enriched, enrichments, unavailable, without_vehicle};

const PERSON: &str = "197001019999";

#[tokio::test]
async fn a_car_that_vehicle_does_not_know_is_not_found_and_the_profile_complete() {
    for (batch, source) in [("false", "live"), ("true", "batch")] {
        let settings = [("FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL", batch)];
        let service = Service::with(FakeVehicle::healthy().await, &settings).await;
        let answer = service.with_cars(PERSON, &["ABC123", "ZZZ999"]).await;
        let not_found = without_vehicle("not_found", Some(source));
        assert_eq!(enrichments(&answer), [enriched(source), not_found]);
        let profile = answer.json();
        assert_eq!(profile["enrichment"], "complete");
        assert_eq!(profile["insurances"][1]["vehicle"], json!(null));
        assert_eq!(profile["insurances"][1]["carRegistrationNumber"], "ZZZ999");
    }
}

#[tokio::test]
async fn each_car_is_shown_with_its_own_vehicle() {
    for batch in ["false", "true"] {
        // Later numbers are answered first.
        let vehicle = FakeVehicle::start(|request| {
            let pause = std::time::Duration::from_millis(if request.number == 0 { 50 } else { 0 });
            Reply::healthy(request).after(pause)
        })
        .await;
        let settings = [("FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL", batch)];
        let service = Service::with(vehicle, &settings).await;
        let cars = ["CCC333", "AAA111", "ÅÄÖ123", "BBB222"];
        let profile = service.with_cars(PERSON, &cars).await.json();
        let insurances = profile["insurances"].as_array().unwrap();
        assert_eq!(insurances.len(), cars.len());
        for (insurance, car) in insurances.iter().zip(cars) {
            assert_eq!(insurance["carRegistrationNumber"], car);
            assert_eq!(insurance["vehicle"]["registrationNumber"], car);
        }
    }
}

#[tokio::test]
async fn the_same_car_in_two_policies_is_asked_for_once_and_shown_twice() {
    let service = Service::healthy().await;
    let answer = service.with_cars(PERSON, &["ABC123", "ABC123"]).await;
    assert_eq!(enrichments(&answer), [enriched("live"), enriched("live")]);
    let profile = answer.json();
    assert_eq!(
        profile["insurances"][0]["vehicle"],
        profile["insurances"][1]["vehicle"]
    );
    assert_eq!(service.vehicle.calls(), 1);
}

#[tokio::test]
async fn a_profile_is_partial_or_none_by_how_many_cars_are_unavailable() {
    let vehicle = FakeVehicle::start(|request| match request.path.rsplit('/').next() {
        Some("BAD500") => Reply::status(500),
        _ => Reply::healthy(request),
    })
    .await;
    let service = Service::with(vehicle, &[]).await;
    let answer = service
        .with_cars(PERSON, &["ABC123", "BAD500", "ZZZ999"])
        .await;
    assert_eq!(answer.json()["enrichment"], "partial");
    let bad = unavailable("server_error", Some(1));
    assert_eq!(enrichments(&answer)[1], bad);
    assert_eq!(answer.json()["insurances"][1]["vehicle"], json!(null));
    let answer = service.with_cars("197001018888", &["BAD500"]).await;
    assert_eq!(answer.json()["enrichment"], "none");
    service.insure("197001017777", &[("pet", "10", None)]).await;
    let answer = service.with_cars("197001017777", &["BAD500"]).await;
    assert_eq!(answer.json()["enrichment"], "none");
}

/// A car changes at Vehicle right after its answer was kept.
#[tokio::test]
async fn a_change_is_seen_after_the_soft_stale_time_and_one_refresh_at_the_latest() {
    let cached = [("VEHICLE_CLIENT__CACHE__ENABLED", "true")];
    for (later, at_once) in [
        (Duration::from_mins(8), false),
        (Duration::from_mins(12), true),
    ] {
        let service = Service::with(FakeVehicle::healthy().await, &cached).await;
        let make = |profile: &Value| profile["insurances"][0]["vehicle"]["make"].clone();
        let kept = service.with_cars(PERSON, &["ABC123"]).await.json();
        assert_eq!(make(&kept), "Volvo");
        service.vehicle.script(|_| {
            let mut changed = Reply::vehicle("ABC123");
            changed["make"] = json!("Saab");
            Reply::json(200, &changed)
        });
        pause();
        advance(later).await;
        resume();
        let first = make(&service.look_up(PERSON).await.json());
        assert_eq!(first == "Saab", at_once, "{later:?}: {first}");
        // The refresh is behind the first answer.
        service.vehicle.reached(2).await;
        until(async || {
            let profile = service.look_up(PERSON).await.json();
            (make(&profile) == "Saab").then_some(())
        })
        .await;
        assert_eq!(service.vehicle.calls(), 2);
    }
}
