//! Metrics that add up exactly with the answers given.

use test_support::{FakeVehicle, Reply, metric};

use super::service::{PERSON, Service};

const OUTCOMES: &str = "enrichment_outcomes_total";
const TOGGLES: &str = "feature_toggle_evaluations_total";

#[tokio::test]
async fn outcomes_add_up_to_the_car_policies_answered() {
    let vehicle = FakeVehicle::start(|request| match request.path.rsplit('/').next() {
        Some("BAD500") => Reply::status(500),
        Some("BAD429") => Reply::status(429),
        _ => Reply::healthy(request),
    })
    .await;
    let service = Service::with(vehicle, &[]).await;
    let cars = ["ABC123", "DEF456", "ZZZ999", "BAD500", "BAD429", "ABC123"];
    service.with_cars("197001019999", &cars).await;
    service.look_up(PERSON).await;
    service.look_up("200310209876").await;
    service.look_up("197001010000").await;
    let text = service.api.get("/metrics").await.text();
    let counted = |labels: &[(&str, &str)]| metric(&text, OUTCOMES, labels);
    assert_eq!(counted(&[]), 7);
    let enriched = [("status", "enriched"), ("cause", ""), ("source", "live")];
    assert_eq!(counted(&enriched), 4);
    let not_found = [("status", "not_found"), ("cause", ""), ("source", "live")];
    assert_eq!(counted(&not_found), 1);
    for cause in ["server_error", "rate_limited"] {
        let labels = [("status", "unavailable"), ("cause", cause), ("source", "")];
        assert_eq!(counted(&labels), 1);
    }
    let attempts = metric(&text, "vehicle_client_attempts_total", &[]);
    let requests = metric(&text, "http_client_request_duration_seconds_count", &[]);
    let calls = i64::try_from(service.vehicle.calls()).unwrap();
    assert_eq!([attempts, requests], [calls; 2]);
    assert_eq!(calls, 7);
}

#[tokio::test]
async fn toggles_are_counted_once_for_each_request_that_reads_them() {
    let service = Service::healthy().await;
    service
        .with_cars("197001019999", &["ABC123", "DEF456"])
        .await;
    service.look_up(PERSON).await;
    service.look_up("200310209876").await;
    for (name, value) in [
        ("enable_vehicle_enrichment", "true"),
        ("enable_batch_vehicle_call", "false"),
    ] {
        let labels = [("toggle_name", name), ("value", value)];
        assert_eq!(service.metric(TOGGLES, &labels).await, 2, "{name}");
    }
    assert_eq!(service.metric(TOGGLES, &[]).await, 4);
}

#[tokio::test]
async fn a_toggle_that_no_request_reads_is_not_counted() {
    let off = [("FEATURE_TOGGLES__ENABLE_VEHICLE_ENRICHMENT", "false")];
    let service = Service::with(FakeVehicle::healthy().await, &off).await;
    service.look_up(PERSON).await;
    let read = [
        ("toggle_name", "enable_vehicle_enrichment"),
        ("value", "false"),
    ];
    assert_eq!(service.metric(TOGGLES, &read).await, 1);
    assert_eq!(service.metric(TOGGLES, &[]).await, 1);
}
