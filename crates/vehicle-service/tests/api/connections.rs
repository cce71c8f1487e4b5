//! The connections to the database: all there before the first caller, and none lost to callers
//! who leave or to a server that ends idle sessions.

use futures_util::{FutureExt, future::join_all};
use http::StatusCode;
use test_support::{Answer, Relay, TestDatabase};

use crate::service::{Service, get_open};

const PATH: &str = "/api/v1/vehicles/ABC123";
const POOL: usize = 8;

/// A service that reaches its database through a relay that lets so many connections in.
async fn through_relay(allowed: usize) -> (Relay, Service) {
    let database = TestDatabase::new(vehicle_service::NAME, vehicle_service::SCHEMA).await;
    let relay = Relay::allowing(&database, allowed).await;
    let settings = [
        ("DATABASE__URL", relay.url.as_str()),
        ("DATABASE__MIN_CONNECTIONS", "0"),
    ];
    let service = Service::on(database, &settings);
    (relay, service)
}

async fn ready(service: &Service) -> Answer {
    get_open(&service.api.0, "/readyz").await
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
    let alive = get_open(&service.api.0, "/healthz").await;
    assert_eq!(alive.status, StatusCode::OK);
    relay.allow(1);
    until_ready(&service).await;
}

#[tokio::test]
async fn sessions_that_the_server_ends_fail_no_request() {
    let (_relay, service) = through_relay(usize::MAX >> 3).await;
    until_ready(&service).await;
    for _ in 0..3 {
        // Returns once the sessions have ended.
        let end = "select pg_terminate_backend(pid, 60000) from pg_stat_activity
            where datname = current_database() and usename = 'vehicle_service'";
        service.database.execute(end).await;
        assert_served(&service, 1).await;
        assert_served(&service, 2 * POOL).await;
    }
}

#[tokio::test]
async fn callers_who_leave_cost_the_others_no_connection() {
    let (relay, service) = through_relay(usize::MAX >> 3).await;
    until_ready(&service).await;
    let mut left = 0;
    for _ in 0..50 {
        for _ in 0..POOL {
            // Asked once, the statement is on its way; then its caller leaves.
            let answer = service.api.get(PATH).now_or_never();
            left += u32::from(answer.is_none());
        }
        assert_served(&service, 2).await;
    }
    assert!(left > 200, "{left}");
    // A statement may take longer than its grace where the machine is busy. When each caller who
    // left took a session along, it was more than 400.
    assert!(relay.opened() <= 8 * POOL, "{}", relay.opened());
}
