//! Never a policy in force on a car that nobody has seen.

use std::time::Duration;

use serde_json::json;
use test_support::{FakeVehicle, Gate, Reply};
use tokio::time::{advance, pause, resume};

use super::{
    Desk,
    desk::{DESK, day},
};
use crate::api::replica::copying;

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
async fn the_copy_of_the_register_does_not_count() {
    let copy = [
        ("REPLICA__ENABLED", "true"),
        ("ENRICHMENT__STRATEGY", "replica"),
    ];
    let settings = [&DESK[..], &copy].concat();
    let vehicle = FakeVehicle::start(|_| Reply::status(500)).await;
    let desk = Desk(copying(vehicle, &settings, "0 s", &["GHI789"]).await);
    let (id, tag) = desk.draft("GHI789").await;
    let refused = desk.go(id, &tag, "active").await;
    assert_eq!(refused.problem()["code"], "vehicle_unavailable");
    desk.0.vehicle.script(Reply::healthy);
    let active = desk.go(id, &tag, "active").await;
    assert_eq!(active.status, 200, "{}", active.text());
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
    let today = day(0);
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

/// With an `If-Match` that names the version to come as well.
#[tokio::test]
async fn the_car_that_was_asked_for_is_the_one_that_is_covered() {
    let desk = Desk::open().await;
    let (id, tag) = desk.draft("GHI789").await;
    let both = format!("{tag}, {}", tag.replace("-1-draft-", "-2-draft-"));
    let gate = Gate::closed();
    let held = gate.clone();
    desk.0
        .vehicle
        .script(move |request| Reply::healthy(request).held(&held));
    let asked = desk.0.vehicle.calls();
    let patch = async {
        desk.0.vehicle.reached(asked + 1).await;
        let (path, other) = (
            format!("/api/v1/policies/{id}"),
            json!({ "carRegistrationNumber": "NEW123" }),
        );
        let headers = [("if-match", &*tag)];
        let patched = desk
            .ask(http::Method::PATCH, &path, &headers, Some(&other))
            .await;
        gate.open();
        patched
    };
    let (refused, patched) = tokio::join!(desk.go(id, &both, "active"), patch);
    assert_eq!(patched.status, 200, "{}", patched.text());
    assert!(both.ends_with(patched.header("etag")), "{both}");
    assert_eq!(refused.status, 412, "{}", refused.text());
    assert_eq!(refused.header("etag"), patched.header("etag"));
    // The next try asks for the car that it is now.
    let active = desk.go(id, &both, "active").await;
    assert_eq!(active.status, 200, "{}", active.text());
    assert_eq!(desk.0.vehicle.calls(), asked + 2);
}

#[tokio::test]
async fn a_change_back_to_a_car_of_before_asks_for_it_once_more() {
    let desk = Desk::open().await;
    let (id, tag) = desk.activate("GHI789").await;
    let change = json!({ "effectiveOn": day(10), "carRegistrationNumber": "DEF999" });
    let changed = desk.change(id, &tag, &change).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let (tag, calls) = (changed.header("etag"), desk.0.vehicle.calls());
    desk.0
        .vehicle
        .script(|_| Reply::json(404, &json!({ "code": "vehicle_not_found" })));
    let back = json!({ "effectiveOn": day(20), "carRegistrationNumber": "GHI789" });
    let refused = desk.change(id, tag, &back).await;
    assert_eq!(refused.problem()["code"], "vehicle_unknown");
    assert_eq!(desk.0.vehicle.calls(), calls + 1);
    // The car of that day is asked for by nobody.
    let longer = json!({ "effectiveOn": day(20), "validUntil": day(30) });
    let changed = desk.change(id, tag, &longer).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(desk.0.vehicle.calls(), calls + 1);
}
