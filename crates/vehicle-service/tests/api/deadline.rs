//! The time that a caller still waits, sent along as `X-Deadline-Ms`.

use http::{Method, StatusCode};
use serde_json::json;
use test_support::{Answer, metric};

use crate::service::{Service, keyed};

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
