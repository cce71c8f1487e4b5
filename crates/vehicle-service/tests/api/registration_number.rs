use http::StatusCode;
use serde_json::json;

use crate::service::Service;

/// Spellings as they stand in a path, and the plate that they mean.
const SPELLINGS: [(&str, &str); 13] = [
    ("ABC123", "ABC123"),
    ("abc123", "ABC123"),
    ("abc%20123", "ABC123"),
    ("ABC-123", "ABC123"),
    ("%20a-b%20c1%2023-", "ABC123"),
    ("%61%62%63123", "ABC123"),
    ("abc123%0A", "ABC123"),
    ("%C3%85%C3%84%C3%96", "ÅÄÖ"),
    ("%C3%A5%C3%A4%C3%B6", "ÅÄÖ"),
    // Letters with combining marks, and the Ångström sign.
    ("a%CC%8Aa%CC%88o%CC%88", "ÅÄÖ"),
    ("A%CC%8A%C3%84o%CC%88", "ÅÄÖ"),
    ("%E2%84%AB%C3%84%C3%96", "ÅÄÖ"),
    ("%c3%a5-%c3%a4-%c3%b6", "ÅÄÖ"),
];

#[tokio::test]
async fn every_spelling_in_a_path_finds_the_vehicle() {
    let service = Service::start().await;
    service
        .database
        .execute("insert into vehicle.vehicles (registration_number) values ('ÅÄÖ')")
        .await;
    for (spelling, plate) in SPELLINGS {
        let answer = service
            .api
            .get(&format!("/api/v1/vehicles/{spelling}"))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{spelling}");
        assert_eq!(answer.json()["registrationNumber"], plate, "{spelling}");
    }
}

#[tokio::test]
async fn every_spelling_in_a_batch_finds_the_vehicle() {
    let service = Service::start().await;
    service
        .database
        .execute("insert into vehicle.vehicles (registration_number) values ('ÅÄÖ')")
        .await;
    for (spelling, plate) in [
        ("abc 123", "ABC123"),
        ("\tAbC-1 2-3\n", "ABC123"),
        ("åäö", "ÅÄÖ"),
        ("a\u{30a}A\u{308}o\u{308}", "ÅÄÖ"),
    ] {
        let answer = service
            .api
            .post(
                "/api/v1/vehicles/batch",
                &json!({"registrationNumbers": [spelling]}),
            )
            .await;
        let found = &answer.json()["vehicles"][0]["registrationNumber"];
        assert_eq!(found, plate, "{spelling:?}");
    }
}

#[tokio::test]
async fn what_is_no_registration_number_is_refused_without_an_echo() {
    let service = Service::start().await;
    for text in [
        "A",
        "ABCD1234",
        "ABC%2F12",
        "..",
        "%2E%2E",
        "AB%00C12",
        "%F0%9F%9A%97%F0%9F%9A%97",
        "%C3%9F12",
        "AB_12",
        "%3Cscript%3E",
        "199001011234",
        "-",
        "%20",
        "%D0%90%D0%92%D0%A1123",
        "%27or%201=1--",
        "*",
        "ABC;123",
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

#[tokio::test]
async fn a_path_that_is_not_utf_8_is_refused() {
    let service = Service::start().await;
    for text in ["%FF", "ABC%C3123", "%ED%A0%80"] {
        let answer = service.api.get(&format!("/api/v1/vehicles/{text}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{text}");
        assert_eq!(answer.problem()["code"], "invalid_path");
    }
}

#[tokio::test]
async fn a_path_with_another_segment_is_another_route() {
    let service = Service::start().await;
    for path in [
        "/api/v1/vehicles/",
        "/api/v1/vehicles",
        "/api/v1/vehicles/ABC123/",
        "/api/v1/vehicles/ABC/123",
        "//api/v1/vehicles/ABC123",
        "/api/v1/../v1/vehicles/ABC123",
    ] {
        let answer = service.api.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.problem()["code"], "route_not_found");
    }
}
