use http::{Method, StatusCode};
use serde_json::json;
use test_support::{keyed, send};

use super::service::Service;

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
    let put = send(&service.api, keyed(Method::PUT, path)).await;
    let mut allowed: Vec<_> = put.header("allow").split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
}

#[tokio::test]
async fn every_spelling_in_a_path_finds_the_vehicle() {
    let service = Service::start().await;
    service
        .database
        .execute("insert into vehicle.vehicles (registration_number) values ('ÅÄÖ')")
        .await;
    for (spelling, plate) in [
        ("abc%20123", "ABC123"),
        ("%61%62%63-123%0A", "ABC123"),
        ("%C3%A5-%c3%84-%C3%B6", "ÅÄÖ"),
        // Letters with combining marks, and the Ångström sign.
        ("a%CC%8Aa%CC%88o%CC%88", "ÅÄÖ"),
        ("%E2%84%AB%C3%84%C3%96", "ÅÄÖ"),
    ] {
        let answer = service
            .api
            .get(&format!("/api/v1/vehicles/{spelling}"))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{spelling}");
        assert_eq!(answer.json()["registrationNumber"], plate, "{spelling}");
    }
}

#[tokio::test]
async fn what_is_no_registration_number_is_refused_without_an_echo() {
    let service = Service::start().await;
    for text in [
        "ABCD1234",
        "ABC%2F12",
        "%2E%2E",
        "AB%00C12",
        "%F0%9F%9A%97%F0%9F%9A%97",
        "%3Cscript%3E",
        "199001011234",
        "%27or%201=1--",
        "*",
    ] {
        let answer = service.api.get(&format!("/api/v1/vehicles/{text}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{text}");
        let problem = answer.problem();
        assert_eq!(problem["code"], "invalid_registration_number", "{text}");
        assert_eq!(problem["errors"][0]["parameter"], "registrationNumber");
        assert!(
            !answer.text().contains("script") && !answer.problem().to_string().contains("1990")
        );
    }
}
