use axum::body::Body;
use http::{Method, Request};
use serde_json::Value;
use test_support::{Answer, FakeVehicle};

use crate::api::service::Service;

const KEY: &str = "admin-key-0123456789";
/// The settings of a service with a key for its operators.
pub(super) const ADMIN: [(&str, &str); 2] = [
    ("API_KEYS__OPERATOR__KEY", KEY),
    ("API_KEYS__OPERATOR__SCOPES", "admin"),
];
pub(super) const CONSUMERS: &str = "/api/v1/operations/consumers";
pub(super) const CONSUMER: &str = "/api/v1/operations/consumers/vehicle_replica";
pub(super) const LETTERS: &str = "/api/v1/operations/consumers/vehicle_replica/dead-letters";

/// Somebody who operates the service.
pub(super) struct Operator(pub(super) Service);

impl Operator {
    pub(super) async fn new() -> Self {
        Self(Service::with(FakeVehicle::healthy().await, &ADMIN).await)
    }

    pub(super) async fn ask(&self, method: Method, path: &str, body: &Value) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("x-api-key", KEY)
            .header("content-type", "application/json")
            .header("x-request-id", "change-42");
        let body = if body.is_null() {
            Body::empty()
        } else {
            Body::from(body.to_string())
        };
        self.0.api.send(request.body(body).unwrap()).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &Value::Null).await
    }

    /// What a path answers that is there.
    pub(super) async fn read(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("cache-control"), "no-store");
        answer.json()
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::POST, path, body).await
    }

    pub(super) async fn order(&self, body: &Value) -> Answer {
        self.ask(Method::PUT, CONSUMER, body).await
    }

    /// Parks a dead letter with this number.
    pub(super) async fn park(&self, number: u32, status: &str) -> String {
        let id = format!("0192f3c4-5b8f-7a60-9d5c-{number:012}");
        let closed = if matches!(status, "resolved" | "discarded") {
            "now()"
        } else {
            "null"
        };
        let sql = format!(
            r#"insert into insurance_replica.dead_letters
                 (dead_letter_id, consumer, event_id, position, registration_number, reason, detail,
                  event, attempts, status, parked_at, closed_at)
             values ('{id}', 'vehicle_replica', '{id}', {}, 'ABC123', 'contract',
                 'its type is not known, or does not fit the rest', '{{"specversion":"1.0"}}', 1,
                 '{status}', '2026-01-01T12:00:00Z', {closed})"#,
            // The oldest has the highest id.
            1000 - number
        );
        self.0.database.execute(&sql).await;
        id
    }
}
