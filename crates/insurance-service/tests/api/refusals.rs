//! Requests that are refused for the number that they ask for.

use serde_json::{Value, json};
use test_support::{Answer, FakeVehicle};

use super::service::{LOOKUP, PERSON, Service};

const PATH: &str = "/api/v1/insurances/{personalIdentityNumber}";

fn assert_documented(service: &Service, method: &str, path: &str, answer: &Answer) {
    let status = answer.status.as_str();
    let responses = &service.document["paths"][path][method]["responses"];
    assert!(
        responses[status].is_object(),
        "{method} {path} has no {status}"
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(!answer.text().contains(PERSON) && !answer.text().contains("19900101-1234"));
}

#[tokio::test]
async fn a_path_that_is_no_personal_identity_number_breaks_one_rule() {
    let service = Service::healthy().await;
    for text in [
        "1",
        "1990010112345",
        "19900101123A",
        "199001-011234",
        "19900101%201234",
        "x199001011234",
    ] {
        let answer = service.api.get(&format!("/api/v1/insurances/{text}")).await;
        assert_documented(&service, "get", PATH, &answer);
        let problem = answer.problem();
        assert_eq!(problem["status"], 400, "{text}");
        assert_eq!(problem["code"], "invalid_personal_identity_number");
        assert_eq!(problem["errors"][0]["parameter"], "personalIdentityNumber");
        assert_eq!(problem["errors"][0]["pointer"], Value::Null);
    }
    assert_eq!(service.vehicle.calls(), 0);
}

#[tokio::test]
async fn a_body_that_breaks_a_rule_says_which_and_where() {
    let service = Service::healthy().await;
    for (body, code, pointer) in [
        (
            r#"{"personalIdentityNumber":"1990010112345"}"#,
            "invalid_personal_identity_number",
            "/personalIdentityNumber",
        ),
        (
            r#"{"personalIdentityNumber":199001011234}"#,
            "invalid_body",
            "/personalIdentityNumber",
        ),
        (
            r#"{"personalIdentityNumber":"199001011234","199001011234":1}"#,
            "invalid_body",
            "",
        ),
    ] {
        let answer = service.api.post_text(LOOKUP, body).await;
        assert_documented(&service, "post", LOOKUP, &answer);
        let problem = answer.problem();
        assert_eq!(
            (&problem["status"], &problem["code"]),
            (&json!(400), &json!(code)),
            "{body}"
        );
        let only = &problem["errors"].as_array().unwrap()[..];
        assert_eq!(only.len(), 1, "{body}");
        assert_eq!(only[0]["parameter"], Value::Null);
        assert_eq!(only[0]["pointer"], pointer, "{body}");
    }
}

#[tokio::test]
async fn the_check_of_numbers_is_as_strict_as_its_setting() {
    let no_date = "199002301234";
    let no_check_digit = "199001011234";
    let good = "199001012385";
    for (check, refused) in [
        ("format", &[][..]),
        ("date", &[no_date][..]),
        ("checksum", &[no_date, no_check_digit]),
    ] {
        let settings = [("PERSONAL_IDENTITY_NUMBER__CHECK", check)];
        let service = Service::with(FakeVehicle::healthy().await, &settings).await;
        for person in [no_date, no_check_digit, good] {
            let by_path = service
                .api
                .get(&format!("/api/v1/insurances/{person}"))
                .await;
            let by_body = service.look_up(person).await;
            assert_eq!(by_path.status, by_body.status);
            if !refused.contains(&person) {
                assert_ne!(by_path.status, 400, "{check} {person}");
                continue;
            }
            let (by_path, by_body) = (by_path.problem(), by_body.problem());
            assert_eq!(by_path["code"], "invalid_personal_identity_number");
            assert_eq!(by_path["errors"][0]["parameter"], "personalIdentityNumber");
            assert_eq!(by_body["code"], by_path["code"]);
            assert_eq!(by_body["errors"][0]["pointer"], "/personalIdentityNumber");
        }
    }
}

#[tokio::test]
async fn nobody_is_found_under_an_unknown_number() {
    let service = Service::healthy().await;
    let answer = service.api.get("/api/v1/insurances/197001010000").await;
    assert_documented(&service, "get", PATH, &answer);
    assert_eq!(answer.problem()["code"], "insurances_not_found");
    assert_eq!(answer.header("link"), "");
    let answer = service.look_up("197001010000").await;
    assert_documented(&service, "post", LOOKUP, &answer);
    assert_eq!(answer.problem()["code"], "insurances_not_found");
    assert_eq!(service.vehicle.calls(), 0);
}
