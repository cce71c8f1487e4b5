use http::{Method, StatusCode};
use serde_json::json;
use test_support::Answer;

use crate::service::{Service, get_open, keyed, nowhere, send};

const PATH: &str = "/api/v1/vehicles/ABC123";
const TABLE: &str = "vehicle.vehicles";

fn assert_unavailable(answer: &Answer, code: &str) {
    assert_eq!(
        answer.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{}",
        answer.text()
    );
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.header("cache-control"), "no-store");
    insta::assert_json_snapshot!(code, answer.problem());
    assert_eq!(answer.json()["code"], code);
}

#[tokio::test]
async fn a_statement_over_its_time_is_cancelled() {
    let service = Service::with(&[("DATABASE__STATEMENT_TIMEOUT", "10ms")]).await;
    let _lock = service.database.lock(TABLE).await;
    assert_unavailable(&service.api.get(PATH).await, "database_timeout");
    let batch = json!({"registrationNumbers": ["ABC123"]});
    let answer = service.api.post("/api/v1/vehicles/batch", &batch).await;
    assert_unavailable(&answer, "database_timeout");
}

#[tokio::test]
async fn a_request_without_a_free_connection_is_refused() {
    let service = Service::with(&[
        ("DATABASE__MAX_CONNECTIONS", "1"),
        ("DATABASE__ACQUIRE_TIMEOUT", "2s"),
    ])
    .await;
    assert_eq!(service.api.get(PATH).await.status, StatusCode::OK);
    let mut lock = service.database.lock(TABLE).await;
    let refused_while_one_waits = async {
        lock.queued(1).await;
        assert_unavailable(&service.api.get(PATH).await, "database_busy");
        lock.release().await;
    };
    let (first, ()) = tokio::join!(service.api.get(PATH), refused_while_one_waits);
    assert_eq!(first.status, StatusCode::OK);
}

#[tokio::test]
async fn one_request_more_than_allowed_is_refused_at_once() {
    let service = Service::with(&[("LIMITS__MAX_REQUESTS_IN_PROGRESS", "1")]).await;
    let mut lock = service.database.lock(TABLE).await;
    let refused_while_one_waits = async {
        lock.queued(1).await;
        assert_unavailable(&service.api.get(PATH).await, "overloaded");
        // The platform still sees how the service is.
        for path in ["/healthz", "/metrics"] {
            assert_eq!(get_open(&service.api.0, path).await.status, StatusCode::OK);
        }
        lock.release().await;
    };
    let (first, ()) = tokio::join!(service.api.get(PATH), refused_while_one_waits);
    assert_eq!(first.status, StatusCode::OK);
    assert_eq!(service.api.get(PATH).await.status, StatusCode::OK);
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
    assert_unavailable(&service.api.get(PATH).await, "database_unavailable");
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
async fn a_database_that_is_not_there_is_a_503() {
    let (_socket, url) = nowhere();
    let service = Service::with(&[
        ("DATABASE__URL", &url),
        ("DATABASE__ACQUIRE_TIMEOUT", "50ms"),
    ])
    .await;
    assert_unavailable(&service.api.get(PATH).await, "database_unavailable");
}

#[tokio::test]
async fn a_right_that_is_taken_away_is_a_503_and_comes_back_by_itself() {
    let service = Service::start().await;
    let revoke = "revoke select on vehicle.vehicles from vehicle_service";
    service.database.execute(revoke).await;
    assert_unavailable(&service.api.get(PATH).await, "database_unavailable");
    let ready = get_open(&service.api.0, "/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    let grant = "grant select on vehicle.vehicles to vehicle_service";
    service.database.execute(grant).await;
    assert_eq!(service.api.get(PATH).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_database_that_does_not_let_the_service_in_is_a_503() {
    let service = Service::with(&[("DATABASE__PASSWORD", "wrong")]).await;
    assert_unavailable(&service.api.get(PATH).await, "database_unavailable");
}

#[tokio::test]
async fn a_fault_of_ours_is_a_500_without_its_cause() {
    let service = Service::start().await;
    service
        .database
        .execute("alter table vehicle.vehicles rename column make to brand")
        .await;
    let answer = send(&service.api, keyed(Method::GET, PATH)).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.header("retry-after"), "");
    insta::assert_json_snapshot!("internal_error", answer.problem());
}
