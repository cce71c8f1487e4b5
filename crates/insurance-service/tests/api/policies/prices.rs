//! Prices that are set.

use std::sync::Arc;

use futures_util::future::join_all;
use http::Method;
use serde_json::json;
use test_support::{FakeVehicle, Gate, Reply};
use tokio::sync::Notify;

use super::{Desk, desk::day};

const EVENTS: &str =
    "select count(*) from insurance_events.events where event_type = 'price.set.v1'";
const PRICES: &str = "select count(*) from insurance.prices";

#[tokio::test]
async fn a_price_is_set_once_and_told() {
    let desk = Desk::open().await;
    let (prices, events) = (desk.number(PRICES).await, desk.number(EVENTS).await);
    let set = desk.set_price("car", &day(0), 35.5).await;
    assert_eq!(set.status, 201, "{}", set.text());
    assert!(
        set.text().contains(r#""monthlyCost":35.50"#),
        "{}",
        set.text()
    );
    let told = format!(
        "select count(*) from insurance_events.events
         where event_id = '{}' and aggregate_type = 'price' and aggregate_id = 'car'
             and version = 2 and event_type = 'price.set.v1' and actor = 'key/admin'
             and data::jsonb = '{{\"product\":\"car\",\"validFrom\":\"{}\",\"monthlyCost\":35.50}}'",
        set.header("event-id"),
        day(0)
    );
    assert_eq!(desk.number(&told).await, 1);

    let again = desk.set_price("car", &day(0), 35.5).await;
    assert_eq!((again.status.as_u16(), again.text()), (200, set.text()));
    assert_eq!(again.header("event-id"), "");
    let other = desk.set_price("car", &day(0), 36.0).await;
    assert_eq!(other.status, 409);
    assert_eq!(other.problem()["code"], "price_is_set");
    assert_eq!(desk.number(PRICES).await, prices + 1);
    assert_eq!(desk.number(EVENTS).await, events + 1);
}

#[tokio::test]
async fn no_price_begins_before_today() {
    let desk = Desk::open().await;
    let prices = desk.number(PRICES).await;
    let past = desk.set_price("pet", &day(-1), 11.0).await;
    assert_eq!(past.status, 422);
    let problem = past.problem();
    assert_eq!(problem["code"], "price_in_the_past");
    assert_eq!(problem["errors"][0]["parameter"], "validFrom");
    // One that was set in time may be sent again.
    let again = desk.set_price("pet", "2020-01-01", 10.0).await;
    assert_eq!(again.status, 200, "{}", again.text());
    let other = desk.set_price("pet", "2020-01-01", 11.0).await;
    assert_eq!(other.problem()["code"], "price_is_set");
    assert_eq!(desk.number(PRICES).await, prices);
}

#[tokio::test]
async fn a_policy_keeps_the_cost_that_it_was_activated_with() {
    let desk = Desk::open().await;
    let (id, _) = desk.activate("GHI789").await;
    assert_eq!(desk.set_price("car", &day(0), 99.0).await.status, 201);
    assert_eq!(desk.policy(id).await.json()["monthlyCost"], 30.0);
    let drafted = desk
        .draft_with(json!({ "carRegistrationNumber": "JKL012" }))
        .await;
    assert_eq!(drafted.json()["monthlyCost"], 99.0);
}

#[tokio::test]
async fn a_price_that_is_set_while_vehicle_is_asked_is_the_one_that_counts() {
    let (asked, answered) = (Arc::new(Notify::new()), Gate::closed());
    let (asks, answer) = (asked.clone(), answered.clone());
    let vehicle = FakeVehicle::start(move |request| {
        asks.notify_one();
        Reply::Held(answer.clone(), Box::new(Reply::healthy(request)))
    })
    .await;
    let desk = Desk::with(vehicle, &[]).await;
    let drafted = desk.draft_with(json!({})).await;
    let id = drafted.json()["insuranceId"].as_i64().unwrap();
    let set = async {
        asked.notified().await;
        let set = desk.set_price("car", &day(0), 99.0).await;
        answered.open();
        set
    };
    let (active, set) = tokio::join!(desk.go(id, drafted.header("etag"), "active"), set);
    assert_eq!(set.status, 201, "{}", set.text());
    assert_eq!(active.status, 200, "{}", active.text());
    assert_eq!(active.json()["monthlyCost"], 99.0);
}

#[tokio::test]
async fn a_price_without_its_event_is_none() {
    let desk = Desk::open().await;
    let prices = desk.number(PRICES).await;
    let mut lock = desk.0.database.lock("insurance_events.events").await;
    let busy = desk.set_price("car", &day(1), 31.0).await;
    assert_eq!(busy.status, 409, "{}", busy.text());
    assert_eq!(busy.problem()["code"], "busy");
    assert_eq!(busy.header("retry-after"), "1");
    lock.release().await;
    assert_eq!(desk.number(PRICES).await, prices);
}

#[tokio::test]
async fn of_many_at_once_each_has_a_version_of_its_own() {
    let many = [("DATABASE__MAX_CONNECTIONS", "8")];
    let desk = Desk::with(FakeVehicle::healthy().await, &many).await;
    let days: Vec<_> = (0..16).map(day).collect();
    let answers = join_all(days.iter().map(|day| desk.set_price("car", day, 40.0))).await;
    let mut set = 0;
    for answer in &answers {
        match answer.status.as_u16() {
            201 => set += 1,
            _ => assert_eq!(answer.problem()["code"], "busy", "{}", answer.text()),
        }
    }
    assert!(set > 0);
    let versions = "select count(*) from insurance.prices where product = 'car'";
    assert_eq!(desk.number(versions).await, set + 1);
    let newest = "select max(version) from insurance.prices where product = 'car'";
    assert_eq!(desk.number(newest).await, set + 1);
    let told = "select count(*) from insurance.prices join insurance_events.events
        on aggregate_type = 'price' and aggregate_id = product and events.version = prices.version
        where product = 'car'";
    assert_eq!(desk.number(told).await, set + 1);
}

#[tokio::test]
async fn a_price_that_cannot_be_is_refused() {
    let desk = Desk::open().await;
    let today = day(0);
    for (path, body, code) in [
        (
            format!("boat/{today}"),
            json!({ "monthlyCost": 1 }),
            "invalid_product",
        ),
        (
            "car/tomorrow".to_owned(),
            json!({ "monthlyCost": 1 }),
            "invalid_valid_from",
        ),
        (
            format!("car/{today}"),
            json!({ "monthlyCost": -1 }),
            "invalid_body",
        ),
        (
            format!("car/{today}"),
            json!({ "monthlyCost": 1.001 }),
            "invalid_body",
        ),
        (
            format!("car/{today}"),
            json!({ "monthlyCost": 1, "more": 1 }),
            "invalid_body",
        ),
        (
            format!("car/{today}"),
            json!({ "monthlyCost": 10_000_000_000_u64 }),
            "invalid_monthly_cost",
        ),
    ] {
        let path = format!("/api/v1/prices/{path}");
        let refused = desk.administer(Method::PUT, &path, &[], &body).await;
        assert_eq!(refused.status, 400, "{path}: {}", refused.text());
        assert_eq!(refused.problem()["code"], code, "{path}");
    }
    let most = desk.set_price("car", &today, 9_999_999_999.99).await;
    assert_eq!(most.status, 201, "{}", most.text());
    desk.0
        .database
        .execute(
            "alter table insurance.insurances drop constraint insurances_product_fkey;
             delete from insurance.prices where product = 'pet';
             delete from insurance.products where product = 'pet'",
        )
        .await;
    let unknown = desk.set_price("pet", &today, 10.0).await;
    assert_eq!(unknown.status, 422, "{}", unknown.text());
    assert_eq!(unknown.problem()["code"], "product_unknown");
}
