//! `Prefer: handling=strict`: all or nothing.

use std::time::Duration;

use test_support::{FakeVehicle, Reply};

use super::service::{LOOKUP, PERSON, Service};

const STRICT: &str = "handling=strict";

#[tokio::test]
async fn a_whole_profile_is_answered_and_says_that_it_was_held_to_the_preference() {
    let service = Service::healthy().await;
    let answer = service.look_up_strictly(PERSON).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("preference-applied"), STRICT);
    let lenient = service.look_up(PERSON).await;
    assert_eq!(answer.text(), lenient.text());
    let missing = service.with_cars("197001019999", &["ZZZ999"]).await;
    assert_eq!(missing.json()["enrichment"], "complete");
    let missing = service.look_up_strictly("197001019999").await;
    assert_eq!(missing.status, 200);
    let without_car = service.look_up_strictly("200310209876").await;
    assert_eq!(without_car.header("preference-applied"), STRICT);
}

#[tokio::test]
async fn a_profile_that_is_not_whole_is_refused_with_a_time_to_come_back() {
    for (reply, seconds) in [
        (Reply::status(500), "1"),
        (Reply::status(401), "30"),
        (Reply::with_header(503, "retry-after", "55"), "55"),
        (Reply::with_header(503, "retry-after", "0"), "1"),
    ] {
        let vehicle = FakeVehicle::start(move |request| match request.path.rsplit('/').next() {
            Some("ABC123") => reply.clone(),
            _ => Reply::healthy(request),
        })
        .await;
        let service = Service::with(vehicle, &[]).await;
        service
            .with_cars("197001019999", &["ABC123", "DEF456"])
            .await;
        for person in [PERSON, "197001019999"] {
            let answer = service.look_up_strictly(person).await;
            assert_eq!(answer.problem()["code"], "enrichment_incomplete");
            assert_eq!(answer.status, 503);
            assert_eq!(answer.header("retry-after"), seconds);
            assert_eq!(answer.header("preference-applied"), STRICT);
            assert_eq!(answer.header("cache-control"), "no-store");
        }
    }
}

#[tokio::test]
async fn the_time_to_come_back_is_that_of_the_car_that_needs_longest() {
    for cars in [["BAD500", "BAD503"], ["BAD503", "BAD500"]] {
        // The one that closes the gate is answered last, when the other has failed already.
        let vehicle = FakeVehicle::start(|request| match request.path.rsplit('/').next() {
            Some("BAD500") => Reply::status(500),
            _ => Reply::with_header(503, "retry-after", "55").after(Duration::from_millis(200)),
        })
        .await;
        let service = Service::with(vehicle, &[]).await;
        service
            .insure("197001019999", &cars.map(|car| ("car", "10", Some(car))))
            .await;
        let answer = service.look_up_strictly("197001019999").await;
        assert_eq!(answer.problem()["code"], "enrichment_incomplete");
        assert_eq!(answer.header("retry-after"), "55");
    }
}

#[tokio::test]
async fn the_body_form_knows_the_preference_too() {
    let vehicle = FakeVehicle::start(|_| Reply::status(500)).await;
    let service = Service::with(vehicle, &[]).await;
    let request = http::Request::post(LOOKUP)
        .header("x-api-key", test_support::API_KEY)
        .header("content-type", "application/json")
        .header("prefer", "respond-async, handling=\"strict\"")
        .body(format!("{{\"personalIdentityNumber\":\"{PERSON}\"}}").into());
    let answer = service.api.send(request.unwrap()).await;
    assert_eq!(answer.problem()["code"], "enrichment_incomplete");
}

#[tokio::test]
async fn what_was_switched_off_is_no_reason_to_refuse() {
    let settings = [("FEATURE_TOGGLES__ENABLE_VEHICLE_ENRICHMENT", "false")];
    let service = Service::with(FakeVehicle::healthy().await, &settings).await;
    let answer = service.look_up_strictly(PERSON).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["enrichment"]),
        (200, &"disabled".into())
    );
}
