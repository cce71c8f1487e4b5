//! Which calls a request makes: none, single ones or batches.

use test_support::FakeVehicle;

use super::service::{PERSON, Service, enriched, enrichments, without_vehicle};

const ANOTHER: &str = "197001019999";
const BATCH: (&str, &str) = ("FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL", "true");
const KILLED: (&str, &str) = ("FEATURE_TOGGLES__ENABLE_VEHICLE_ENRICHMENT", "false");

#[tokio::test]
async fn three_policies_for_two_cars_make_two_single_calls() {
    let service = Service::healthy().await;
    let answer = service
        .with_cars(ANOTHER, &["ABC123", "DEF456", "ABC123"])
        .await;
    assert_eq!(enrichments(&answer), vec![enriched("live"); 3]);
    let mut paths: Vec<_> = service
        .vehicle
        .requests()
        .into_iter()
        .map(|it| it.path)
        .collect();
    paths.sort();
    let of = |number| format!("/api/v1/vehicles/{number}");
    assert_eq!(paths, [of("ABC123"), of("DEF456")]);
}

#[tokio::test]
async fn three_policies_for_two_cars_make_one_batch_call_of_two() {
    let service = Service::with(FakeVehicle::healthy().await, &[BATCH]).await;
    let answer = service
        .with_cars(ANOTHER, &["ABC123", "DEF456", "ABC123"])
        .await;
    assert_eq!(enrichments(&answer), vec![enriched("batch"); 3]);
    let requests = service.vehicle.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].numbers(), ["ABC123", "DEF456"]);
}

#[tokio::test]
async fn the_kill_switch_means_not_one_call() {
    for settings in [&[KILLED][..], &[KILLED, BATCH]] {
        let service = Service::with(FakeVehicle::healthy().await, settings).await;
        let answer = service.with_cars(ANOTHER, &["ABC123", "ABC123"]).await;
        let disabled = without_vehicle("disabled", None);
        assert_eq!(enrichments(&answer), [disabled.clone(), disabled]);
        assert_eq!(answer.json()["enrichment"], "disabled");
        service.look_up(PERSON).await;
        assert_eq!(service.vehicle.calls(), 0);
    }
}

#[tokio::test]
async fn the_request_and_its_trace_are_named_to_vehicle() {
    let service = Service::healthy().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let headers = [
        ("x-request-id", "core-42"),
        ("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01")),
        ("authorization", "Bearer of-the-caller"),
        ("cookie", "of=the-caller"),
        ("prefer", "handling=strict"),
    ];
    let path = format!("/api/v1/insurances/{PERSON}");
    let answer = service.api.get_with(&path, &headers).await;
    assert_eq!(answer.header("x-request-id"), "core-42");
    let request = &service.vehicle.requests()[0];
    assert_eq!(request.header("x-request-id"), Some("core-42"));
    assert_eq!(
        request.header("traceparent"),
        Some(answer.header("traceparent"))
    );
    assert!(answer.header("traceparent").contains(trace));
    for foreign in ["authorization", "cookie", "prefer"] {
        assert_eq!(request.header(foreign), None);
    }
}
