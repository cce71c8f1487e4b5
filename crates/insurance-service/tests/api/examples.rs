//! The examples of the document are answers that the service really gives.

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};
use test_support::{API_KEY, Answer, Examples, FakeVehicle, Reply, Routes, record_shared};

use super::{
    consumers,
    operations_guard::{GUARD, ask, operated},
    policies,
    replica::copying,
    service::{LOOKUP, PERSON, Service},
    unreadable,
};

const CACHE: &str = "/api/v1/operations/vehicle-cache";
const BY_PATH: &str = "/api/v1/insurances";

#[tokio::test]
async fn the_examples_are_answers_that_the_service_gives() {
    let service = operated(&[]).await;
    let mut examples = Examples::of(&service.document);
    record_profiles(&mut examples).await;
    record_operations(&mut examples, &service).await;
    consumers::record(&mut examples).await;
    policies::record(&mut examples).await;
    for (operation, name, path) in [
        ("get_health", "ok", "/healthz"),
        ("get_readiness", "ready", "/readyz"),
        ("get_problem", "overloaded", "/problems/overloaded"),
    ] {
        examples.answer(operation, name, &service.api.get(path).await);
    }
    examples.problem("get_problem", &service.api.get("/problems/unknown").await);
    let down = [
        ("DATABASE__URL", "postgres://127.0.0.1:1/none"),
        ("DATABASE__ACQUIRE_TIMEOUT", "50ms"),
    ];
    let down = Service::with(FakeVehicle::healthy().await, &down).await;
    let answer = down.api.get("/readyz").await;
    examples.answer("get_readiness", "database_down", &answer);

    let start = async |settings: &[(&str, &str)]| {
        let service = Service::with(FakeVehicle::healthy().await, settings).await;
        (service.database, service.api)
    };
    let routes = Routes {
        get: ("get_insurances", "/api/v1/insurances/199001011234"),
        post: ("look_up_insurances", LOOKUP),
        table: ("insurance.insurances", "product"),
    };
    record_shared(&mut examples, start, routes).await;
    examples.assert_committed("crates/insurance-service/src/examples.json");
}

/// Both forms, with a Vehicle in good health and with one that knows half of its vehicles.
async fn record_profiles(examples: &mut Examples) {
    let service = Service::with(FakeVehicle::healthy().await, &[]).await;
    let body = json!({ "personalIdentityNumber": PERSON });
    examples.request("look_up_insurances", "complete", &body);
    both(examples, "complete", &service, PERSON, "handling=lenient").await;

    let half = FakeVehicle::start(|request| {
        if request.path.ends_with("DEF456") {
            Reply::status(500)
        } else {
            Reply::healthy(request)
        }
    })
    .await;
    let service = Service::with(half, &[]).await;
    let policies = [
        ("car", "289.90", Some("ABC123")),
        ("car", "19.99", Some("DEF456")),
    ];
    service.insure("197001019999", &policies).await;
    both(
        examples,
        "partial",
        &service,
        "197001019999",
        "handling=lenient",
    )
    .await;
    both(examples, "", &service, "197001019999", "handling=strict").await;
    both(examples, "", &service, "197001010000", "handling=lenient").await;
    let strategy = [("ENRICHMENT__STRATEGY", "replica")];
    // As new as the answer.
    let copied = copying(
        FakeVehicle::healthy().await,
        &strategy,
        "-1 hour",
        &["ABC123"],
    )
    .await;
    both(examples, "replica", &copied, PERSON, "handling=lenient").await;
    both(examples, "", &service, "1", "handling=lenient").await;
    let broken = unreadable::with_a_boat(&[("pet", "10.50", None)]).await;
    let lenient = "handling=lenient";
    both(examples, "unreadable", &broken, unreadable::PERSON, lenient).await;
    let strict = "handling=strict";
    both(examples, "", &broken, unreadable::PERSON, strict).await;
    let wrong = json!({ "personalIdentityNumber": PERSON, "more": 1 });
    let answer = service.api.post(LOOKUP, &wrong).await;
    examples.problem("look_up_insurances", &answer);
    let undecodable = service.api.get(&format!("{BY_PATH}/%FF")).await;
    examples.problem("get_insurances", &undecodable);
}

/// A person by both forms: an answer with this name, or a problem.
async fn both(examples: &mut Examples, name: &str, service: &Service, person: &str, prefer: &str) {
    let body = json!({ "personalIdentityNumber": person }).to_string();
    for (operation, request, body) in [
        (
            "get_insurances",
            Request::get(format!("{BY_PATH}/{person}")),
            Body::empty(),
        ),
        (
            "look_up_insurances",
            Request::post(LOOKUP),
            Body::from(body),
        ),
    ] {
        let request = request
            .header("x-api-key", API_KEY)
            .header("content-type", "application/json")
            .header("prefer", prefer);
        let answer = service.api.send(request.body(body).unwrap()).await;
        if answer.status == 200 {
            examples.answer(operation, name, &answer);
        } else {
            examples.problem(operation, &answer);
        }
    }
}

async fn record_operations(examples: &mut Examples, service: &Service) {
    // Earn all the retries that can be saved up.
    for _ in 0..3 {
        service.look_up(PERSON).await;
    }
    let isolate = json!({ "mode": "isolated", "reason": "planned maintenance of the register",
                          "owner": "on-call team", "expiresInSeconds": 900 });
    let release = json!({ "mode": "automatic", "reason": "the maintenance is done",
                          "owner": "on-call team" });
    for (name, body) in [("isolate", &isolate), ("release", &release)] {
        examples.request("set_vehicle_guard", name, body);
        let answer = ask(service, Method::PUT, GUARD, &body.to_string()).await;
        examples.answer("set_vehicle_guard", name, &answer);
        let answer = ask(service, Method::GET, GUARD, "").await;
        let state = answer.json()["mode"].as_str().unwrap().to_owned();
        examples.answer("get_vehicle_guard", &state, &answer);
    }
    for (member, value) in [
        ("reason", json!("")),
        ("owner", json!("")),
        ("expiresInSeconds", Value::Null),
        ("mode", json!("open")),
    ] {
        let mut body = isolate.clone();
        body[member] = value;
        let answer = ask(service, Method::PUT, GUARD, &body.to_string()).await;
        examples.problem("set_vehicle_guard", &answer);
    }
    let several = json!({ "mode": "isolated", "reason": "", "owner": "" });
    let answer = ask(service, Method::PUT, GUARD, &several.to_string()).await;
    examples.problem("set_vehicle_guard", &answer);
    let erase = |number: &'static str| {
        let path = format!("{CACHE}/{number}");
        async move { ask(service, Method::DELETE, &path, "").await }
    };
    examples.answer("erase_vehicle", "erased", &erase("ABC123").await);
    examples.problem("erase_vehicle", &erase("A").await);
    examples.problem("erase_vehicle", &erase("%FF").await);

    let foreign = |method: Method, path: String, key: &'static str| async move {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("x-api-key", key).body(Body::empty());
        service.api.send(request.unwrap()).await
    };
    let (get, put, delete) = (Method::GET, Method::PUT, Method::DELETE);
    let refused: [(&str, Answer); 5] = [
        (
            "get_insurances",
            ask(service, get.clone(), &format!("{BY_PATH}/{PERSON}"), "").await,
        ),
        (
            "look_up_insurances",
            ask(service, Method::POST, LOOKUP, "").await,
        ),
        (
            "get_vehicle_guard",
            foreign(get, GUARD.to_owned(), API_KEY).await,
        ),
        (
            "set_vehicle_guard",
            foreign(put, GUARD.to_owned(), API_KEY).await,
        ),
        (
            "erase_vehicle",
            foreign(delete, format!("{CACHE}/ABC123"), API_KEY).await,
        ),
    ];
    for (operation, answer) in &refused {
        examples.problem(operation, answer);
    }
}
