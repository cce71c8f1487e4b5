use test_support::{
    Collector, FakeVehicle, assert_free_of_canaries, assert_log_and_spans_free_of_canaries,
    send_canaries,
};

use super::binary::seeded;

#[tokio::test]
async fn vehicle_is_never_asked_through_a_proxy_of_the_environment() {
    let (vehicle, proxy) = (FakeVehicle::healthy().await, FakeVehicle::healthy().await);
    let mut binary = seeded(&vehicle).await;
    for name in [
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        binary = binary.with_variable(name, &proxy.url());
    }
    let running = binary.serve().await;
    let answer = running.at.get("/api/v1/insurances/199001011234").await;
    assert_eq!(answer.json()["enrichment"], "complete");
    assert_eq!([vehicle.calls(), proxy.calls()], [1, 0]);
}

#[tokio::test]
async fn no_header_path_body_or_method_carries_a_person_into_logs_spans_metrics_errors_or_vehicle()
{
    let collector = Collector::start().await;
    let vehicle = FakeVehicle::healthy().await;
    let running = seeded(&vehicle)
        .await
        .with("LOG__FILTER", "trace")
        .with("TELEMETRY__OTLP_ENDPOINT", &collector.endpoint)
        .serve()
        .await;
    let paths = [
        "/api/v1/insurances/199001011234",
        "/api/v1/insurances/{}",
        "/api/v1/insurances/199001011234?personalIdentityNumber={}",
        "/api/v1/persons/{}",
        "/{}",
    ];
    let lookup = (
        "/api/v1/insurances/lookup",
        r#"{"personalIdentityNumber":"{}"}"#,
    );
    let profiles = send_canaries(running.at, &paths, lookup).await;
    assert!(profiles > 200, "{profiles}");
    assert_free_of_canaries(&running.at.get("/metrics").await.text(), "the metrics");

    let sent = vehicle.requests();
    assert!(sent.len() >= profiles, "{}", sent.len());
    for request in &sent {
        assert_eq!(request.header("tracestate"), None);
        assert_free_of_canaries(&format!("{:?}", request.headers), "a call to Vehicle");
    }
    let ended = running.stop().await.unwrap();
    assert_eq!(ended.code, Some(0));
    assert_log_and_spans_free_of_canaries(&ended, &collector);
}
