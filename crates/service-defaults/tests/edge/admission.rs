//! Which requests find a place, and what becomes of the others.

use std::time::Duration;

use axum::http::StatusCode;
use test_support::{Api, metric};
use tokio::time::Instant;

use super::sample::{ORDER, service};

const ONE_PLACE: [(&str, &str); 1] = [("SAMPLE__LIMITS__MAX_REQUESTS_IN_PROGRESS", "1")];

/// Asks for `/own` with a time limit while another request has the only place for as long as this;
/// says whether it was served, and after how many milliseconds.
async fn behind(api: &Api, other: &str, own: &str) -> (bool, u128) {
    let (status, waited) = behind_on(api, "/own", other, own).await;
    (status == StatusCode::OK, waited)
}

/// The same for another path, and the status.
async fn behind_on(api: &Api, path: &str, other: &str, own: &str) -> (StatusCode, u128) {
    let behind = async {
        let asked = Instant::now();
        let answer = api.get_with(path, &[("x-deadline-ms", own)]).await;
        let waited = asked.elapsed().as_millis();
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            assert_eq!(answer.problem()["code"], "overloaded");
            assert_eq!(answer.header("retry-after"), "1");
        }
        (answer.status, waited)
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
async fn a_request_whose_body_is_there_has_its_turn_once() {
    let (_, api) = service(&ONE_PLACE);
    let first = api.get_with("/hangs", &[("x-deadline-ms", "400")]);
    let ordered = api.post_text("/orders", ORDER);
    let later = api.get_with("/hangs", &[("x-deadline-ms", "2000")]);
    let (_, ordered, _) = tokio::join!(first, ordered, later);
    assert_eq!(ordered.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn while_requests_find_too_many_others_there_are_fewer_places() {
    let (_, api) = service(&[("SAMPLE__LIMITS__MAX_REQUESTS_IN_PROGRESS", "2")]);
    assert_eq!(behind(&api, "99", "10000").await, (true, 0));
    for _ in 0..4 {
        let answer = api.get("/busy").await;
        assert_eq!(answer.problem()["code"], "database_busy");
    }
    // Served while another one waits, they win the place back; what failed wins nothing.
    for _ in 0..8 {
        let fails = behind_on(&api, "/fails", "99", "10000").await;
        assert_eq!(fails, (StatusCode::INTERNAL_SERVER_ERROR, 99));
        assert_eq!(behind(&api, "99", "10000").await, (true, 99));
    }
    assert_eq!(behind(&api, "99", "10000").await, (true, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_had_long_and_was_not_answered_counts_as_one_too_many() {
    for (time, waited) in [("99", 0), ("100", 99)] {
        let (_, api) = service(&[("SAMPLE__LIMITS__MAX_REQUESTS_IN_PROGRESS", "2")]);
        api.get_with("/hangs", &[("x-deadline-ms", time)]).await;
        assert_eq!(behind(&api, "99", "10000").await, (true, waited), "{time}");
    }
}

#[tokio::test(start_paused = true)]
async fn routes_with_places_of_their_own_keep_them_all() {
    let (_, api) = service(&[]);
    for _ in 0..4 {
        let answer = api.get("/waits/busy").await;
        assert_eq!(answer.problem()["code"], "database_busy");
    }
    let time = [("x-deadline-ms", "10000")];
    let (one, other) = tokio::join!(api.get_with("/waits", &time), api.get_with("/waits", &time));
    for answer in [one, other] {
        assert_eq!(answer.problem()["code"], "deadline_exceeded");
    }
}
