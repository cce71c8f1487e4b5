//! What a midnight changes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::Method;
use insurance_service::Clock;
use serde_json::json;
use test_support::{FakeVehicle, Reply};

use super::Desk;

/// A clock on the last day of February, and what turns it to the first of March.
fn clock() -> (Clock, Arc<AtomicBool>) {
    let midnight = Arc::new(AtomicBool::new(false));
    let came = midnight.clone();
    let clock = Clock::new(move || {
        let day = if came.load(Ordering::SeqCst) {
            "2030-03-01"
        } else {
            "2030-02-28"
        };
        day.parse().unwrap()
    });
    (clock, midnight)
}

#[tokio::test]
async fn a_midnight_between_the_rules_and_the_transaction_is_noticed() {
    let (clock, midnight) = clock();
    // It comes while Vehicle is asked.
    let vehicle = FakeVehicle::start(move |request| {
        midnight.store(true, Ordering::SeqCst);
        Reply::healthy(request)
    })
    .await;
    let desk = Desk::at(clock, vehicle).await;
    let drafted = desk.draft_with(json!({ "validFrom": "2030-02-28" })).await;
    let id = drafted.json()["insuranceId"].as_i64().unwrap();
    let refused = desk.go(id, drafted.header("etag"), "active").await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert_eq!(refused.problem()["code"], "cover_in_the_past");
    assert_eq!(desk.events(id).await.len(), 1);
}

#[tokio::test]
async fn an_entity_tag_from_before_midnight_names_another_policy() {
    let (clock, midnight) = clock();
    let desk = Desk::at(clock, FakeVehicle::healthy().await).await;
    let body = json!({ "validFrom": "2030-02-28", "validUntil": "2030-03-01" });
    let drafted = desk.draft_with(body).await;
    let id = drafted.json()["insuranceId"].as_i64().unwrap();
    let active = desk.go(id, drafted.header("etag"), "active").await;
    assert_eq!(active.status, 200, "{}", active.text());
    let tag = active.header("etag").to_owned();
    let path = format!("/api/v1/policies/{id}");
    let known = [("if-none-match", &*tag)];
    let same = desk.ask(Method::GET, &path, &known, None).await;
    assert_eq!(same.status, 304);
    midnight.store(true, Ordering::SeqCst);
    let now = desk.ask(Method::GET, &path, &known, None).await;
    assert_eq!(now.status, 200);
    assert_eq!(now.json()["status"], "expired");
    let stale = desk.go(id, &tag, "suspended").await;
    assert_eq!(stale.problem()["code"], "version_conflict");
    assert_eq!(stale.problem()["currentETag"], now.header("etag"));
    let expired = desk.get("/api/v1/policies?status=expired").await.json();
    assert_eq!(expired["policies"][0]["insuranceId"], id);
}

/// By the clock that the rules have.
#[tokio::test]
async fn a_profile_is_of_the_day_that_it_is() {
    let (clock, midnight) = clock();
    let desk = Desk::at(clock, FakeVehicle::healthy().await).await;
    let person = "197001019999";
    desk.0.insure(person, &[("pet", "10", None)]).await;
    let ends = "update insurance.covers set cover = '[2020-01-01,2030-03-01)'
        where insurance_id = (select max(insurance_id) from insurance.insurances)";
    desk.0.database.execute(ends).await;
    let before = desk.0.look_up(person).await;
    assert_eq!(before.json()["insurances"][0]["product"], "pet");
    midnight.store(true, Ordering::SeqCst);
    assert_eq!(desk.0.look_up(person).await.status, 404);
}
