//! The guard controlled by hand: not one call reaches Vehicle until it is released or its time is
//! over, and everybody is told.

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};
use test_support::{Answer, FakeVehicle, Reply};
use tokio::{
    task::yield_now,
    time::{advance, pause, resume},
};
use tracing_subscriber::filter::LevelFilter;

use super::{
    capture::Capture,
    service::{PERSON, Service, enriched, enrichments},
};

pub(crate) const GUARD: &str = "/api/v1/operations/vehicle-guard";
const CACHE: &str = "/api/v1/operations/vehicle-cache";
const KEY: &str = "operator-key-0123456789";

/// A service with a key for its operators, a Vehicle in good health and these settings.
pub(crate) async fn operated(settings: &[(&str, &str)]) -> Service {
    let key = [
        ("API_KEYS__OPERATOR__KEY", KEY),
        ("API_KEYS__OPERATOR__SCOPES", "operations"),
    ];
    Service::with(FakeVehicle::healthy().await, &[&key, settings].concat()).await
}

/// A request with the operators' key.
pub(crate) async fn ask(service: &Service, method: Method, path: &str, body: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("x-api-key", KEY)
        .header("content-type", "application/json")
        .header("x-request-id", "change-42")
        .body(Body::from(body.to_owned()))
        .unwrap();
    service.api.send(request).await
}

pub(crate) async fn state(service: &Service) -> Value {
    let answer = ask(service, Method::GET, GUARD, "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json()
}

async fn isolate(service: &Service, seconds: u64) -> Value {
    let body = json!({ "mode": "isolated", "reason": "maintenance", "owner": "on-call",
                       "expiresInSeconds": seconds });
    let answer = ask(service, Method::PUT, GUARD, &body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn release(service: &Service) -> Value {
    let body = json!({ "mode": "automatic", "reason": "it is done", "owner": "on-call" });
    let answer = ask(service, Method::PUT, GUARD, &body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn while_isolated_no_call_reaches_vehicle_and_cars_say_why_and_for_how_long() {
    for batch in ["false", "true"] {
        let service = operated(&[("FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL", batch)]).await;
        isolate(&service, 900).await;
        for _ in 0..3 {
            let answer = service.look_up(PERSON).await;
            let car = &enrichments(&answer)[0];
            assert_eq!(car["status"], "unavailable");
            assert_eq!(car["cause"], "breaker_open");
            let seconds = car["retryAfterSeconds"].as_u64().unwrap();
            assert!((840..=900).contains(&seconds), "{seconds}");
        }
        assert_eq!(service.vehicle.calls(), 0);
        assert_eq!(service.metric("vehicle_client_isolated", &[]).await, 1);
        release(&service).await;
        assert_eq!(service.metric("vehicle_client_isolated", &[]).await, 0);
        let source = if batch == "true" { "batch" } else { "live" };
        let answer = service.look_up(PERSON).await;
        assert_eq!(enrichments(&answer)[0], enriched(source));
        assert_eq!(service.vehicle.calls(), 1);
    }
}

#[tokio::test]
async fn while_isolated_kept_answers_are_given_fresh_or_stale() {
    for (fresh, status, source) in [
        ("1h", "enriched", "cache"),
        ("0s", "stale", "last_known_good"),
    ] {
        let service = operated(&[
            ("VEHICLE_CLIENT__CACHE__ENABLED", "true"),
            ("VEHICLE_CLIENT__CACHE__FRESH", fresh),
            ("VEHICLE_CLIENT__CACHE__SOFT_STALE", fresh),
            ("VEHICLE_CLIENT__CACHE__NEGATIVE", "0s"),
        ])
        .await;
        service.look_up(PERSON).await;
        isolate(&service, 900).await;
        let answer = service.look_up(PERSON).await;
        let car = &enrichments(&answer)[0];
        assert_eq!(
            (&car["status"], &car["source"]),
            (&json!(status), &json!(source))
        );
        assert_eq!(service.vehicle.calls(), 1);
        let cache = &state(&service).await["cache"];
        assert_eq!(cache["entries"], 1);
        assert!(cache["bytes"].as_u64().unwrap() > 0, "{cache}");
    }
}

#[tokio::test]
async fn an_isolation_ends_by_itself_and_is_told_before_anybody_asks() {
    let (capture, _guard) = Capture::start(LevelFilter::WARN);
    let service = operated(&[]).await;
    isolate(&service, 900).await;
    yield_now().await;
    pause();
    advance(Duration::from_millis(900_001)).await;
    yield_now().await;
    resume();
    let told = [
        "isolation_expired",
        "\"operator\"",
        "on-call",
        "maintenance",
    ];
    assert_eq!(capture.lines_with(&told), 1, "{}", capture.text());
    let answer = service.look_up(PERSON).await;
    assert_eq!(enrichments(&answer)[0], enriched("live"));
    assert_eq!(state(&service).await["mode"], "automatic");
}

#[tokio::test]
async fn the_state_is_whole_and_writes_what_is_absent_as_null() {
    let service = operated(&[]).await;
    let calls = |maximum: u64| json!({ "inFlight": 0, "waiting": 0, "maximum": maximum });
    let mut expected = json!({
        "mode": "automatic",
        "isolation": null,
        "breaker": { "state": "closed", "retryAfterSeconds": null },
        "retryAfterGate": { "closedForSeconds": null },
        "retriesLeft": null,
        "single": calls(5),
        "batch": calls(1),
        "cache": null,
    });
    // Time earns retries.
    let without_retries = |mut state: Value| {
        let left = state["retriesLeft"].take().as_f64().unwrap();
        assert!((0.0..=3.0).contains(&left), "{left}");
        state
    };
    assert_eq!(without_retries(state(&service).await), expected);
    let mut isolated = without_retries(isolate(&service, 900).await);
    let isolation = isolated["isolation"].take();
    expected["mode"] = json!("isolated");
    assert_eq!(isolated, expected);
    assert_eq!(isolation["reason"], "maintenance");
    assert_eq!(isolation["owner"], "on-call");
    assert_eq!(isolation["keyId"], "operator");
    assert_eq!(isolation["remainingSeconds"], 900);
    let [since, until] = ["since", "until"]
        .map(|member| humantime::parse_rfc3339(isolation[member].as_str().unwrap()).unwrap());
    assert_eq!(until.duration_since(since).unwrap().as_secs(), 900);
}

#[tokio::test]
async fn a_change_may_be_sent_again_and_another_takes_its_place() {
    let service = operated(&[]).await;
    let first = isolate(&service, 900).await;
    let again = isolate(&service, 900).await;
    assert_eq!(again["mode"], "isolated");
    assert_eq!(again["isolation"]["since"], first["isolation"]["since"]);
    let shorter = isolate(&service, 60).await;
    assert_eq!(shorter["isolation"]["remainingSeconds"], 60);
    assert_eq!(state(&service).await["mode"], "isolated");
    for _ in 0..2 {
        let released = release(&service).await;
        assert_eq!(released["mode"], "automatic");
        assert_eq!(released["isolation"], Value::Null);
    }
}

#[tokio::test]
async fn the_state_shows_calls_in_flight_and_an_open_breaker() {
    // What hangs is given up soon.
    let service = operated(&[
        ("VEHICLE_CLIENT__MAX_RETRIES", "0"),
        ("VEHICLE_CLIENT__CONNECT_TIMEOUT", "500ms"),
        ("VEHICLE_CLIENT__ATTEMPT_TIMEOUT", "500ms"),
    ])
    .await;
    service.vehicle.script(|_| Reply::Hang);
    let api = service.api.clone();
    let path = format!("/api/v1/insurances/{PERSON}");
    let asking = tokio::spawn(async move { api.get(&path).await });
    service.vehicle.reached(1).await;
    assert_eq!(state(&service).await["single"]["inFlight"], 1);
    asking.abort();
    service.vehicle.idle().await;
    service.vehicle.script(|_| Reply::status(500));
    for _ in 0..20 {
        service.look_up(PERSON).await;
    }
    let breaker = &state(&service).await["breaker"];
    assert_eq!(breaker["state"], "open");
    assert!((1..=6).contains(&breaker["retryAfterSeconds"].as_u64().unwrap()));
    assert_eq!(readiness(&service).await["status"], "warn");
}

/// What `/readyz`, which is good, says of the guard.
async fn readiness(service: &Service) -> Value {
    let answer = service.api.get("/readyz").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let report = answer.json();
    let checks = report["checks"].as_array().unwrap();
    let guard = checks.iter().find(|it| it["name"] == "vehicle_guard");
    guard.unwrap().clone()
}

#[tokio::test]
async fn readiness_warns_of_an_isolation_without_saying_whose() {
    let service = operated(&[]).await;
    isolate(&service, 900).await;
    let guard = readiness(&service).await;
    assert_eq!(guard["status"], "warn");
    let detail = guard["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("isolated by an operator for another "),
        "{detail}"
    );
    assert!(!detail.contains("maintenance") && !detail.contains("on-call"));
}

#[tokio::test]
async fn every_accepted_change_is_one_audit_line() {
    let (capture, _guard) = Capture::start(LevelFilter::INFO);
    let service = operated(&[]).await;
    let isolated = isolate(&service, 900).await;
    let until = isolated["isolation"]["until"].as_str().unwrap();
    release(&service).await;
    ask(&service, Method::DELETE, &format!("{CACHE}/ABC123"), "").await;
    state(&service).await;
    let audit = [
        "\"level\":\"WARN\"",
        "\"target\":\"audit\"",
        "\"operator\"",
        "\"change-42\"",
    ];
    let told = |more: &[&str]| capture.lines_with(&[&audit, more].concat());
    assert_eq!(told(&[]), 3, "{}", capture.text());
    let quoted = format!("\"until\":\"{until}\"");
    let order = [
        "\"action\":\"isolate\"",
        "\"on-call\"",
        "\"maintenance\"",
        &quoted,
    ];
    assert_eq!(told(&order), 1, "{}", capture.text());
    let order = ["\"action\":\"release\"", "\"on-call\"", "\"it is done\""];
    assert_eq!(told(&order), 1, "{}", capture.text());
    assert_eq!(told(&["\"action\":\"erase_vehicle\""]), 1);
    assert!(!capture.text().contains("ABC123"));
}

#[tokio::test]
async fn what_is_erased_is_asked_for_anew_and_only_that() {
    let service = operated(&[("VEHICLE_CLIENT__CACHE__ENABLED", "true")]).await;
    let cars = |answer: &Answer| {
        let sources = enrichments(answer)
            .into_iter()
            .map(|it| it["source"].clone());
        sources.collect::<Vec<_>>()
    };
    let person = "197001019999";
    service.with_cars(person, &["ABC123", "DEF456"]).await;
    assert_eq!(cars(&service.look_up(person).await), ["cache", "cache"]);
    let answer = ask(&service, Method::DELETE, &format!("{CACHE}/abc-123"), "").await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    assert_eq!(cars(&service.look_up(person).await), ["live", "cache"]);
    assert_eq!(service.vehicle.calls(), 3);
    let never_known = ask(&service, Method::DELETE, &format!("{CACHE}/XYZ999"), "").await;
    assert_eq!(never_known.status, 204);
}
