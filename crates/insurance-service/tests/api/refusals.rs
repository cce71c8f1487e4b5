//! Every request that is refused, with the problem document that it gets.

use axum::body::Body;
use http::{Method, Request};
use insurance_service::InsuranceService;
use serde_json::{Value, json};
use service_defaults::{service::Service as _, settings::Arguments};
use test_support::{API_KEY, Answer, FakeVehicle, TestDatabase};
use tokio::net::TcpSocket;

use crate::service::{LOOKUP, PERSON, Service};

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
            r#"{"personalIdentityNumber":null}"#,
            "invalid_body",
            "/personalIdentityNumber",
        ),
        (
            r#"{"personalIdentityNumber":"199001011234","more":1}"#,
            "invalid_body",
            "/more",
        ),
        (
            r#"{"personalIdentityNumber":"199001011234","199001011234":1}"#,
            "invalid_body",
            "",
        ),
        ("{}", "invalid_body", ""),
        (r#"["199001011234"]"#, "invalid_body", ""),
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
    for body in ["", "{", r#"{"personalIdentityNumber":"199001011234"}}"#] {
        let answer = service.api.post_text(LOOKUP, body).await;
        assert_eq!(answer.problem()["code"], "malformed_json", "{body}");
        assert_documented(&service, "post", LOOKUP, &answer);
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
async fn a_key_is_needed_before_anything_is_looked_at() {
    let service = Service::healthy().await;
    let get = format!("/api/v1/insurances/{PERSON}");
    for (method, path) in [
        (Method::GET, get.as_str()),
        (Method::POST, LOOKUP),
        (Method::GET, "/api/v1/insurances/not-a-number"),
        (Method::GET, "/api/v1/no-such-route"),
        (Method::DELETE, get.as_str()),
    ] {
        for key in [None, Some(""), Some("wrong-key-0123456789")] {
            let mut request = Request::builder().method(method.clone()).uri(path);
            if let Some(key) = key {
                request = request.header("x-api-key", key);
            }
            let answer = service.api.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.problem()["code"], "unauthorized", "{method} {path}");
            assert_eq!(answer.header("www-authenticate"), "ApiKey");
            assert_eq!(answer.header("cache-control"), "no-store");
        }
    }
    assert_eq!(service.vehicle.calls(), 0);
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

#[tokio::test]
async fn other_methods_are_refused_with_those_that_there_are() {
    let service = Service::healthy().await;
    for (method, path, allowed) in [
        (Method::POST, "/api/v1/insurances/199001011234", "GET,HEAD"),
        (
            Method::DELETE,
            "/api/v1/insurances/199001011234",
            "GET,HEAD",
        ),
        (Method::PUT, LOOKUP, "POST"),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("x-api-key", API_KEY);
        let answer = service.api.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.problem()["code"], "method_not_allowed");
        assert_eq!(answer.header("allow"), allowed);
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_or_of_another_type_is_refused() {
    let service = Service::healthy().await;
    let large = format!("{{\"personalIdentityNumber\":\"{}\"}}", "1".repeat(65_536));
    let answer = service.api.post_text(LOOKUP, &large).await;
    assert_documented(&service, "post", LOOKUP, &answer);
    assert_eq!(answer.problem()["code"], "body_too_large");
    for kind in [None, Some("text/plain"), Some("application/xml")] {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(LOOKUP)
            .header("x-api-key", API_KEY);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let body = json!({ "personalIdentityNumber": PERSON }).to_string();
        let answer = service
            .api
            .send(request.body(Body::from(body)).unwrap())
            .await;
        assert_documented(&service, "post", LOOKUP, &answer);
        assert_eq!(answer.problem()["code"], "unsupported_media_type");
    }
}

#[tokio::test]
async fn without_its_database_the_service_asks_to_come_back() {
    let database = TestDatabase::empty(insurance_service::NAME).await;
    let vehicle = FakeVehicle::healthy().await;
    // Has the port and does not listen.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("postgres://{}/none", socket.local_addr().unwrap());
    let nowhere = [
        ("DATABASE__URL", &*url),
        ("DATABASE__ACQUIRE_TIMEOUT", "50ms"),
    ];
    let arguments = Arguments::default();
    let sources = crate::service::patient(&database, &vehicle.url(), arguments, &nowhere);
    let process =
        service_defaults::process::Process::new(insurance_service::NAME, sources).unwrap();
    let api = test_support::Api(InsuranceService::build(&process).unwrap().public);
    let answer = api.get(&format!("/api/v1/insurances/{PERSON}")).await;
    let problem = answer.problem();
    assert_eq!(problem["status"], 503);
    assert!(problem["code"].as_str().unwrap().starts_with("database_"));
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(api.get("/readyz").await.status, 503);
    assert_eq!(vehicle.calls(), 0);
}
