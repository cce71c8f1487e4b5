use axum::body::Body;
use http::Method;
use serde_json::{Map, Value};
use test_support::assert_committed;

use crate::service::{Service, keyed, keyless, send};

async fn document(service: &Service) -> Value {
    send(&service.api, keyless(Method::GET, "/openapi.json"))
        .await
        .json()
}

/// Every operation with its method and path.
fn operations(document: &Value) -> Vec<(Method, String, &Map<String, Value>)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = method.to_uppercase().parse().unwrap();
            found.push((method, path.clone(), operation.as_object().unwrap()));
        }
    }
    found
}

#[tokio::test]
async fn the_document_is_the_committed_one() {
    let service = Service::start().await;
    assert_committed("api/vehicle.openapi.json", &document(&service).await);
}

#[tokio::test]
async fn every_operation_is_described_with_each_of_its_answers() {
    let service = Service::start().await;
    let document = document(&service).await;
    for (method, path, operation) in operations(&document) {
        for member in ["operationId", "summary"] {
            let text = operation.get(member).and_then(Value::as_str);
            assert!(
                text.is_some_and(|text| !text.is_empty()),
                "{method} {path}: {member}"
            );
        }
        for (status, answer) in operation["responses"].as_object().unwrap() {
            let answer = match answer["$ref"].as_str() {
                Some(shared) => document.pointer(&shared[1..]).unwrap(),
                None => answer,
            };
            let text = answer["description"].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{method} {path}: {status}");
        }
    }
}

#[tokio::test]
async fn the_examples_work_on_the_sample_data() {
    let service = Service::start().await;
    let document = document(&service).await;
    let mut tried = 0;
    for (method, mut path, operation) in operations(&document) {
        for parameter in operation
            .get("parameters")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            if parameter["in"] == "path" {
                let name = format!("{{{}}}", parameter["name"].as_str().unwrap());
                path = path.replace(&name, parameter["example"].as_str().unwrap());
            }
        }
        let mut request = keyed(method, &path);
        let body = match operation.get("requestBody") {
            None => Body::empty(),
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(
                    example(&document, &body["content"]["application/json"]["schema"]).to_string(),
                )
            }
        };
        let answer = service.api.send(request.body(body).unwrap()).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text());
        tried += 1;
    }
    assert!(tried >= 5, "{tried}");
}

/// The example of a schema, put together from those of its members.
fn example(document: &Value, schema: &Value) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        return example(document, document.pointer(&reference[1..]).unwrap());
    }
    if let Some(example) = schema.get("example") {
        return example.clone();
    }
    let members = schema["properties"].as_object().unwrap();
    members
        .iter()
        .map(|(name, schema)| (name.clone(), example(document, schema)))
        .collect()
}

#[tokio::test]
async fn every_status_that_a_route_gives_is_documented() {
    let service = Service::start().await;
    let document = document(&service).await;
    let long = "x".repeat(9_000);
    let vehicle = "/api/v1/vehicles/{registrationNumber}";
    let batch = "/api/v1/vehicles/batch";
    let json = |request: http::request::Builder| request.header("content-type", "application/json");
    let plate = |plate: &str| keyed(Method::GET, &vehicle.replace("{registrationNumber}", plate));
    for (template, request, body) in [
        (vehicle, plate("ABC123"), ""),
        (vehicle, plate("ABC123").header("if-none-match", "*"), ""),
        (vehicle, plate("ABC123").header("if-match", "\"x\""), ""),
        (vehicle, plate("A"), ""),
        (vehicle, plate("ZZZ999"), ""),
        (vehicle, plate(&long), ""),
        (vehicle, plate("ABC123").header("x", long.repeat(2)), ""),
        (vehicle, keyless(Method::GET, "/api/v1/vehicles/ABC123"), ""),
        (
            batch,
            json(keyed(Method::POST, batch)),
            r#"{"registrationNumbers":["ABC123"]}"#,
        ),
        (batch, json(keyed(Method::POST, batch)), "{}"),
        (batch, json(keyed(Method::POST, batch)), &long.repeat(8)),
        (batch, keyed(Method::POST, batch), "{}"),
        (batch, keyless(Method::POST, batch), "{}"),
    ] {
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let method = request.method().as_str().to_lowercase();
        let status = service.api.send(request).await.status;
        let documented = document["paths"][template][&method]["responses"]
            .as_object()
            .unwrap();
        assert!(
            documented.contains_key(status.as_str()),
            "{method} {template}: {status}"
        );
    }
}

#[tokio::test]
async fn the_authorize_button_knows_the_keys_header() {
    let service = Service::start().await;
    let document = document(&service).await;
    let scheme = &document["components"]["securitySchemes"]["apiKey"];
    assert_eq!(scheme["type"], "apiKey");
    assert_eq!(scheme["in"], "header");
    assert_eq!(scheme["name"], "X-Api-Key");
    for (method, path, operation) in operations(&document) {
        let keyed = operation["security"][0].get("apiKey").is_some();
        assert_eq!(keyed, path.starts_with("/api/"), "{method} {path}");
    }
}
