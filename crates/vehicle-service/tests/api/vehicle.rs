use http::{Method, StatusCode};
use serde_json::json;

use crate::service::{Service, keyed, keyless, send};

#[tokio::test]
async fn a_known_vehicle_is_answered_with_all_its_members() {
    let service = Service::start().await;
    let answer = service.api.get("/api/v1/vehicles/ABC123").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(
        answer.text(),
        r#"{"registrationNumber":"ABC123","make":"Volvo","model":"XC60","modelYear":2021}"#
    );
}

#[tokio::test]
async fn what_the_register_does_not_say_is_null() {
    let service = Service::start().await;
    service
        .database
        .execute("insert into vehicle.vehicles (registration_number) values ('NULL00')")
        .await;
    let answer = service.api.get("/api/v1/vehicles/NULL00").await;
    assert_eq!(
        answer.json(),
        json!({"registrationNumber": "NULL00", "make": null, "model": null, "modelYear": null})
    );
}

#[tokio::test]
async fn an_unknown_vehicle_is_not_found() {
    let service = Service::start().await;
    let answer = service.api.get("/api/v1/vehicles/ZZZ999").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    insta::assert_json_snapshot!("vehicle_not_found", answer.problem());
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let service = Service::start().await;
    for (path, status) in [
        ("/api/v1/vehicles/ABC123", StatusCode::OK),
        ("/api/v1/vehicles/ZZZ999", StatusCode::NOT_FOUND),
        ("/api/v1/vehicles/?", StatusCode::NOT_FOUND),
    ] {
        let get = service.api.get(path).await;
        let head = send(&service.api, keyed(Method::HEAD, path)).await;
        assert_eq!((head.status, get.status), (status, status));
        assert!(head.body.is_empty(), "{}", head.text());
        for name in ["content-type", "etag", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{name}");
        }
    }
    let unauthorized = send(
        &service.api,
        keyless(Method::HEAD, "/api/v1/vehicles/ABC123"),
    );
    assert_eq!(unauthorized.await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_plate_may_be_called_batch() {
    let service = Service::start().await;
    let path = "/api/v1/vehicles/batch";
    assert_eq!(
        service.api.get(path).await.json()["code"],
        "vehicle_not_found"
    );
    service
        .database
        .execute(
            "insert into vehicle.vehicles (registration_number, make) values ('BATCH', 'Saab')",
        )
        .await;
    for spelling in [path, "/api/v1/vehicles/BATCH", "/api/v1/vehicles/b-atch"] {
        let answer = service.api.get(spelling).await;
        assert_eq!(answer.status, StatusCode::OK, "{spelling}");
        assert_eq!(answer.json()["registrationNumber"], "BATCH");
        assert!(!answer.header("etag").is_empty());
    }
    let head = send(&service.api, keyed(Method::HEAD, path)).await;
    assert_eq!(head.status, StatusCode::OK);
}
