//! The time that a caller still waits, sent along as `X-Deadline-Ms`.

use std::convert::Infallible;

use axum::body::Body;
use futures_util::stream;
use http::{Method, StatusCode};
use serde_json::json;
use test_support::{Answer, metric};

use crate::service::{Service, keyed, send};

const PATH: &str = "/api/v1/vehicles/ABC123";
const BATCH: &str = "/api/v1/vehicles/batch";
const TABLE: &str = "vehicle.vehicles";
/// No limit of the service's own ends a request first.
const UNHURRIED: [(&str, &str); 2] = [
    ("SERVER__REQUEST_DEADLINE", "5m"),
    ("DATABASE__STATEMENT_TIMEOUT", "60s"),
];

async fn get_within(service: &Service, milliseconds: &str) -> Answer {
    let header = [("x-deadline-ms", milliseconds)];
    service.api.get_with(PATH, &header).await
}

fn assert_deadline_exceeded(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.problem()["code"], "deadline_exceeded");
}

/// How many connections of the service are at work.
async fn used(service: &Service) -> i64 {
    let labels = [("db_client_connection_state", "used")];
    metric(
        &service.metrics().await,
        "db_client_connection_count",
        &labels,
    )
}

#[tokio::test]
async fn work_whose_time_is_up_already_never_begins() {
    // A statement that has begun keeps its connection for a minute.
    let service = Service::with(&[
        UNHURRIED[0],
        UNHURRIED[1],
        ("DATABASE__CLIENT_CONNECTION_CHECK_INTERVAL", "0s"),
    ])
    .await;
    assert_eq!(service.api.get(PATH).await.status, StatusCode::OK);
    let mut lock = service.database.lock(TABLE).await;
    assert_deadline_exceeded(&get_within(&service, "0").await);
    assert_eq!(used(&service).await, 0);
    let (answer, ()) = tokio::join!(get_within(&service, "2000"), lock.queued(1));
    assert_deadline_exceeded(&answer);
    assert_eq!(used(&service).await, 1);
}

#[tokio::test]
async fn the_body_of_work_whose_time_is_up_is_not_looked_at() {
    let service = Service::start().await;
    let request = keyed(Method::POST, BATCH)
        .header("content-type", "application/json")
        .header("x-deadline-ms", "0")
        .body("no JSON".into())
        .unwrap();
    assert_deadline_exceeded(&service.api.send(request).await);
}

#[tokio::test]
async fn when_the_time_is_up_the_request_ends_and_so_does_its_statement() {
    let service = Service::with(&UNHURRIED).await;
    let mut lock = service.database.lock(TABLE).await;
    // The first connection takes its time too.
    let (answer, ()) = tokio::join!(get_within(&service, "2000"), lock.queued(1));
    assert_deadline_exceeded(&answer);
    lock.queued(0).await;
}

#[tokio::test]
async fn a_batch_ends_with_its_callers_time_too() {
    let service = Service::with(&UNHURRIED).await;
    let mut lock = service.database.lock(TABLE).await;
    let request = keyed(Method::POST, BATCH)
        .header("content-type", "application/json")
        .header("x-deadline-ms", "2000")
        .body(
            json!({"registrationNumbers": ["ABC123"]})
                .to_string()
                .into(),
        )
        .unwrap();
    let (answer, ()) = tokio::join!(service.api.send(request), lock.queued(1));
    assert_deadline_exceeded(&answer);
    lock.queued(0).await;
}

#[tokio::test]
async fn a_caller_who_waits_longer_does_not_lengthen_the_services_own_limit() {
    let service = Service::with(&[
        ("SERVER__REQUEST_DEADLINE", "270ms"),
        ("DATABASE__ACQUIRE_TIMEOUT", "10ms"),
        ("DATABASE__STATEMENT_TIMEOUT", "10ms"),
    ])
    .await;
    // No query can outlast the limit, so this waits for a body that never ends.
    let endless = stream::pending::<Result<Vec<u8>, Infallible>>();
    let request = keyed(Method::POST, BATCH)
        .header("content-type", "application/json")
        .header("x-deadline-ms", "999999999")
        .body(Body::from_stream(endless))
        .unwrap();
    let answer = service.api.send(request).await;
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
    insta::assert_json_snapshot!("body_too_slow", answer.problem());
}

#[tokio::test]
async fn a_time_that_cannot_be_read_is_refused() {
    let service = Service::start().await;
    for value in ["", "-1", "+1", "1.5", "1s", "1 000", "0x10", "1000000000"] {
        let answer = get_within(&service, value).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{value}");
        insta::assert_json_snapshot!("invalid_x_deadline_ms", answer.problem());
    }
    let twice = keyed(Method::GET, PATH)
        .header("x-deadline-ms", "1000")
        .header("x-deadline-ms", "1000");
    let answer = send(&service.api, twice).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    insta::assert_json_snapshot!("invalid_x_deadline_ms", answer.problem());
}

#[tokio::test]
async fn the_platforms_routes_know_no_deadline() {
    let service = Service::start().await;
    for path in ["/healthz", "/metrics"] {
        let answer = service.api.get_with(path, &[("x-deadline-ms", "0")]).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
}
