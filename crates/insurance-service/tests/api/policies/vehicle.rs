//! Never a policy in force on a car that nobody has seen.

use std::time::Duration;

use serde_json::json;
use test_support::{FakeVehicle, Reply};
use tokio::time::{advance, pause, resume};

use super::Desk;

const CACHED: [(&str, &str); 1] = [("VEHICLE_CLIENT__CACHE__ENABLED", "true")];

#[tokio::test]
async fn a_car_that_vehicle_does_not_know_is_not_covered() {
    let vehicle =
        FakeVehicle::start(|_| Reply::json(404, &json!({ "code": "vehicle_not_found" }))).await;
    let desk = Desk::with(vehicle, &CACHED).await;
    let (id, tag) = desk.draft("GHI789").await;
    assert_eq!(desk.0.vehicle.calls(), 0, "a draft asks nobody");
    let refused = desk.go(id, &tag, "active").await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert_eq!(refused.problem()["code"], "vehicle_unknown");
    // That there is none is kept, and does not count.
    desk.0.vehicle.script(Reply::healthy);
    let active = desk.go(id, &tag, "active").await;
    assert_eq!(active.status, 200, "{}", active.text());
}

#[tokio::test]
async fn what_is_kept_counts_only_while_it_is_fresh() {
    let desk = Desk::with(FakeVehicle::healthy().await, &CACHED).await;
    desk.0.with_cars("197001011111", &["GHI789"]).await;
    desk.0
        .database
        .execute("delete from insurance.covers where car = 'GHI789'")
        .await;
    let (id, tag) = desk.draft("GHI789").await;
    desk.0.vehicle.script(|_| Reply::status(500));
    pause();
    advance(Duration::from_hours(1)).await;
    resume();
    let stale = desk.go(id, &tag, "active").await;
    assert_eq!(stale.status, 503, "{}", stale.text());
    assert_eq!(stale.problem()["code"], "vehicle_unavailable");
    assert!(stale.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(desk.events(id).await.len(), 1);
}

#[tokio::test]
async fn a_fresh_answer_is_enough() {
    let desk = Desk::with(FakeVehicle::healthy().await, &CACHED).await;
    let person = "197001011111";
    desk.0.with_cars(person, &["GHI789"]).await;
    desk.0
        .database
        .execute("delete from insurance.covers where car = 'GHI789'")
        .await;
    let calls = desk.0.vehicle.calls();
    desk.0.vehicle.script(|_| Reply::status(500));
    desk.activate("GHI789").await;
    assert_eq!(desk.0.vehicle.calls(), calls);
}

#[tokio::test]
async fn while_vehicle_may_not_be_asked_nothing_is_activated() {
    let off = [("FEATURE_TOGGLES__ENABLE_VEHICLE_ENRICHMENT", "false")];
    let desk = Desk::with(FakeVehicle::healthy().await, &off).await;
    let (id, tag) = desk.draft("GHI789").await;
    let refused = desk.go(id, &tag, "active").await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("retry-after")),
        (503, "30")
    );
    assert_eq!(desk.0.vehicle.calls(), 0);

    let operator = [
        ("API_KEYS__OPERATOR__KEY", "operator-key-0123456789"),
        ("API_KEYS__OPERATOR__SCOPES", "operations"),
    ];
    let desk = Desk::with(FakeVehicle::healthy().await, &operator).await;
    let (id, tag) = desk.draft("GHI789").await;
    let order = json!({ "mode": "isolated", "reason": "maintenance", "owner": "on-call",
                        "expiresInSeconds": 600 });
    let headers = [("x-api-key", "operator-key-0123456789")];
    let path = "/api/v1/operations/vehicle-guard";
    let isolated = desk
        .ask(http::Method::PUT, path, &headers, Some(&order))
        .await;
    assert_eq!(isolated.status, 200, "{}", isolated.text());
    let refused = desk.go(id, &tag, "active").await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("retry-after")),
        (503, "30")
    );
    assert_eq!(desk.0.vehicle.calls(), 0);
}

#[tokio::test]
async fn a_change_to_another_car_asks_for_it_and_a_policy_without_one_for_none() {
    let desk = Desk::open().await;
    let (id, tag) = desk.activate("GHI789").await;
    let calls = desk.0.vehicle.calls();
    desk.0
        .vehicle
        .script(|_| Reply::json(404, &json!({ "code": "vehicle_not_found" })));
    let today = super::desk::day(0);
    let change = json!({ "effectiveOn": today, "carRegistrationNumber": "NEW123" });
    let refused = desk.change(id, &tag, &change).await;
    assert_eq!(refused.problem()["code"], "vehicle_unknown");
    assert_eq!(desk.0.vehicle.calls(), calls + 1);
    let pet = json!({ "product": "pet", "carRegistrationNumber": null });
    let drafted = desk.draft_with(pet).await;
    let id = drafted.json()["insuranceId"].as_i64().unwrap();
    let active = desk.go(id, drafted.header("etag"), "active").await;
    assert_eq!(active.status, 200, "{}", active.text());
    assert_eq!(desk.0.vehicle.calls(), calls + 1);
}
