//! Never two covers at a time.

use futures_util::future::join_all;
use serde_json::json;
use test_support::FakeVehicle;

use super::{Desk, desk::day};

/// With the cars in the cache, so that nothing but the database decides.
#[tokio::test]
async fn of_many_activations_at_once_each_car_gets_one_cover() {
    const CARS: usize = 20;
    let settings = [
        ("DATABASE__MAX_CONNECTIONS", "16"),
        ("VEHICLE_CLIENT__CACHE__ENABLED", "true"),
        ("LIMITS__MAX_REQUESTS_IN_PROGRESS", "2000"),
        ("SERVER__REQUEST_DEADLINE", "90s"),
    ];
    let desk = Desk::with(FakeVehicle::healthy().await, &settings).await;
    let cars: Vec<_> = (0..CARS).map(|car| format!("RAC{car:03}")).collect();
    let mut drafts = Vec::new();
    for car in &cars {
        for _ in 0..16 {
            drafts.push(desk.draft(car).await);
        }
    }
    // One of each car at a time, so that the sixteen of one car run together.
    let answers = join_all(drafts.iter().map(|(id, tag)| desk.go(*id, tag, "active"))).await;
    let mut active = 0;
    for answer in &answers {
        match answer.status.as_u16() {
            200 => active += 1,
            409 => {
                let problem = answer.problem();
                let code = problem["code"].as_str().unwrap();
                assert!(["cover_overlaps", "busy"].contains(&code), "{problem}");
                if code == "cover_overlaps" {
                    let named = problem["conflictingInsuranceId"].as_i64().unwrap();
                    assert!(drafts.iter().any(|(id, _)| *id == named), "{problem}");
                    assert_eq!(problem["validFrom"], day(0));
                }
            }
            _ => panic!("{}", answer.text()),
        }
    }
    assert_eq!(active, CARS);
    let covers = "select count(*) from insurance.covers where car like 'RAC%'";
    assert_eq!(desk.number(covers).await, i64::try_from(CARS).unwrap());
    let events =
        "select count(*) from insurance_events.events where event_type = 'policy.activated.v1'";
    assert_eq!(desk.number(events).await, i64::try_from(CARS).unwrap());
}

#[tokio::test]
async fn a_conflict_is_told_to_those_who_may_read() {
    let writer = [
        ("API_KEYS__WRITER__KEY", "write-key-0123456789"),
        ("API_KEYS__WRITER__SCOPES", "write"),
    ];
    let desk = Desk::with(FakeVehicle::healthy().await, &writer).await;
    let (first, _) = desk.activate("GHI789").await;
    let (second, tag) = desk.draft("GHI789").await;
    let refused = desk.go(second, &tag, "active").await;
    assert_eq!(refused.status, 409);
    let problem = refused.problem();
    assert_eq!(problem["code"], "cover_overlaps");
    assert_eq!(problem["conflictingInsuranceId"], first);
    assert_eq!(problem["validFrom"], day(0));
    assert!(problem["validUntil"].is_null());
    let path = format!("/api/v1/policies/{second}/transitions");
    let key = super::desk::key();
    let headers = [
        ("x-api-key", "write-key-0123456789"),
        ("if-match", &*tag),
        ("idempotency-key", &*key),
    ];
    let body = json!({ "to": "active", "reason": "other" });
    let refused = desk
        .ask(http::Method::POST, &path, &headers, Some(&body))
        .await;
    assert_eq!(refused.problem()["validFrom"], serde_json::Value::Null);
    assert!(refused.problem().get("validFrom").is_none());
    // A suspended policy keeps its place.
    let tag = desk.policy(first).await.header("etag").to_owned();
    desk.go(first, &tag, "suspended").await;
    let tag = desk.policy(second).await.header("etag").to_owned();
    assert_eq!(desk.go(second, &tag, "active").await.status, 409);
}

#[tokio::test]
async fn a_conflict_that_cannot_be_named_is_a_conflict() {
    let desk = Desk::open().await;
    let (first, _) = desk.activate("GHI789").await;
    // A day that no answer can tell.
    desk.0
        .database
        .execute(&format!(
            "update insurance.covers set cover = daterange('-infinity', null)
             where insurance_id = {first}"
        ))
        .await;
    let (second, tag) = desk.draft("GHI789").await;
    let refused = desk.go(second, &tag, "active").await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    let problem = refused.problem();
    assert_eq!(problem["code"], "cover_overlaps");
    assert!(problem.get("conflictingInsuranceId").is_none());
}
