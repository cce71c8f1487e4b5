//! The examples of the document are answers that the service really gives.

use http::{Method, StatusCode};
use serde_json::json;
use test_support::{Examples, Routes, keyed, nowhere, record_shared, send};

use super::service::Service;

const PATH: &str = "/api/v1/vehicles/ABC123";
const BATCH: &str = "/api/v1/vehicles/batch";
const OPERATOR: [(&str, &str); 2] = [
    ("API_KEYS__OPERATOR__KEY", "operator-key-0123456789"),
    ("API_KEYS__OPERATOR__SCOPES", "operations"),
];

#[tokio::test]
async fn the_examples_are_answers_that_the_service_gives() {
    let service = Service::with(&OPERATOR).await;
    let document = serde_json::to_value(&service.assembled.document).unwrap();
    let mut examples = Examples::of(&document);
    let api = &service.api;

    examples.answer("get_vehicle", "volvo", &api.get(PATH).await);
    let known = keyed(Method::GET, PATH).header("if-none-match", "*");
    examples.answer("get_vehicle", "known", &send(api, known).await);
    for path in ["A", "%FF", "ZZZ999"] {
        let answer = api.get(&format!("/api/v1/vehicles/{path}")).await;
        examples.problem("get_vehicle", &answer);
    }
    let other = keyed(Method::GET, PATH).header("if-match", "\"0.0\"");
    examples.problem("get_vehicle", &send(api, other).await);
    let batch = json!({ "registrationNumbers": ["abc123", "DEF456", "ZZZ999", "?"] });
    examples.request("find_vehicles", "spellings", &batch);
    let answer = api.post(BATCH, &batch).await;
    examples.answer("find_vehicles", "spellings", &answer);
    for body in [
        json!({}),
        json!({ "registrationNumbers": [] }),
        json!({ "registrationNumbers": vec!["ABC123"; 501] }),
    ] {
        examples.problem("find_vehicles", &api.post(BATCH, &body).await);
    }
    for (operation, method, path) in [
        ("get_vehicle", Method::GET, PATH),
        ("find_vehicles", Method::POST, BATCH),
    ] {
        let request = http::Request::builder().method(method).uri(path);
        let request = request.header("x-api-key", OPERATOR[0].1);
        examples.problem(operation, &send(api, request).await);
    }
    for (operation, name, path) in [
        ("get_health", "ok", "/healthz"),
        ("get_readiness", "ready", "/readyz"),
        ("get_problem", "overloaded", "/problems/overloaded"),
    ] {
        examples.answer(operation, name, &api.get_open(path).await);
    }
    let unknown = api.get_open("/problems/unknown").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    examples.problem("get_problem", &unknown);
    let (_socket, url) = nowhere();
    let down = [
        ("DATABASE__URL", &*url),
        ("DATABASE__ACQUIRE_TIMEOUT", "50ms"),
    ];
    let down = Service::with(&down).await;
    let answer = down.api.get_open("/readyz").await;
    examples.answer("get_readiness", "database_down", &answer);

    let start = async |settings: &[(&str, &str)]| {
        let service = Service::with(settings).await;
        (service.database, service.api)
    };
    let routes = Routes {
        get: ("get_vehicle", PATH),
        post: ("find_vehicles", BATCH),
        table: ("vehicle.vehicles", "make"),
    };
    record_shared(&mut examples, start, routes).await;
    examples.assert_committed("crates/vehicle-service/src/examples.json");
}
