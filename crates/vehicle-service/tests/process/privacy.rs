use test_support::{
    Binary, Collector, TestDatabase, assert_free_of_canaries,
    assert_log_and_spans_free_of_canaries, send_canaries,
};
use vehicle_service::{NAME, SCHEMA};

#[tokio::test]
async fn no_header_path_body_or_method_carries_a_person_into_logs_spans_metrics_or_errors() {
    let collector = Collector::start().await;
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let running = Binary::new(env!("CARGO_BIN_EXE_vehicle-service"), &database)
        .with_all(&[
            ("SERVER__DRAIN_DELAY", "0s"),
            ("DATABASE__ACQUIRE_TIMEOUT", "9s"),
            ("DATABASE__STATEMENT_TIMEOUT", "9s"),
            ("SERVER__REQUEST_DEADLINE", "30s"),
            ("LOG__FILTER", "trace"),
            ("TELEMETRY__OTLP_ENDPOINT", &collector.endpoint),
        ])
        .serve()
        .await;
    let paths = [
        "/api/v1/vehicles/ABC123",
        "/api/v1/vehicles/{}",
        "/api/v1/vehicles/ABC123?personalIdentityNumber={}",
        "/api/v1/persons/{}",
        "/{}",
    ];
    let batch = (
        "/api/v1/vehicles/batch",
        r#"{"registrationNumbers":["ABC123","{}"]}"#,
    );
    let vehicles = send_canaries(running.at, &paths, batch).await;
    assert!(vehicles > 200, "{vehicles}");
    assert_free_of_canaries(&running.at.get("/metrics").await.text(), "the metrics");

    let ended = running.stop().await.unwrap();
    assert_eq!(ended.code, Some(0));
    assert_log_and_spans_free_of_canaries(&ended, &collector);
}
