//! Which requests find a place, and what becomes of the others.

use std::time::Duration;

use axum::http::StatusCode;
use test_support::{Api, metric};
use tokio::time::{Instant, sleep};

use super::sample::service;

const ONE_PLACE: [(&str, &str); 1] = [("SAMPLE__LIMITS__MAX_REQUESTS_IN_PROGRESS", "1")];

/// Asks for `/own` with a time limit while another request has the only place for as long as this;
/// says whether it was served, and after how many milliseconds.
async fn behind(api: &Api, other: &str, own: &str) -> (bool, u128) {
    let behind = async {
        let asked = Instant::now();
        let answer = api.get_with("/own", &[("x-deadline-ms", own)]).await;
        let waited = asked.elapsed().as_millis();
        if answer.status != StatusCode::OK {
            assert_eq!(answer.problem()["code"], "overloaded");
            assert_eq!(answer.header("retry-after"), "1");
        }
        (answer.status == StatusCode::OK, waited)
    };
    let headers = [("x-deadline-ms", other)];
    let (_, behind) = tokio::join!(api.get_with("/hangs", &headers), behind);
    behind
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_a_place_half_a_second_or_half_of_its_time() {
    let (_, api) = service(&ONE_PLACE);
    for (other, own, served) in [
        ("499", "10000", (true, 499)),
        ("501", "10000", (false, 500)),
        ("99", "200", (true, 99)),
        ("101", "200", (false, 100)),
    ] {
        assert_eq!(behind(&api, other, own).await, served, "{other} {own}");
    }
    let text = api.get("/metrics").await.text();
    let refused = metric(&text, "http_server_admission_refused_total", &[]);
    assert_eq!(refused, 2, "{text}");
}

#[tokio::test(start_paused = true)]
async fn probes_and_metrics_need_no_place() {
    let (_, api) = service(&ONE_PLACE);
    let asked = Instant::now();
    let probes = async {
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(api.get(path).await.status, StatusCode::OK, "{path}");
        }
        asked.elapsed()
    };
    let (_, waited) = tokio::join!(api.get("/hangs"), probes);
    assert_eq!(waited, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn while_requests_find_too_many_others_there_are_fewer_places() {
    let (_, api) = service(&[("SAMPLE__LIMITS__MAX_REQUESTS_IN_PROGRESS", "2")]);
    assert!(behind(&api, "10000", "10000").await.0);
    for _ in 0..4 {
        let answer = api.get("/busy").await;
        assert_eq!(answer.problem()["code"], "database_busy");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(behind(&api, "10000", "10000").await, (false, 500));
    // Served while another one waits, they win the place back.
    for _ in 0..4 {
        assert!(behind(&api, "100", "10000").await.0);
    }
    assert!(behind(&api, "10000", "10000").await.0);
}
