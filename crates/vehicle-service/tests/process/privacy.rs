use std::time::Duration;

use axum::body::Body;
use http::Request;
use serde_json::json;
use test_support::{
    Binary, Collector, Issuer, PEOPLE, TestDatabase, assert_free_of_canaries,
    assert_log_and_spans_free_of_canaries, send_canaries,
};
use tokio::time::sleep;
use vehicle_service::{NAME, SCHEMA};

use super::caller::within;

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

#[tokio::test]
async fn no_token_and_no_claim_of_one_reaches_logs_spans_metrics_or_errors() {
    let (collector, issuer) = (Collector::start().await, Issuer::start().await);
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let running = Binary::new(env!("CARGO_BIN_EXE_vehicle-service"), &database)
        .with_all(&issuer.settings())
        .with_all(&[
            ("SERVER__DRAIN_DELAY", "0s"),
            ("LOG__FILTER", "trace"),
            ("TELEMETRY__OTLP_ENDPOINT", &collector.endpoint),
        ])
        .serve()
        .await;
    let known = r#""name":"tokens","status":"pass""#;
    within(async {
        while !running.at.get("/readyz").await.text().contains(known) {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let mut sent = Vec::new();
    for person in PEOPLE {
        for (header, claims, status) in [
            (json!({}), json!({ "sub": person }), 200),
            (
                json!({}),
                json!({ "sub": format!("{person}@clients"), "email": person }),
                200,
            ),
            (
                json!({}),
                json!({ "client_id": person, "name": [person], "jti": person }),
                200,
            ),
            (json!({}), json!({ "sub": person, "scope": person }), 403),
            (json!({}), json!({ "sub": person, "exp": 1 }), 401),
            (json!({}), json!({ "aud": person }), 401),
            (json!({}), json!({ "iss": person }), 401),
            (json!({ "kid": person }), json!({}), 401),
            (json!({ "typ": person }), json!({}), 401),
            (json!({ "alg": person }), json!({}), 401),
        ] {
            let token = issuer.changed(header, claims);
            let request = Request::get("/api/v1/vehicles/ABC123")
                .header("authorization", format!("Bearer {token}"));
            let answer = running.at.send(request.body(Body::empty()).unwrap()).await;
            let answer = answer.unwrap();
            assert_eq!(answer.status, status, "{}", answer.text());
            let shown = format!("{:?} {}", answer.headers, answer.text());
            assert_free_of_canaries(&shown, "an answer");
            sent.push(token);
        }
    }
    assert_free_of_canaries(&running.at.get("/metrics").await.text(), "the metrics");
    let ended = running.stop().await.unwrap();
    assert_eq!(ended.code, Some(0));
    let closing = ended
        .lines
        .iter()
        .filter(|line| line["message"] == "request ended");
    let subjects = closing.filter(|line| {
        let id = line["key_id"].as_str().unwrap_or_default();
        id.starts_with("token/~")
    });
    assert_eq!(subjects.count(), 3 * PEOPLE.len());
    let spans = collector.spans();
    assert!(spans.len() >= sent.len(), "{}", spans.len());
    let told = ended.lines.iter().map(ToString::to_string);
    let told = told.chain(spans.iter().map(|span| format!("{span:?}")));
    for told in told {
        assert_free_of_canaries(&told, "the log or a span");
        for token in &sent {
            let mut parts = token.split('.').filter(|part| part.len() > 20);
            assert!(!parts.any(|part| told.contains(part)), "{told}");
        }
    }
}
