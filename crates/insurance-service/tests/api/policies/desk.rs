use axum::body::Body;
use http::{Method, Request};
use insurance_service::Clock;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde_json::{Value, json};
use settings::Arguments;
use test_support::{Answer, Api, FakeVehicle};

use crate::api::service::Service;

/// A key that reads and writes.
const KEY: &str = "desk-key-0123456789";
/// One that operates the service.
const ADMIN_KEY: &str = "admin-key-0123456789";
pub(super) const DESK: [(&str, &str); 4] = [
    ("API_KEYS__DESK__KEY", KEY),
    ("API_KEYS__DESK__SCOPES", "read,write"),
    ("API_KEYS__ADMIN__KEY", ADMIN_KEY),
    ("API_KEYS__ADMIN__SCOPES", "admin"),
];

/// Somebody who drafts and changes policies.
pub(crate) struct Desk(pub(crate) Service);

/// The day so many days from today, in Sweden.
pub(crate) fn day(number: i64) -> String {
    static STOCKHOLM: TimeZone = jiff::tz::get!("Europe/Stockholm");
    let today = Timestamp::now().to_zoned(STOCKHOLM.clone()).date();
    today.checked_add(number.days()).unwrap().to_string()
}

impl Desk {
    pub(crate) async fn open() -> Self {
        Self::with(FakeVehicle::healthy().await, &[]).await
    }

    pub(crate) async fn with(vehicle: FakeVehicle, settings: &[(&str, &str)]) -> Self {
        Self(Service::with(vehicle, &[&DESK[..], settings].concat()).await)
    }

    /// With a clock of its own.
    pub(crate) async fn at(clock: Clock, vehicle: FakeVehicle) -> Self {
        Self(Service::at(clock, vehicle, Arguments::default(), &DESK).await)
    }

    /// A new process on the same database, with these settings.
    pub(crate) fn restarted(self, settings: &[(&str, &str)]) -> Self {
        let Service {
            database, vehicle, ..
        } = self.0;
        let (clock, settings) = (Clock::system(), [&DESK[..], settings].concat());
        let arguments = Arguments::default();
        Self(Service::on(database, clock, vehicle, arguments, &settings))
    }

    /// A request with these headers; a body is JSON.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        Self::ask_of(&self.0.api, method, path, headers, body).await
    }

    /// The same of another process.
    pub(crate) async fn ask_of(
        api: &Api,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "x-api-key") {
            request = request.header("x-api-key", KEY);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
        api.send(request.body(body).unwrap()).await
    }

    /// A `POST` under this key.
    pub(crate) async fn post(&self, path: &str, key: &str, tag: &str, body: &Value) -> Answer {
        let mut headers = vec![("idempotency-key", key)];
        if !tag.is_empty() {
            headers.push(("if-match", tag));
        }
        self.ask(Method::POST, path, &headers, Some(body)).await
    }

    /// Sets a price as an administrator.
    pub(crate) async fn set_price(&self, product: &str, day: &str, cost: f64) -> Answer {
        let path = format!("/api/v1/prices/{product}/{day}");
        let body = json!({ "monthlyCost": cost });
        self.administer(Method::PUT, &path, &[], &body).await
    }

    /// A request of an administrator.
    pub(crate) async fn administer(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let headers = [&[("x-api-key", ADMIN_KEY)], headers].concat();
        self.ask(method, path, &headers, Some(body)).await
    }

    /// A `POST` under a key of its own.
    pub(crate) async fn send(&self, path: &str, tag: &str, body: &Value) -> Answer {
        self.post(path, &key(), tag, body).await
    }

    pub(crate) async fn draft_with(&self, changes: Value) -> Answer {
        self.send("/api/v1/policies", "", &draft(changes)).await
    }

    /// A draft for the car from today on: its number and its entity tag.
    pub(crate) async fn draft(&self, car: &str) -> (i64, String) {
        let drafted = self
            .draft_with(json!({ "carRegistrationNumber": car }))
            .await;
        assert_eq!(drafted.status, 201, "{}", drafted.text());
        let id = drafted.json()["insuranceId"].as_i64().unwrap();
        (id, drafted.header("etag").to_owned())
    }

    /// A policy in force for the car from today on.
    pub(crate) async fn activate(&self, car: &str) -> (i64, String) {
        let (id, tag) = self.draft(car).await;
        let active = self.go(id, &tag, "active").await;
        assert_eq!(active.status, 200, "{}", active.text());
        (id, active.header("etag").to_owned())
    }

    /// Takes a policy to a status.
    pub(crate) async fn go(&self, id: i64, tag: &str, to: &str) -> Answer {
        let body = json!({ "to": to, "reason": "other" });
        self.send(&format!("/api/v1/policies/{id}/transitions"), tag, &body)
            .await
    }

    pub(crate) async fn change(&self, id: i64, tag: &str, body: &Value) -> Answer {
        self.send(&format!("/api/v1/policies/{id}/changes"), tag, body)
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], None).await
    }

    pub(crate) async fn policy(&self, id: i64) -> Answer {
        self.get(&format!("/api/v1/policies/{id}")).await
    }

    /// What a query of an administrator gives.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let mut connection = self.0.database.connect().await;
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned()))
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }

    /// The types of a policy's events, and who has caused them within what.
    pub(crate) async fn events(&self, id: i64) -> Vec<String> {
        let mut connection = self.0.database.connect().await;
        sqlx::query_scalar(
            "select version || ' ' || event_type || ' ' || actor from insurance_events.events
             where aggregate_type = 'policy' and aggregate_id = $1 order by version",
        )
        .bind(id.to_string())
        .fetch_all(&mut connection)
        .await
        .unwrap()
    }
}

/// A key that nobody has used.
pub(crate) fn key() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!(
        "key-of-a-test-{:06}",
        NUMBER.fetch_add(1, Ordering::Relaxed)
    )
}

/// A draft for a car from today on, with these members in the place of its own.
pub(crate) fn draft(changes: Value) -> Value {
    let mut draft = json!({
        "personalIdentityNumber": "197001019999", "product": "car",
        "carRegistrationNumber": "GHI789", "validFrom": day(0), "validUntil": null,
    });
    let Value::Object(changes) = changes else {
        panic!("{changes} is no object");
    };
    for (name, value) in changes {
        draft[name] = value;
    }
    draft
}
