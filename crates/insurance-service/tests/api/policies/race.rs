//! Never two covers at a time.

use futures_util::{StreamExt, stream};
use serde_json::json;
use test_support::FakeVehicle;

use super::{Desk, desk::day};

/// Sixteen activations of each car, with the cars in the cache, so that nothing but the database
/// decides.
async fn race_for(cars: u32) {
    let settings = [
        ("DATABASE__MAX_CONNECTIONS", "16"),
        ("VEHICLE_CLIENT__CACHE__ENABLED", "true"),
        ("LIMITS__MAX_REQUESTS_IN_PROGRESS", "2000"),
        ("SERVER__REQUEST_DEADLINE", "90s"),
    ];
    let desk = Desk::with(FakeVehicle::healthy().await, &settings).await;
    let (first, _) = desk.draft("RAC0000").await;
    let drafts = format!(
        "insert into insurance.insurances
             (personal_identity_number, product, status, valid_from, monthly_cost, car_registration_number)
         select '197001019999', 'car', 'draft', '{}', 30, 'RAC' || lpad(car::text, 4, '0')
         from generate_series(1, {cars}) as car, generate_series(1, 16) order by car",
        day(0)
    );
    desk.0.database.execute(&drafts).await;
    // As the tag names the version, the status and the day, they have the same one.
    let (last, tag) = (first + i64::from(cars) * 16, desk.policy(first + 1).await);
    let tag = tag.header("etag");
    let activations = stream::iter(first + 1..=last).map(|id| desk.go(id, tag, "active"));
    // Twenty cars at a time, so that the sixteen of one car run together.
    let answers: Vec<_> = activations.buffered(320).collect().await;
    for answer in &answers {
        match answer.status.as_u16() {
            200 => {}
            409 => {
                let problem = answer.problem();
                let code = problem["code"].as_str().unwrap();
                assert!(["cover_overlaps", "busy"].contains(&code), "{problem}");
                if code == "cover_overlaps" {
                    let named = problem["conflictingInsuranceId"].as_i64().unwrap();
                    assert!((first + 1..=last).contains(&named), "{problem}");
                    assert_eq!(problem["validFrom"], day(0));
                }
            }
            _ => panic!("{}", answer.text()),
        }
    }
    let active = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(u32::try_from(active), Ok(cars));
    for covers in [
        "select count(*) from insurance.covers where car like 'RAC%'",
        "select count(distinct car) from insurance.covers where car like 'RAC%'",
        "select count(*) from insurance_events.events where event_type = 'policy.activated.v1'",
    ] {
        assert_eq!(desk.number(covers).await, i64::from(cars));
    }
    let deadlocks = "select deadlocks from pg_stat_database where datname = current_database()";
    assert_eq!(desk.number(deadlocks).await, 0);
}

#[tokio::test]
async fn of_many_activations_at_once_each_car_gets_one_cover() {
    race_for(20).await;
}

#[tokio::test]
#[ignore = "takes half a minute; `.ci/run simulation` runs it"]
async fn of_sixteen_thousand_activations_each_of_a_thousand_cars_gets_one_cover() {
    race_for(1_000).await;
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
