//! Never two covers at a time.

use std::pin::pin;

use futures_util::{StreamExt, stream};
use http::Method;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use test_support::FakeVehicle;

use super::{
    Desk,
    desk::{DESK, day, key},
};

/// Sixteen activations of each car in two processes, with the cars in their caches, so that nothing
/// but the database decides.
async fn race_for(cars: u32) {
    let settings = [
        ("DATABASE__MAX_CONNECTIONS", "8"),
        ("VEHICLE_CLIENT__CACHE__ENABLED", "true"),
        ("LIMITS__MAX_REQUESTS_IN_PROGRESS", "2000"),
        ("SERVER__REQUEST_DEADLINE", "90s"),
    ];
    let desk = Desk::with(FakeVehicle::healthy().await, &settings).await;
    let other = desk.0.beside(&[&DESK[..], &settings].concat());
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
    let activate = async |id: i64| {
        let process = [&desk.0.api, &other][usize::from(id % 2 == 0)];
        let path = format!("/api/v1/policies/{id}/transitions");
        let key = key();
        let headers = [("idempotency-key", &*key), ("if-match", tag)];
        let body = json!({ "to": "active", "reason": "other" });
        Desk::ask_of(process, Method::POST, &path, &headers, Some(&body)).await
    };
    let activations = stream::iter(first + 1..=last).map(activate);
    // Twenty cars at a time, so that the sixteen of one car run together.
    let answers: Vec<_> = activations.buffered(320).collect().await;
    for answer in &answers {
        match answer.status.as_u16() {
            200 => {}
            409 => {
                let problem = answer.problem();
                let code = problem["code"].as_str().unwrap();
                assert!(["cover_overlaps", "busy"].contains(&code), "{problem}");
                // It is not named where the database has no time for it.
                if let Some(named) = problem["conflictingInsuranceId"].as_i64() {
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

/// A session that holds the lock on a car, as a transaction that covers it does.
async fn hold(desk: &Desk, car: &str) -> PgConnection {
    let mut holder = desk.0.database.connect().await;
    let lock = "select pg_advisory_lock(hashtextextended('car/' || $1, 5082))";
    let lock = sqlx::query(lock).bind(car);
    lock.execute(&mut holder).await.unwrap();
    holder
}

/// Without the lock the constraint alone decides, and two insertions wait for each other until the
/// server ends one of them for a deadlock, a second later.
#[tokio::test]
async fn whoever_covers_a_car_waits_for_its_lock_and_not_for_long() {
    let desk = Desk::open().await;
    let (id, tag) = desk.draft("GHI789").await;
    let holder = hold(&desk, "GHI789").await;
    let busy = desk.go(id, &tag, "active").await;
    assert_eq!(busy.status, 409, "{}", busy.text());
    assert_eq!(busy.problem()["code"], "busy");
    assert_eq!(busy.header("retry-after"), "1");
    holder.close().await.unwrap();
    assert_eq!(desk.go(id, &tag, "active").await.status, 200);
}

#[tokio::test]
async fn a_policy_that_somebody_changes_is_waited_for_and_not_for_long() {
    let desk = Desk::open().await;
    let (id, tag) = desk.activate("GHI789").await;
    let mut holder = desk.0.database.connect().await;
    let lock =
        format!("begin; select from insurance.insurances where insurance_id = {id} for update");
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock))
        .execute(&mut holder)
        .await
        .unwrap();
    // With a car and without one.
    let other = json!({ "effectiveOn": day(1), "carRegistrationNumber": "CCC111" });
    for busy in [
        desk.go(id, &tag, "suspended").await,
        desk.change(id, &tag, &other).await,
    ] {
        assert_eq!(busy.status, 409, "{}", busy.text());
        assert_eq!(busy.problem()["code"], "busy");
        assert_eq!(busy.header("retry-after"), "1");
    }
    holder.close().await.unwrap();
    assert_eq!(desk.go(id, &tag, "suspended").await.status, 200);
}

/// Each wait is within its bound, and both together are longer than any statement may take.
#[tokio::test]
async fn a_change_that_waits_for_both_of_its_cars_is_busy() {
    let short = [("DATABASE__STATEMENT_TIMEOUT", "300ms")];
    let desk = Desk::with(FakeVehicle::healthy().await, &short).await;
    let (id, tag) = desk.activate("GHI789").await;
    let change = json!({ "effectiveOn": day(1), "carRegistrationNumber": "CCC111" });
    let second = hold(&desk, "GHI789").await;
    let waited = "select count(*) from pg_locks join pg_database on pg_database.oid = database
        where not granted and locktype = 'advisory' and datname = current_database()
            and waitstart < clock_timestamp() - interval '100 ms'";
    let busy = loop {
        // In the order in which they are waited for.
        let first = hold(&desk, "CCC111").await;
        let mut answer = pin!(desk.change(id, &tag, &change));
        let early = tokio::select! {
            answer = &mut answer => Some(answer),
            () = async { while desk.number(waited).await == 0 {} } => None,
        };
        first.close().await.unwrap();
        match early {
            // It gave up on the first before it was seen.
            Some(busy) => assert_eq!(busy.problem()["code"], "busy", "{}", busy.text()),
            None => break answer.await,
        }
    };
    assert_eq!(busy.status, 409, "{}", busy.text());
    assert_eq!(busy.problem()["code"], "busy");
    second.close().await.unwrap();
    let changed = desk.change(id, &tag, &change).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
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
