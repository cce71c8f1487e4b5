//! The connections to the database, what happens to requests that wait for one, and what the
//! readiness says of them.

use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;
use test_support::{Answer, Relay, TestDatabase, metric};
use tokio::time::{self, timeout};

use super::service::Service;

const PATH: &str = "/api/v1/vehicles/ABC123";
const POOL: usize = 8;

/// A service that reaches its database through a relay that lets so many connections in.
async fn through_relay(allowed: usize) -> (Relay, Service) {
    let database = TestDatabase::new(vehicle_service::NAME, vehicle_service::SCHEMA).await;
    let relay = Relay::allowing(&database, allowed).await;
    let settings = [
        ("DATABASE__URL", relay.url.as_str()),
        ("DATABASE__MAX_CONNECTIONS", &POOL.to_string()),
    ];
    let service = Service::on(database, &settings);
    (relay, service)
}

async fn ready(service: &Service) -> Answer {
    service.api.get_open("/readyz").await
}

async fn until_ready(service: &Service) {
    while ready(service).await.status != StatusCode::OK {}
}

async fn assert_served(service: &Service, callers: usize) {
    let answers = join_all((0..callers).map(|_| service.api.get(PATH))).await;
    for answer in answers {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
}

#[tokio::test]
async fn the_first_callers_after_ready_find_every_connection_open() {
    for _ in 0..3 {
        let (relay, service) = through_relay(POOL).await;
        until_ready(&service).await;
        assert_eq!(relay.opened(), POOL);
        assert_served(&service, 64).await;
        assert_eq!(relay.opened(), POOL);
    }
}

#[tokio::test]
async fn a_service_with_one_connection_missing_is_alive_and_not_ready() {
    let (relay, service) = through_relay(POOL - 1).await;
    let answer = ready(&service).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let alive = service.api.get_open("/healthz").await;
    assert_eq!(alive.status, StatusCode::OK);
    relay.allow(1);
    until_ready(&service).await;
}

#[tokio::test]
async fn a_database_that_goes_away_is_a_503_and_comes_back_by_itself() {
    let service = Service::start().await;
    assert_eq!(service.api.get(PATH).await.status, StatusCode::OK);
    limit_connections(&service, 0).await;
    // Returns once the sessions have ended.
    let end = "select pg_terminate_backend(pid, 60000) from pg_stat_activity
        where datname = current_database() and usename = 'vehicle_service'";
    service.database.execute(end).await;
    let answer = service.api.get(PATH).await;
    assert_eq!(answer.problem()["code"], "database_unavailable");
    limit_connections(&service, -1).await;
    assert_eq!(service.api.get(PATH).await.status, StatusCode::OK);
}

/// Lets so many of the service's sessions into its database; -1 = all.
async fn limit_connections(service: &Service, limit: i32) {
    let limit = format!(
        "do $$ begin
             execute format('alter database %I connection limit {limit}', current_database());
         end $$"
    );
    service.database.execute(&limit).await;
}

#[tokio::test]
async fn a_service_whose_connections_are_all_at_work_is_ready_and_says_so() {
    let service = Service::with(&[
        ("DATABASE__MAX_CONNECTIONS", "1"),
        ("DATABASE__ACQUIRE_TIMEOUT", "500ms"),
    ])
    .await;
    // The first connection may take longer than that.
    while service.api.get(PATH).await.status != StatusCode::OK {}
    let mut lock = service.database.lock("vehicle.vehicles").await;
    let ready_meanwhile = async {
        lock.queued(1).await;
        let answer = ready(&service).await;
        lock.release().await;
        answer
    };
    let (held, answer) = tokio::join!(service.api.get(PATH), ready_meanwhile);
    assert_eq!(held.status, StatusCode::OK);
    assert_eq!(answer.status, StatusCode::OK);
    let report = answer.json();
    assert_eq!(report["ready"], true);
    assert_eq!(
        report["checks"][1],
        json!({"name": "database", "status": "warn", "detail": "no database connection was free in time"})
    );
}

#[tokio::test]
async fn a_schema_of_a_newer_release_is_ready_and_a_step_that_failed_is_not() {
    for (change, status) in [
        (
            "insert into vehicle._sqlx_migrations
             select max(version) + 1, 'newer', now(), true, '', 0 from vehicle._sqlx_migrations",
            StatusCode::OK,
        ),
        (
            "update vehicle._sqlx_migrations set success = false",
            StatusCode::SERVICE_UNAVAILABLE,
        ),
    ] {
        let service = Service::start().await;
        // Readiness waits for a second, and the first connection may take longer.
        assert_eq!(service.api.get(PATH).await.status, StatusCode::OK);
        service.database.execute(change).await;
        assert_eq!(ready(&service).await.status, status, "{change}");
    }
}

#[tokio::test]
async fn when_its_callers_time_is_up_a_request_ends_and_so_does_its_statement() {
    // No limit of the service's own ends it first.
    let service = Service::with(&[
        ("SERVER__REQUEST_DEADLINE", "5m"),
        ("DATABASE__STATEMENT_TIMEOUT", "60s"),
    ])
    .await;
    let mut lock = service.database.lock("vehicle.vehicles").await;
    let two_seconds = [("x-deadline-ms", "2000")];
    let request = service.api.get_with(PATH, &two_seconds);
    // The first connection takes its time too.
    let (answer, ()) = tokio::join!(request, lock.queued(1));
    assert_eq!(answer.problem()["code"], "deadline_exceeded");
    lock.queued(0).await;
}

#[tokio::test]
async fn lookups_at_the_same_time_share_statements_and_each_gets_its_own_vehicle() {
    const PLATES: [&str; 4] = ["ABC123", "GHI789", "DEF456", "ZZZ999"];
    let database = TestDatabase::new(vehicle_service::NAME, vehicle_service::SCHEMA).await;
    let service = Service::on(database, &[("DATABASE__MAX_CONNECTIONS", "16")]);
    until_ready(&service).await;
    let mut lock = service.database.lock("vehicle.vehicles").await;
    let lookups = (0..8 * PLATES.len()).map(|caller| {
        let path = format!("/api/v1/vehicles/{}", PLATES[caller % PLATES.len()]);
        let api = &service.api;
        async move { api.get(&path).await }
    });
    let release = async {
        lock.queued(2).await;
        let metrics = service.api.get_open("/metrics").await.text();
        lock.release().await;
        let used = [("db_client_connection_state", "used")];
        metric(&metrics, "db_client_connection_count", &used)
    };
    let (answers, statements) = tokio::join!(join_all(lookups), release);
    // One for each, they would take every connection. Two, if the machine is not too busy.
    assert!(statements < 16, "{statements}");
    for (answer, plate) in answers.iter().zip(PLATES.iter().cycle()) {
        if *plate == "ZZZ999" {
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.text());
        } else {
            assert_eq!(answer.json()["registrationNumber"], *plate);
        }
    }
}

#[tokio::test]
async fn a_log_that_is_not_protected_is_ready_and_says_so() {
    let service = Service::start().await;
    assert_eq!(service.api.get(PATH).await.status, StatusCode::OK);
    let disarm = "alter table vehicle_events.log disable trigger append_only";
    service.database.execute(disarm).await;
    let answer = ready(&service).await;
    assert_eq!(answer.status, StatusCode::OK);
    let detail = "not protected: vehicle_events.log.append_only";
    assert_eq!(
        answer.json()["checks"][2],
        json!({"name": "event_log", "status": "warn", "detail": detail})
    );
    let metrics = service.api.get_open("/metrics").await.text();
    assert_eq!(metric(&metrics, "event_log_disarmed", &[]), 1);
}

/// Not every platform asks for the readiness.
#[tokio::test]
async fn a_log_that_loses_its_protection_is_told_of_within_a_minute_though_nobody_asks() {
    let service = Service::start().await;
    let told = async |disarmed: i64| {
        const NAME: &str = "event_log_disarmed";
        let told = async {
            loop {
                let metrics = service.api.get_open("/metrics").await.text();
                let known = metrics.lines().any(|line| line.starts_with(NAME));
                if known && metric(&metrics, NAME, &[]) == disarmed {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), told).await.unwrap();
    };
    told(0).await;
    let disarm = "alter table vehicle_events.log disable trigger append_only";
    service.database.execute(disarm).await;
    time::pause();
    time::advance(Duration::from_secs(61)).await;
    time::resume();
    told(1).await;
}
