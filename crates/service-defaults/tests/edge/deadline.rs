//! The time that a caller still waits, sent along as `X-Deadline-Ms`.

use std::convert::Infallible;

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use futures_util::stream;
use test_support::{keyed, send};
use tokio::time::Instant;

use super::sample::service;

#[tokio::test]
async fn the_body_of_work_whose_time_is_up_is_not_looked_at() {
    let (_, api) = service(&[]);
    let request = keyed(Method::POST, "/orders")
        .header("content-type", "application/json")
        .header("x-deadline-ms", "0")
        .body("no JSON".into())
        .unwrap();
    let answer = api.send(request).await;
    assert_eq!(answer.problem()["code"], "deadline_exceeded");
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_waits_longer_does_not_lengthen_the_services_own_limit() {
    let (_, api) = service(&[("SAMPLE__SERVER__REQUEST_DEADLINE", "10s")]);
    let endless = stream::pending::<Result<Vec<u8>, Infallible>>();
    let request = keyed(Method::POST, "/orders")
        .header("content-type", "application/json")
        .header("x-deadline-ms", "999999999")
        .body(Body::from_stream(endless))
        .unwrap();
    let asked = Instant::now();
    let answer = api.send(request).await;
    assert_eq!(asked.elapsed().as_secs(), 10);
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
    insta::assert_json_snapshot!("body_too_slow", answer.problem());
}

#[tokio::test]
async fn a_time_that_cannot_be_read_is_refused() {
    let (_, api) = service(&[]);
    for value in ["", "-1", "+1", "1.5", "1s", "1 000", "0x10", "1000000000"] {
        let answer = api.get_with("/own", &[("x-deadline-ms", value)]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{value}");
        insta::assert_json_snapshot!("invalid_x_deadline_ms", answer.problem());
    }
    let twice = keyed(Method::GET, "/own")
        .header("x-deadline-ms", "1000")
        .header("x-deadline-ms", "1000");
    let answer = send(&api, twice).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    insta::assert_json_snapshot!("invalid_x_deadline_ms", answer.problem());
}

#[tokio::test]
async fn the_platforms_routes_know_no_deadline() {
    let (_, api) = service(&[]);
    for path in ["/healthz", "/metrics"] {
        let answer = api.get_with(path, &[("x-deadline-ms", "0")]).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
}
