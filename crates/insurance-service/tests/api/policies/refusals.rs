//! What is refused, and what is told.

use http::Method;
use serde_json::json;

use super::{
    Desk,
    desk::{day, draft, key},
};

#[tokio::test]
async fn a_change_names_the_version_that_its_caller_has_seen() {
    let desk = Desk::open().await;
    let (id, tag) = desk.draft("GHI789").await;
    for (path, body) in [
        (
            "transitions",
            json!({ "to": "cancelled", "reason": "other" }),
        ),
        (
            "changes",
            json!({ "effectiveOn": day(1), "validUntil": day(2) }),
        ),
    ] {
        let path = format!("/api/v1/policies/{id}/{path}");
        for (sent, status, code) in [
            ("", 428, "precondition_required"),
            ("*", 400, "wildcard_not_allowed"),
            ("\"0000-9-draft-2020-01-01\"", 412, "version_conflict"),
            ("nonsense", 412, "version_conflict"),
        ] {
            let answer = desk.send(&path, sent, &body).await;
            assert_eq!(answer.status, status, "{sent}: {}", answer.text());
            assert_eq!(answer.problem()["code"], code, "{sent}");
            if status == 412 {
                assert_eq!(answer.header("etag"), tag);
                assert_eq!(answer.problem()["currentETag"], tag);
            }
        }
    }
    let path = format!("/api/v1/policies/{id}");
    let body = json!({ "validUntil": day(9) });
    let bare = desk.ask(Method::PATCH, &path, &[], Some(&body)).await;
    assert_eq!(bare.status, 428);
    assert_eq!(desk.events(id).await.len(), 1);
    assert_eq!(desk.policy(999).await.problem()["code"], "policy_not_found");
    let missing = desk.go(999, &tag, "active").await;
    assert_eq!(missing.problem()["code"], "policy_not_found");
}

#[tokio::test]
async fn a_draft_that_breaks_a_rule_leaves_nothing() {
    let desk = Desk::open().await;
    let policies = "select count(*) from insurance.insurances";
    let before = desk.number(policies).await;
    for (changes, code, pointer) in [
        (json!({ "product": "boat" }), "product_unknown", "/product"),
        (
            json!({ "carRegistrationNumber": null }),
            "car_required",
            "/carRegistrationNumber",
        ),
        (
            json!({ "product": "pet" }),
            "car_not_allowed",
            "/carRegistrationNumber",
        ),
        (
            json!({ "validUntil": day(0) }),
            "dates_reversed",
            "/validUntil",
        ),
        (
            json!({ "validFrom": "2019-12-31" }),
            "no_price",
            "/validFrom",
        ),
    ] {
        let answer = desk.draft_with(changes.clone()).await;
        assert_eq!(answer.status, 422, "{changes}: {}", answer.text());
        let problem = answer.problem();
        assert_eq!(problem["code"], code, "{changes}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{changes}");
    }
    for changes in [
        json!({ "personalIdentityNumber": "1" }),
        json!({ "carRegistrationNumber": "?" }),
        json!({ "validFrom": "2026-02-30" }),
        json!({ "more": 1 }),
    ] {
        assert_eq!(
            desk.draft_with(changes.clone()).await.status,
            400,
            "{changes}"
        );
    }
    assert_eq!(desk.number(policies).await, before);
    let keys = "select count(*) from insurance.idempotency_keys";
    assert_eq!(desk.number(keys).await, 0, "a refusal is kept");
}

#[tokio::test]
async fn a_refused_transition_names_what_is_allowed() {
    let desk = Desk::open().await;
    let (id, tag) = desk.draft("GHI789").await;
    let refused = desk.go(id, &tag, "suspended").await;
    assert_eq!(refused.status, 409);
    let problem = refused.problem();
    assert_eq!(problem["code"], "transition_not_allowed");
    assert_eq!(
        (&problem["from"], &problem["to"]),
        (&json!("draft"), &json!("suspended"))
    );
    assert_eq!(problem["allowed"], json!(["active", "cancelled"]));

    let path = format!("/api/v1/policies/{id}/transitions");
    let early = json!({ "to": "active", "reason": "other", "effectiveOn": day(1) });
    let answer = desk.send(&path, &tag, &early).await;
    assert_eq!(answer.problem()["code"], "effective_on_not_allowed");
    let change = json!({ "effectiveOn": day(1), "validUntil": day(9) });
    let answer = desk.change(id, &tag, &change).await;
    assert_eq!(answer.problem()["code"], "policy_not_in_force");

    let (id, tag) = desk.activate("GHI789").await;
    for (change, code) in [
        (json!({ "effectiveOn": day(1) }), "nothing_to_change"),
        (
            json!({ "effectiveOn": day(-1), "validUntil": day(9) }),
            "effective_on_out_of_range",
        ),
        (
            json!({ "effectiveOn": day(9), "validUntil": day(9) }),
            "dates_reversed",
        ),
    ] {
        let answer = desk.change(id, &tag, &change).await;
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert_eq!(answer.problem()["code"], code);
    }
}

#[tokio::test]
async fn only_an_administrator_lets_a_cover_begin_in_the_past() {
    let administrator = [
        ("API_KEYS__BOTH__KEY", "both-key-0123456789"),
        ("API_KEYS__BOTH__SCOPES", "write,admin"),
    ];
    let vehicle = test_support::FakeVehicle::healthy().await;
    let desk = Desk::with(vehicle, &administrator).await;
    let drafted = desk.draft_with(json!({ "validFrom": day(-3) })).await;
    let id = drafted.json()["insuranceId"].as_i64().unwrap();
    let refused = desk.go(id, drafted.header("etag"), "active").await;
    assert_eq!(refused.status, 422);
    assert_eq!(refused.problem()["code"], "cover_in_the_past");
    let (path, key) = (format!("/api/v1/policies/{id}/transitions"), key());
    let headers = [
        ("x-api-key", "both-key-0123456789"),
        ("if-match", drafted.header("etag")),
        ("idempotency-key", &key),
    ];
    let body = json!({ "to": "active", "reason": "other" });
    let active = desk.ask(Method::POST, &path, &headers, Some(&body)).await;
    assert_eq!(active.status, 200, "{}", active.text());
}

#[tokio::test]
async fn the_scopes_of_a_key_are_not_each_other() {
    let desk = Desk::open().await;
    let keys = [("x-api-key", test_support::API_KEY)];
    let read = desk
        .ask(Method::GET, "/api/v1/policies/1000000", &keys, None)
        .await;
    assert_eq!(read.status, 403, "an alias opens a new route");
    let body = draft(json!({}));
    let key = key();
    let keys = [keys[0], ("idempotency-key", &*key)];
    let write = desk
        .ask(Method::POST, "/api/v1/policies", &keys, Some(&body))
        .await;
    assert_eq!(write.status, 403);
}
