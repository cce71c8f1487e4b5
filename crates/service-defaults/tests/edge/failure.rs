use std::time::Duration;

use axum::http::{Method, StatusCode};
use test_support::{keyed, send};

use super::sample::service;

#[tokio::test]
async fn a_panic_is_a_500_without_its_message() {
    let (_, api) = service(&[]);
    let answer = api.get("/panics").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!answer.text().contains("secret"), "{}", answer.text());
    insta::assert_json_snapshot!("internal_error", answer.problem());
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(api.get("/own").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_fault_keeps_its_cause_to_itself() {
    let (_, api) = service(&[]);
    let answer = api.get("/fails").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    insta::assert_json_snapshot!("internal_error", answer.problem());
    assert!(!answer.text().contains("secret"));
}

#[tokio::test]
async fn an_error_answer_in_words_becomes_a_problem() {
    let (_, api) = service(&[]);
    let answer = api.get("/text").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(answer.problem()["code"], "internal_error");
    assert!(!answer.text().contains("secret"));
}

#[tokio::test]
async fn an_error_answer_in_json_stays_as_its_handler_wrote_it() {
    let (_, api) = service(&[]);
    let answer = api.get("/json").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.text(), "{}");
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_never_ends_is_ended_at_its_deadline_and_frees_its_place() {
    let (_, api) = service(&[
        ("SAMPLE__SERVER__REQUEST_DEADLINE", "10s"),
        ("SAMPLE__LIMITS__MAX_REQUESTS_IN_PROGRESS", "1"),
    ]);
    for _ in 0..2 {
        let started = tokio::time::Instant::now();
        let answer = api.get("/hangs").await;
        assert_eq!(started.elapsed().as_secs(), 10);
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.header("retry-after"), "1");
        assert_eq!(answer.problem()["code"], "deadline_exceeded");
    }
}

#[tokio::test(start_paused = true)]
async fn routes_with_limits_of_their_own_take_no_place_and_no_time_from_others() {
    let (_, api) = service(&[
        ("SAMPLE__SERVER__REQUEST_DEADLINE", "10s"),
        ("SAMPLE__LIMITS__MAX_REQUESTS_IN_PROGRESS", "1"),
    ]);
    let started = tokio::time::Instant::now();
    let waits = async { tokio::join!(api.get("/waits"), api.get("/waits")).0 };
    let (waits, _, others) = tokio::join!(waits, api.get("/hangs"), async {
        // All places are taken.
        tokio::time::sleep(Duration::from_secs(1)).await;
        [api.get("/waits").await, api.get("/own").await]
    });
    for other in others {
        assert_eq!(other.problem()["code"], "overloaded");
    }
    assert_eq!(waits.problem()["code"], "deadline_exceeded");
    assert_eq!(started.elapsed().as_secs(), 120);
}

#[tokio::test(start_paused = true)]
async fn the_smaller_of_the_services_and_the_callers_time_counts() {
    let (_, api) = service(&[("SAMPLE__SERVER__REQUEST_DEADLINE", "10s")]);
    for (header, milliseconds) in [("0", 0), ("1", 1), ("2500", 2_500), ("60000", 10_000)] {
        let started = tokio::time::Instant::now();
        let answer = api.get_with("/hangs", &[("x-deadline-ms", header)]).await;
        assert_eq!(started.elapsed().as_millis(), milliseconds, "{header}");
        assert_eq!(answer.problem()["code"], "deadline_exceeded");
    }
    let answer = api.get_with("/own", &[("x-deadline-ms", "1")]).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let (_, api) = service(&[]);
    for path in ["/own", "/nowhere", "/fails", "/json"] {
        let get = api.get(path).await;
        let head = send(&api, keyed(Method::HEAD, path)).await;
        assert_eq!(head.status, get.status, "{path}");
        assert!(head.body.is_empty(), "{}", head.text());
        for name in ["content-type", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{path}: {name}");
        }
    }
}
