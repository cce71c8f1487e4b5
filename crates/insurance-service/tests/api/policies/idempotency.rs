//! Each request takes effect once.

mod at_once;

use http::Method;
use serde_json::json;
use test_support::{FakeVehicle, Reply};

use super::{
    Desk,
    desk::{draft, key},
};

const POLICIES: &str = "/api/v1/policies";

#[tokio::test]
async fn a_finished_request_is_answered_again_whatever_has_changed_since() {
    let desk = Desk::open().await;
    let (id, tag) = desk.draft("GHI789").await;
    let (path, key) = (format!("{POLICIES}/{id}/transitions"), key());
    let activate = json!({ "to": "active", "reason": "other" });
    let first = desk.post(&path, &key, &tag, &activate).await;
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(first.header("idempotency-replayed"), "");
    // The version, the state and Vehicle would all refuse it now.
    desk.go(id, first.header("etag"), "cancelled").await;
    desk.0.vehicle.script(|_| Reply::status(500));
    let again = desk.post(&path, &key, &tag, &activate).await;
    assert_eq!(again.status, 200, "{}", again.text());
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.text(), first.text());
    for header in ["etag", "event-id"] {
        assert_eq!(again.header(header), first.header(header), "{header}");
    }
    assert_eq!(desk.events(id).await.len(), 3);
    // Any other request under the key is refused.
    for (tag, body) in [
        (&*tag, json!({ "to": "active", "reason": "paid" })),
        (first.header("etag"), activate.clone()),
    ] {
        let other = desk.post(&path, &key, tag, &body).await;
        assert_eq!(other.status, 422);
        assert_eq!(other.problem()["code"], "idempotency_key_reused");
    }
    let replays = desk.0.metric("idempotency_replays_total", &[]).await;
    assert_eq!(replays, 1);
    let refused = [("code", "idempotency_key_reused")];
    let refused = desk.0.metric("http_server_problems_total", &refused).await;
    assert_eq!(refused, 2);
}

/// What its precondition or its target lets be done only once.
#[tokio::test]
async fn a_key_is_not_read_where_none_is_needed() {
    let desk = Desk::open().await;
    let (id, tag) = desk.draft("GHI789").await;
    let path = format!("{POLICIES}/{id}");
    let key = [("idempotency-key", "none of those that a POST may have")];
    let headers = [key[0], ("if-match", &*tag)];
    let later = json!({ "validUntil": "2199-01-01" });
    let change = async || desk.ask(Method::PATCH, &path, &headers, Some(&later)).await;
    assert_eq!([change().await.status, change().await.status], [200, 412]);
    let price = json!({ "monthlyCost": 35.5 });
    let path = "/api/v1/prices/car/2199-01-01";
    let put = async || desk.administer(Method::PUT, path, &key, &price).await;
    assert_eq!([put().await.status, put().await.status], [201, 200]);
}

#[tokio::test]
async fn a_refusal_is_judged_anew() {
    let vehicle = FakeVehicle::start(|_| Reply::status(500)).await;
    let desk = Desk::with(vehicle, &[]).await;
    let (id, tag) = desk.draft("GHI789").await;
    let (path, key) = (format!("{POLICIES}/{id}/transitions"), key());
    let activate = json!({ "to": "active", "reason": "other" });
    assert_eq!(desk.post(&path, &key, &tag, &activate).await.status, 503);
    desk.0.vehicle.script(Reply::healthy);
    let active = desk.post(&path, &key, &tag, &activate).await;
    assert_eq!(active.status, 200, "{}", active.text());
}

#[tokio::test]
async fn keys_are_required_plain_and_free_of_persons() {
    let desk = Desk::open().await;
    let body = draft(json!({}));
    let missing = desk.ask(Method::POST, POLICIES, &[], Some(&body)).await;
    assert_eq!(
        (missing.status.as_u16(), &missing.problem()["code"]),
        (400, &json!("idempotency_key_missing"))
    );
    let long = "x".repeat(65);
    for key in [
        "short-key-12345",
        &long,
        "key with a blank in it",
        "draft-199001011234",
    ] {
        let answer = desk.post(POLICIES, key, "", &body).await;
        assert_eq!(answer.status, 400, "{key}");
        assert_eq!(answer.problem()["code"], "idempotency_key_invalid", "{key}");
    }
}

#[tokio::test]
async fn each_line_of_if_match_and_each_member_is_part_of_the_request() {
    let desk = Desk::open().await;
    let (id, tag) = desk.draft("GHI789").await;
    let (path, key) = (format!("{POLICIES}/{id}/transitions"), key());
    let activate = json!({ "to": "active", "reason": "other" });
    let send = async |other: &str| {
        let headers = [
            ("idempotency-key", &*key),
            ("if-match", &*tag),
            ("if-match", other),
        ];
        desk.ask(Method::POST, &path, &headers, Some(&activate))
            .await
    };
    let done = send("\"other\"").await;
    assert_eq!(done.status, 200, "{}", done.text());
    let again = send("\"other\"").await;
    assert_eq!(again.text(), done.text());
    let other = send("\"another\"").await;
    assert_eq!(other.problem()["code"], "idempotency_key_reused");
    // A draft's members are judged after its key, too.
    let key = super::desk::key();
    let drafted = desk.post(POLICIES, &key, "", &draft(json!({}))).await;
    assert_eq!(drafted.status, 201, "{}", drafted.text());
    for changes in [
        json!({ "product": "boat" }),
        json!({ "personalIdentityNumber": "1" }),
    ] {
        let other = desk.post(POLICIES, &key, "", &draft(changes)).await;
        assert_eq!(other.problem()["code"], "idempotency_key_reused");
    }
}

#[tokio::test]
async fn two_clients_never_meet_and_a_key_is_forgotten_after_a_day() {
    let other = [
        ("API_KEYS__OTHER__KEY", "other-key-0123456789"),
        ("API_KEYS__OTHER__SCOPES", "write"),
    ];
    let desk = Desk::with(FakeVehicle::healthy().await, &other).await;
    let (key, body) = (key(), draft(json!({})));
    let mine = desk.post(POLICIES, &key, "", &body).await;
    let headers = [
        ("x-api-key", "other-key-0123456789"),
        ("idempotency-key", &*key),
    ];
    let theirs = desk
        .ask(Method::POST, POLICIES, &headers, Some(&body))
        .await;
    assert_eq!(theirs.status, 201, "{}", theirs.text());
    assert_ne!(mine.text(), theirs.text());

    let age = "update insurance.idempotency_keys set created_at = now() - interval '25 hours'";
    desk.0.database.execute(age).await;
    let late = desk
        .post(
            POLICIES,
            &key,
            "",
            &draft(json!({ "validUntil": null, "product": "pet", "carRegistrationNumber": null })),
        )
        .await;
    assert_eq!(late.status, 201, "{}", late.text());
    assert_eq!(late.header("idempotency-replayed"), "");
}

#[tokio::test]
async fn both_keys_of_a_rotation_are_one_caller() {
    let rotation = [
        ("API_KEYS__DESK_2__KEY", "next-key-0123456789"),
        ("API_KEYS__DESK_2__SCOPES", "write"),
        ("API_KEYS__DESK_2__CLIENT", "desk"),
    ];
    let desk = Desk::with(FakeVehicle::healthy().await, &rotation).await;
    let (key, body) = (key(), draft(json!({})));
    let first = desk.post(POLICIES, &key, "", &body).await;
    assert_eq!(first.status, 201, "{}", first.text());
    let headers = [
        ("x-api-key", "next-key-0123456789"),
        ("idempotency-key", &*key),
    ];
    let again = desk
        .ask(Method::POST, POLICIES, &headers, Some(&body))
        .await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.text(), first.text());
}

/// What a fingerprint is made with is a secret of its own, which outlives all others.
#[tokio::test]
async fn a_second_try_is_known_when_other_secrets_have_changed() {
    let own = "5f".repeat(32);
    let set = [("IDEMPOTENCY__FINGERPRINT_KEY", &*own)];
    let desk = Desk::with(FakeVehicle::healthy().await, &set).await;
    let (key, body) = (key(), draft(json!({})));
    let first = desk.post(POLICIES, &key, "", &body).await;
    assert_eq!(first.status, 201, "{}", first.text());
    let changed = [
        set[0],
        ("VEHICLE_CLIENT__API_KEY", "another-key-0123456789"),
    ];
    let desk = desk.restarted(&changed);
    let again = desk.post(POLICIES, &key, "", &body).await;
    assert_eq!(again.status, 201, "{}", again.text());
    assert_eq!(again.header("idempotency-replayed"), "true");
    // Nobody without it finds out which number was sent.
    let desk = desk.restarted(&changed[1..]);
    let other = desk.post(POLICIES, &key, "", &body).await;
    assert_eq!(other.problem()["code"], "idempotency_key_reused");
}
