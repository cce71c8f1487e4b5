use http::{Method, StatusCode};
use serde_json::{Value, json};
use test_support::{Answer, TestDatabase};

use crate::service::{Service, get_open, keyless, nowhere, send};

/// A service whose pool is connected already: readiness waits for a second only.
async fn connected() -> Service {
    let service = Service::start().await;
    let answer = service.api.get("/api/v1/vehicles/ABC123").await;
    assert_eq!(answer.status, StatusCode::OK);
    service
}

async fn ready(service: &Service) -> Answer {
    get_open(&service.api.0, "/readyz").await
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap()
}

#[tokio::test]
async fn a_service_with_its_database_is_alive_and_ready() {
    let service = connected().await;
    let alive = get_open(&service.api.0, "/healthz").await;
    assert_eq!(
        (alive.status, alive.text().as_str()),
        (StatusCode::OK, "ok")
    );
    let answer = ready(&service).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(
        answer.json(),
        json!({"ready": true, "checks": [
            {"name": "settings", "status": "pass", "detail": null},
            {"name": "database", "status": "pass", "detail": null},
            {"name": "lifecycle", "status": "pass", "detail": null},
        ]})
    );
}

#[tokio::test]
async fn a_service_whose_schema_is_behind_is_not_ready_but_alive() {
    let database = TestDatabase::empty(vehicle_service::NAME).await;
    let service = Service::on(database, &[]);
    // Its first connection may take longer than readiness waits.
    service.api.get("/api/v1/vehicles/ABC123").await;
    let answer = ready(&service).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header("content-type"), "application/json");
    let report = answer.json();
    assert_eq!(report["ready"], false);
    let newest = vehicle_service::SCHEMA.migrator.iter().count();
    assert_eq!(
        *check(&report, "database"),
        json!({"name": "database", "status": "fail", "detail": format!("the schema is at 0 of {newest}; run migrate")})
    );
    assert_eq!(
        get_open(&service.api.0, "/healthz").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_schema_of_a_newer_release_is_ready() {
    let service = connected().await;
    service
        .database
        .execute(
            "insert into vehicle._sqlx_migrations
             select max(version) + 1, 'newer', now(), true, '', 0 from vehicle._sqlx_migrations",
        )
        .await;
    assert_eq!(ready(&service).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_step_that_failed_is_not_up_to_date() {
    let service = connected().await;
    service
        .database
        .execute("update vehicle._sqlx_migrations set success = false")
        .await;
    assert_eq!(
        ready(&service).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn a_service_without_its_database_is_not_ready_but_alive() {
    let (_socket, url) = nowhere();
    let service = Service::with(&[
        ("DATABASE__URL", &url),
        ("DATABASE__ACQUIRE_TIMEOUT", "50ms"),
    ])
    .await;
    let answer = ready(&service).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let report = answer.json();
    assert_eq!(
        check(&report, "database")["detail"],
        "the database is unavailable"
    );
    assert!(!answer.text().contains("127.0.0.1"));
    assert_eq!(
        get_open(&service.api.0, "/healthz").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_database_that_says_nothing_fails_readiness_within_its_bound() {
    // Takes connections and never answers one.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://{}/none", silent.local_addr().unwrap());
    let service = Service::with(&[("DATABASE__URL", &url)]).await;
    let report = ready(&service).await.json();
    assert_eq!(check(&report, "database")["detail"], "no answer within 1 s");
}

#[tokio::test]
async fn a_service_whose_connections_are_all_at_work_is_ready_and_says_so() {
    let service = Service::with(&[
        ("DATABASE__MAX_CONNECTIONS", "1"),
        ("DATABASE__ACQUIRE_TIMEOUT", "500ms"),
    ])
    .await;
    let vehicle = "/api/v1/vehicles/ABC123";
    // The first connection may take longer than that.
    while service.api.get(vehicle).await.status != StatusCode::OK {}
    let mut lock = service.database.lock("vehicle.vehicles").await;
    let ready_meanwhile = async {
        lock.queued(1).await;
        let answer = ready(&service).await;
        lock.release().await;
        answer
    };
    let (held, answer) = tokio::join!(service.api.get(vehicle), ready_meanwhile);
    assert_eq!(held.status, StatusCode::OK);
    assert_eq!(answer.status, StatusCode::OK);
    let report = answer.json();
    assert_eq!(report["ready"], true);
    assert_eq!(
        *check(&report, "database"),
        json!({"name": "database", "status": "warn", "detail": "no database connection was free in time"})
    );
}

#[tokio::test]
async fn a_stopping_service_is_not_ready_and_closes_its_connections() {
    let service = connected().await;
    assert_eq!(ready(&service).await.status, StatusCode::OK);
    service.process.shutdown().begin();
    let answer = ready(&service).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(
        answer.json(),
        json!({"ready": false, "checks": [
            {"name": "lifecycle", "status": "fail", "detail": "the service is stopping"}
        ]})
    );
    let answer = service.api.get("/api/v1/vehicles/ABC123").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("connection"), "close");
}

#[tokio::test]
async fn the_management_routes_move_to_a_listener_of_their_own() {
    let service = Service::with(&[("MANAGEMENT__PORT", "9")]).await;
    let management = service.management().unwrap();
    for path in ["/healthz", "/readyz", "/metrics"] {
        let there = get_open(&management.0, path).await;
        assert_eq!(there.status, StatusCode::OK, "{path}");
        let here = get_open(&service.api.0, path).await;
        assert_eq!(here.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(service.api.get(path).await.status, StatusCode::NOT_FOUND);
    }
    let api = management.get("/api/v1/vehicles/ABC123").await;
    assert_eq!(api.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn metrics_may_ask_for_a_key() {
    for port in ["0", "9"] {
        let service = Service::with(&[
            ("MANAGEMENT__METRICS_REQUIRE_KEY", "true"),
            ("MANAGEMENT__PORT", port),
        ])
        .await;
        let api = service.management().unwrap_or(service.api.clone());
        let answer = send(&api, keyless(Method::GET, "/metrics")).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(api.get("/metrics").await.status, StatusCode::OK);
        assert_eq!(get_open(&api.0, "/readyz").await.status, StatusCode::OK);
    }
}
