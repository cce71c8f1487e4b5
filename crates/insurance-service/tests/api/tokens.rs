//! Tokens of an issuer beside keys.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};
use test_support::{FakeVehicle, Issuer, assert_tokens_are_needed, attacks, until_keys_are_known};

use super::service::{PERSON, Service};

#[tokio::test]
async fn each_route_asks_for_its_scope_of_a_token_and_refuses_every_attack() {
    let issuer = Issuer::start().await;
    let attacks = attacks(&issuer);
    let service = Service::with(FakeVehicle::healthy().await, &issuer.settings()).await;
    assert_tokens_are_needed(&service.api, &issuer, &attacks).await;
}

#[tokio::test]
async fn an_idempotency_key_is_its_subjects_whatever_its_token() {
    let issuer = Issuer::start().await;
    let service = Service::with(FakeVehicle::healthy().await, &issuer.settings()).await;
    until_keys_are_known(&service.api).await;
    let draft = async |subject: &str, id: &str| {
        let claims = json!({ "sub": subject, "jti": id, "scope": "write" });
        let token = issuer.changed(json!({}), claims);
        let request = Request::post("/api/v1/policies")
            .header("authorization", format!("Bearer {token}"))
            .header("idempotency-key", "draft-of-one-of-two-subjects")
            .header("content-type", "application/json");
        let body = json!({
            "personalIdentityNumber": PERSON, "product": "pet", "carRegistrationNumber": null,
            "validFrom": "2099-01-01", "validUntil": null
        });
        let request = request.body(Body::from(body.to_string())).unwrap();
        let answer = service.api.send(request).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let replayed = answer.header("idempotency-replayed") == "true";
        (answer.json()["insuranceId"].clone(), replayed)
    };
    let (first, _) = draft("199001011234", "a").await;
    // The same person with a new token, and somebody else under the same key.
    assert_eq!(draft("199001011234", "b").await, (first.clone(), true));
    let (other, replayed) = draft("199001011235", "c").await;
    assert!(!replayed && other != first);
}

#[tokio::test]
async fn an_order_of_a_token_is_its_subjects() {
    let issuer = Issuer::start().await;
    let service = Service::with(FakeVehicle::healthy().await, &issuer.settings()).await;
    until_keys_are_known(&service.api).await;
    let token = issuer.token("admin");
    let order = async |path: &str, body: Value| {
        let request = Request::put(format!("/api/v1/operations/{path}"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).unwrap();
        let answer = service.api.send(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    let isolate =
        json!({ "mode": "isolated", "reason": "r", "owner": "o", "expiresInSeconds": 60 });
    let guard = order("vehicle-guard", isolate).await;
    assert_eq!(guard["isolation"]["keyId"], "token/core-system");
    let pause = json!({ "mode": "paused", "reason": "r", "owner": "o" });
    let consumer = order("consumers/vehicle_replica", pause).await;
    assert_eq!(consumer["control"]["by"], "token/core-system");
}
