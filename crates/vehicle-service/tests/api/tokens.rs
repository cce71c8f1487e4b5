//! Tokens of an issuer beside keys.

use axum::body::Body;
use http::Request;
use serde_json::json;
use test_support::{Issuer, assert_tokens_are_needed, attacks, until_keys_are_known};

use super::service::Service;

#[tokio::test]
async fn each_route_asks_for_its_scope_of_a_token_and_refuses_every_attack() {
    let issuer = Issuer::start().await;
    let attacks = attacks(&issuer);
    let service = Service::with(&issuer.settings()).await;
    assert_tokens_are_needed(&service.api, &issuer, &attacks).await;
}

#[tokio::test]
async fn a_change_is_its_subjects_in_the_log_and_a_person_is_a_pseudonym() {
    let issuer = Issuer::start().await;
    let service = Service::with(&issuer.settings()).await;
    until_keys_are_known(&service.api).await;
    let subjects = [
        ("core-system", "NEW001"),
        ("199001011234", "NEW002"),
        ("anna@example.com", "NEW003"),
        ("199001011234", "NEW004"),
    ];
    for (subject, plate) in subjects {
        let token = issuer.changed(json!({}), json!({ "sub": subject, "scope": "write" }));
        let request = Request::put(format!("/api/v1/vehicles/{plate}"))
            .header("authorization", format!("Bearer {token}"))
            .header("if-none-match", "*")
            .header("content-type", "application/json");
        let body = json!({ "make": "Saab", "model": null, "modelYear": 2011 });
        let request = request.body(Body::from(body.to_string())).unwrap();
        let answer = service.api.send(request).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    let actors = sqlx::query_scalar::<_, String>(
        "select actor from vehicle_events.events
         where aggregate_id like 'NEW%' order by aggregate_id",
    );
    let mut connection = service.database.connect().await;
    let actors = actors.fetch_all(&mut connection).await.unwrap();
    assert_eq!(actors[0], "token/core-system");
    assert!(
        actors[1..].iter().all(|it| it.starts_with("token/~")),
        "{actors:?}"
    );
    assert_eq!(actors[1], actors[3]);
    assert_ne!(actors[1], actors[2]);
}
