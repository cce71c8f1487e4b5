use test_support::{
    Collector, FakeVehicle, Issuer, Lie, Reply, assert_free_of_canaries,
    assert_log_and_spans_free_of_canaries, send_canaries,
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

#[tokio::test]
async fn neither_our_secret_at_the_issuer_nor_our_token_reaches_logs_spans_or_metrics() {
    let (collector, issuer) = (Collector::start().await, Issuer::start().await);
    let vehicle = FakeVehicle::healthy().await;
    let running = seeded(&vehicle)
        .await
        .with_all(&[
            ("LOG__FILTER", "trace"),
            ("TELEMETRY__OTLP_ENDPOINT", &collector.endpoint),
            (
                "VEHICLE_CLIENT__TOKEN__URL",
                &format!("{}/token", issuer.url()),
            ),
            ("VEHICLE_CLIENT__TOKEN__CLIENT_ID", "insurance"),
            ("VEHICLE_CLIENT__TOKEN__CLIENT_SECRET", "never-to-be-told"),
        ])
        .serve()
        .await;
    let path = "/api/v1/insurances/199001011234";
    let answer = running.at.get(path).await;
    assert_eq!(answer.json()["enrichment"], "complete");
    let bearer = vehicle.requests()[0]
        .header("authorization")
        .map(str::to_owned);
    assert_eq!(bearer.as_deref(), Some("Bearer granted-1"));
    // It is told that there is none, and why.
    issuer.lie(Lie::Text);
    vehicle.script(|_| Reply::status(401));
    let answer = running.at.get(path).await;
    assert_ne!(answer.json()["enrichment"], "complete");
    let metrics = running.at.get("/metrics").await.text();
    let ended = running.stop().await.unwrap();
    assert_eq!(ended.code, Some(0));
    let warned = "the issuer gives us no token";
    assert!(ended.lines.iter().any(|line| line["message"] == warned));
    let spans = collector.spans();
    let told = ended.lines.iter().map(ToString::to_string);
    let told = told.chain(spans.iter().map(|span| format!("{span:?}")));
    for told in told.chain([metrics]) {
        for secret in ["never-to-be-told", "granted-", "aW5zdXJhbmNlOm5ldmVyLXRv"] {
            assert!(!told.contains(secret), "{told}");
        }
    }
}
