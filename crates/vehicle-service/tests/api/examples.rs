//! The examples of the document are answers that the service really gives.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use test_support::{Examples, LOG, Routes, keyed, nowhere, record_log, record_shared, send};

use super::{
    copy::{self, FOLLOWER},
    register::{WRITER, change},
    service::Service,
};

const PATH: &str = "/api/v1/vehicles/ABC123";
const BATCH: &str = "/api/v1/vehicles/batch";
const OPERATOR: [(&str, &str); 2] = [
    ("API_KEYS__OPERATOR__KEY", "operator-key-0123456789"),
    ("API_KEYS__OPERATOR__SCOPES", "operations"),
];

#[tokio::test]
async fn the_examples_are_answers_that_the_service_gives() {
    let keys = [&OPERATOR[..], &WRITER, &FOLLOWER].concat();
    let service = Service::with(&keys).await;
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
    record_changes(&mut examples, &service).await;
    let logged = Service::with(&[&LOG[..], &WRITER].concat()).await;
    let saab = json!({ "make": "Saab", "model": "9-5", "modelYear": 2011 });
    let new = [("if-none-match", "*"), ("x-request-id", "order-42")];
    let path = "/api/v1/vehicles/JKL012";
    change(&logged, Method::PUT, path, &new, &saab).await;
    let any = [("if-match", "*"), ("x-request-id", "order-43")];
    let blue = json!({ "make": "Saab", "model": "9-5 SportCombi", "modelYear": 2011 });
    change(&logged, Method::PUT, path, &any, &blue).await;
    change(&logged, Method::DELETE, path, &any, &json!(null)).await;
    let log = (&logged.database, &logged.api);
    record_log(&mut examples, log, ("vehicle/JKL012", 3)).await;
    for path in ["", "?limit=2"] {
        let answer = copy::get(&service, &format!("/api/v1/vehicles{path}")).await;
        let name = if path.is_empty() { "all" } else { "page" };
        examples.answer("copy_vehicles", name, &answer);
    }
    for query in ["after=%3F", "limit=0", "page=2"] {
        let answer = copy::get(&service, &format!("/api/v1/vehicles?{query}")).await;
        examples.problem("copy_vehicles", &answer);
    }
    for (operation, method, path) in [
        ("get_vehicle", Method::GET, PATH),
        ("find_vehicles", Method::POST, BATCH),
        ("put_vehicle", Method::PUT, PATH),
        ("delete_vehicle", Method::DELETE, PATH),
        ("copy_vehicles", Method::GET, "/api/v1/vehicles"),
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

async fn record_changes(examples: &mut Examples, service: &Service) {
    let path = "/api/v1/vehicles/JKL012";
    let (new, any) = ([("if-none-match", "*")], [("if-match", "*")]);
    let other = [("if-match", "\"0.0\"")];
    let saab = json!({ "make": "Saab", "model": "9-5", "modelYear": 2011 });
    let mut blue = saab.clone();
    blue["model"] = json!("9-5 SportCombi");
    examples.request("put_vehicle", "saab", &saab);
    let put = async |headers: &[(&str, &str)], body: &Value| {
        change(service, Method::PUT, path, headers, body).await
    };
    examples.problem("put_vehicle", &put(&any, &saab).await);
    examples.answer("put_vehicle", "registered", &put(&new, &saab).await);
    examples.answer("put_vehicle", "changed", &put(&any, &blue).await);
    for (headers, member, value) in [
        (&[][..], "make", json!("Saab")),
        (&other, "make", json!("Saab")),
        (&new, "make", json!("Saab")),
        (&new, "make", json!("")),
        (&new, "model", json!("")),
        (&new, "modelYear", json!(1884)),
        (&new, "color", json!("blue")),
    ] {
        let mut body = saab.clone();
        body[member] = value;
        examples.problem("put_vehicle", &put(headers, &body).await);
    }
    let body = json!({ "make": "", "model": "", "modelYear": 2011 });
    examples.problem("put_vehicle", &put(&new, &body).await);
    let answer = change(service, Method::PUT, "/api/v1/vehicles/A", &new, &saab).await;
    examples.problem("put_vehicle", &answer);

    let delete = async |headers| change(service, Method::DELETE, path, headers, &json!(null)).await;
    let mut lock = service.database.lock("vehicle.vehicles").await;
    examples.problem("put_vehicle", &put(&any, &saab).await);
    examples.problem("delete_vehicle", &delete(&any).await);
    lock.release().await;
    examples.problem("delete_vehicle", &delete(&[]).await);
    examples.problem("delete_vehicle", &delete(&other).await);
    examples.answer("delete_vehicle", "gone", &delete(&any).await);
    examples.problem("delete_vehicle", &delete(&any).await);
    let answer = change(
        service,
        Method::DELETE,
        "/api/v1/vehicles/A",
        &any,
        &json!(null),
    )
    .await;
    examples.problem("delete_vehicle", &answer);
}
