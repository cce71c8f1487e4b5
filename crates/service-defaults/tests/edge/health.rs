//! What the readiness makes of its checks, and where the platform asks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::http::StatusCode;
use serde_json::json;
use service_defaults::{
    health::{Check, CheckStatus, Readiness},
    lifecycle::Shutdown,
};
use test_support::Api;
use tokio::time::{Instant, advance};

use super::sample::{assembled, service};

#[tokio::test(start_paused = true)]
async fn a_check_that_does_not_end_fails_after_a_second() {
    let readiness = Readiness::new(Shutdown::default())
        .with_check("slow", std::future::pending)
        .with_check("good", async || Check::pass("good"));
    let asked = Instant::now();
    let report = readiness.report().await;
    assert_eq!(asked.elapsed(), Duration::from_secs(1));
    assert!(!report.ready);
    let status: Vec<_> = report.checks.iter().map(|check| check.status).collect();
    let [fail, pass] = [CheckStatus::Fail, CheckStatus::Pass];
    assert_eq!(status, [fail, pass, pass]);
    let detail = report.checks[0].detail.as_deref();
    assert_eq!(detail, Some("no answer within 1 s"));
}

#[tokio::test(start_paused = true)]
async fn a_report_is_given_again_for_a_quarter_of_a_second() {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    let readiness = Readiness::new(Shutdown::default()).with_check("counts", move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Check::pass("counts") }
    });
    for (pause, expected) in [(0, 1), (249, 1), (1, 2), (249, 2)] {
        advance(Duration::from_millis(pause)).await;
        readiness.report().await;
        assert_eq!(asked.load(Ordering::Relaxed), expected);
    }
}

#[tokio::test]
async fn a_stopping_service_is_not_ready_and_closes_its_connections() {
    let (process, api) = service(&[]);
    let ready = api.get_open("/readyz").await;
    assert_eq!(ready.header("cache-control"), "no-store");
    assert_eq!(ready.status, StatusCode::OK);
    process.shutdown().begin();
    let ready = api.get_open("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    let stopping =
        json!({ "name": "lifecycle", "status": "fail", "detail": "the service is stopping" });
    assert_eq!(
        ready.json(),
        json!({ "ready": false, "checks": [stopping] })
    );
    let own = api.get("/own").await;
    assert_eq!(own.status, StatusCode::OK);
    for answer in [ready, own] {
        assert_eq!(answer.header("connection"), "close");
    }
}

#[tokio::test]
async fn the_management_routes_move_to_a_listener_of_their_own() {
    let (_process, assembled) = assembled(&[("SAMPLE__MANAGEMENT__PORT", "9")]);
    let (public, management) = (Api(assembled.public), Api(assembled.management.unwrap()));
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(
            management.get_open(path).await.status,
            StatusCode::OK,
            "{path}"
        );
        assert_eq!(public.get_open(path).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(public.get(path).await.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(management.get("/own").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn metrics_may_ask_for_a_key() {
    for port in ["0", "9"] {
        let (_process, assembled) = assembled(&[
            ("SAMPLE__MANAGEMENT__METRICS_REQUIRE_KEY", "true"),
            ("SAMPLE__MANAGEMENT__PORT", port),
        ]);
        let api = Api(assembled.management.unwrap_or(assembled.public));
        assert_eq!(
            api.get_open("/metrics").await.status,
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(api.get("/metrics").await.status, StatusCode::OK);
        assert_eq!(api.get_open("/readyz").await.status, StatusCode::OK);
    }
}
