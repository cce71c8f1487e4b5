//! What becomes of a policy that is changed.

use http::Method;
use serde_json::{Value, json};

use super::{Desk, desk::day};
use crate::api::privacy::assert_free_of_persons;

#[tokio::test]
async fn a_policy_goes_from_its_draft_to_its_end_with_an_event_for_each_step() {
    let desk = Desk::open().await;
    let drafted = desk
        .draft_with(json!({ "carRegistrationNumber": "ghi 789" }))
        .await;
    assert_eq!(drafted.status, 201, "{}", drafted.text());
    let policy = drafted.json();
    let id = policy["insuranceId"].as_i64().unwrap();
    let expected = json!({
        "insuranceId": id, "product": "car", "status": "draft", "validFrom": day(0),
        "validUntil": null, "monthlyCost": 30.0, "currency": "SEK",
        "carRegistrationNumber": "GHI789", "periods": [], "coverOverlaps": false, "version": 1,
        "allowed": ["active", "cancelled"],
    });
    assert_eq!(policy, expected);
    assert_eq!(drafted.header("location"), format!("/api/v1/policies/{id}"));
    assert_eq!(desk.0.look_up("197001019999").await.status, 404);

    let mut tag = drafted.header("etag").to_owned();
    for (to, version) in [
        ("active", 2),
        ("suspended", 3),
        ("active", 4),
        ("cancelled", 5),
    ] {
        let moved = desk.go(id, &tag, to).await;
        assert_eq!(moved.status, 200, "{to}: {}", moved.text());
        assert_eq!(moved.json()["status"], to);
        assert_eq!(moved.json()["version"], version);
        assert_eq!(moved.header("cache-control"), "no-store");
        let event = desk
            .number(&format!(
                "select version from insurance_events.events where event_id = '{}'",
                moved.header("event-id")
            ))
            .await;
        assert_eq!(event, version);
        let profile = desk.0.look_up("197001019999").await;
        if to == "cancelled" {
            assert_eq!(profile.status, 404);
        } else {
            assert_eq!(profile.json()["insurances"][0]["status"], to);
        }
        tag = moved.header("etag").to_owned();
        assert_eq!(desk.policy(id).await.header("etag"), tag);
    }
    let expected = [
        "1 policy.drafted.v1 key/desk",
        "2 policy.activated.v1 key/desk",
        "3 policy.suspended.v1 key/desk",
        "4 policy.resumed.v1 key/desk",
        "5 policy.cancelled.v1 key/desk",
    ];
    assert_eq!(desk.events(id).await, expected);
}

#[tokio::test]
async fn no_event_names_a_person() {
    let desk = Desk::open().await;
    let drafted = desk
        .draft_with(json!({ "personalIdentityNumber": "19900101-1234" }))
        .await;
    assert_eq!(drafted.status, 201, "{}", drafted.text());
    assert_free_of_persons(&drafted.text(), "answer");
    let mut connection = desk.0.database.connect().await;
    let log: Vec<String> =
        sqlx::query_scalar("select row_to_json(e)::text from insurance_events.events e")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_eq!(log.len(), 5 + 3 + 1);
    assert_free_of_persons(&log.join("\n"), "log");
    let kept: Vec<String> =
        sqlx::query_scalar("select row_to_json(k)::text from insurance.idempotency_keys k")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_free_of_persons(&kept.join("\n"), "kept answers");
}

#[tokio::test]
async fn a_draft_is_patched_member_by_member() {
    let desk = Desk::open().await;
    let (id, tag) = desk.draft("GHI789").await;
    let patch = async |tag: &str, body: Value| {
        let path = format!("/api/v1/policies/{id}");
        let headers = [
            ("if-match", tag),
            ("content-type", "application/merge-patch+json"),
        ];
        desk.ask(Method::PATCH, &path, &headers, Some(&body)).await
    };
    let patched = patch(&tag, json!({ "validUntil": day(9) })).await;
    assert_eq!(patched.status, 200, "{}", patched.text());
    assert_eq!(patched.json()["validUntil"], day(9));
    assert_eq!(patched.json()["carRegistrationNumber"], "GHI789");
    let tag = patched.header("etag").to_owned();
    let pet = json!({ "product": "pet", "carRegistrationNumber": null, "validUntil": null });
    let patched = patch(&tag, pet).await;
    assert_eq!(patched.status, 200, "{}", patched.text());
    let policy = patched.json();
    assert_eq!(
        (&policy["product"], &policy["monthlyCost"]),
        (&json!("pet"), &json!(10.0))
    );
    assert_eq!(
        (&policy["carRegistrationNumber"], &policy["validUntil"]),
        (&Value::Null, &Value::Null)
    );
    let person = patch(
        patched.header("etag"),
        json!({ "personalIdentityNumber": "199001011234" }),
    )
    .await;
    assert_eq!(person.status, 400);
    for always_there in ["product", "validFrom"] {
        let refused = patch(patched.header("etag"), json!({ always_there: null })).await;
        assert_eq!(refused.status, 400, "{always_there}");
    }
    let active = desk.go(id, patched.header("etag"), "active").await;
    assert_eq!(active.status, 200, "{}", active.text());
    let late = patch(active.header("etag"), json!({ "validUntil": day(9) })).await;
    assert_eq!(
        (late.status.as_u16(), &late.problem()["code"]),
        (409, &json!("not_a_draft"))
    );
}

#[tokio::test]
async fn a_change_holds_from_its_day_and_a_cancellation_until_its_day() {
    let desk = Desk::open().await;
    let (id, tag) = desk.activate("GHI789").await;
    let without = json!({
        "effectiveOn": day(10), "carRegistrationNumber": null, "validUntil": day(20),
    });
    assert_eq!(desk.change(id, &tag, &without).await.status, 400);
    let change = json!({ "effectiveOn": day(10), "carRegistrationNumber": "DEF999" });
    let changed = desk.change(id, &tag, &change).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let policy = changed.json();
    assert_eq!(policy["carRegistrationNumber"], "GHI789");
    let periods = json!([
        { "from": day(0), "until": day(10), "carRegistrationNumber": "GHI789", "monthlyCost": 30.0 },
        { "from": day(10), "until": null, "carRegistrationNumber": "DEF999", "monthlyCost": 30.0 },
    ]);
    assert_eq!(policy["periods"], periods);
    let path = format!("/api/v1/policies/{id}/transitions");
    let cancel = json!({ "to": "cancelled", "reason": "vehicle_sold", "effectiveOn": day(5) });
    let cancelled = desk.send(&path, changed.header("etag"), &cancel).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text());
    let policy = cancelled.json();
    assert_eq!(
        (&policy["status"], &policy["validUntil"]),
        (&json!("active"), &json!(day(5)))
    );
    assert_eq!(policy["allowed"], json!(["suspended"]));
    let profile = desk.0.look_up("197001019999").await.json();
    assert_eq!(profile["insurances"][0]["validUntil"], day(5));
    let again = desk.send(&path, cancelled.header("etag"), &cancel).await;
    assert_eq!(again.problem()["code"], "transition_not_allowed");
    // The days after it are free for somebody else.
    let later = desk.draft_with(json!({ "validFrom": day(5) })).await;
    let id = later.json()["insuranceId"].as_i64().unwrap();
    let active = desk.go(id, later.header("etag"), "active").await;
    assert_eq!(active.status, 200, "{}", active.text());
}

#[tokio::test]
async fn an_answer_that_the_caller_has_is_not_sent_again() {
    let desk = Desk::open().await;
    let (id, tag) = desk.draft("GHI789").await;
    let path = format!("/api/v1/policies/{id}");
    let known = async |tag: &str| {
        let headers = [("if-none-match", tag)];
        desk.ask(Method::GET, &path, &headers, None).await
    };
    let same = known(&tag).await;
    assert_eq!((same.status.as_u16(), same.body.len()), (304, 0));
    assert_eq!(same.header("etag"), tag);
    let active = desk.go(id, &tag, "active").await;
    assert_eq!(known(&tag).await.status, 200);
    // A day that ends the policy makes another answer of it, without a new version.
    let tag = active.header("etag").to_owned();
    assert_eq!(known(&tag).await.status, 304);
    let sql = format!("set session_replication_role = replica;
        alter table insurance.insurances disable trigger demand_an_event;
        update insurance.insurances set valid_from = current_date - 9, valid_until = current_date - 5 where insurance_id = {id};
        alter table insurance.insurances enable always trigger demand_an_event");
    desk.0.database.execute(&sql).await;
    let ended = known(&tag).await;
    assert_eq!(
        (ended.status.as_u16(), &ended.json()["status"]),
        (200, &json!("expired"))
    );
    let late = desk.go(id, &tag, "suspended").await;
    assert_eq!(late.problem()["code"], "version_conflict");
}

#[tokio::test]
async fn the_profile_has_a_policy_from_its_first_day_to_the_day_before_its_end() {
    let desk = Desk::open().await;
    for (from, until, status) in [
        (1, 9, 404),
        (0, 9, 200),
        (-9, 1, 200),
        (-9, 0, 404),
        (0, 0, 404),
    ] {
        let load = format!(
            "insert into insurance.insurances
                 (personal_identity_number, product, monthly_cost, valid_from, valid_until)
             values ('197001019999', 'pet', 10, '{}', '{}')",
            day(from),
            day(until)
        );
        desk.0.database.execute(&load).await;
        let found = desk.0.look_up("197001019999").await;
        assert_eq!(found.status, status, "{from} to {until}");
        let clear = "delete from insurance.covers where insurance_id > 1000004";
        desk.0.database.execute(clear).await;
    }
}
