//! The OpenAPI document and the problem documents, as they were reviewed.

use serde_json::{Value, json};
use test_support::{FakeVehicle, Reply, assert_committed};

use crate::service::{LOOKUP, PERSON, Service};

#[tokio::test]
async fn the_document_is_the_committed_one() {
    let service = Service::healthy().await;
    let served = service.api.get("/openapi.json").await.json();
    assert_eq!(served, service.document);
    assert_committed("api/insurance.openapi.json", &served);
}

#[tokio::test]
async fn every_operation_describes_each_of_its_answers() {
    let service = Service::healthy().await;
    for (path, item) in service.document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let told = |what: &Value| what.as_str().is_some_and(|text| !text.is_empty());
            assert!(told(&operation["summary"]), "{method} {path}");
            assert!(told(&operation["operationId"]), "{method} {path}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(!responses.is_empty());
            for (status, response) in responses {
                let response = match response["$ref"].as_str() {
                    Some(shared) => service.document.pointer(&shared[1..]).unwrap(),
                    None => response,
                };
                assert!(told(&response["description"]), "{method} {path} {status}");
            }
        }
    }
}

#[tokio::test]
async fn the_examples_of_the_document_work_on_the_sample_data() {
    let service = Service::healthy().await;
    let route = "/api/v1/insurances/{personalIdentityNumber}";
    let parameter = &service.document["paths"][route]["get"]["parameters"][0];
    let number = parameter["example"].as_str().unwrap();
    let path = route.replace("{personalIdentityNumber}", number);
    assert_eq!(service.api.get(&path).await.status, 200);
    let schema = &service.document["components"]["schemas"]["LookupRequest"];
    let body = &schema["properties"]["personalIdentityNumber"];
    let example = json!({ "personalIdentityNumber": body["example"] });
    assert_eq!(service.api.post(LOOKUP, &example).await.status, 200);
}

#[tokio::test]
async fn the_problem_documents_are_the_reviewed_ones() {
    let vehicle = FakeVehicle::start(|_| Reply::status(500)).await;
    let service = Service::with(vehicle, &[]).await;
    let api = &service.api;
    let unknown_member = json!({ "personalIdentityNumber": PERSON, "more": 1 });
    let wrong = json!({ "personalIdentityNumber": "1" });
    let unauthorized = http::Request::get("/api/v1/insurances/1").body(axum::body::Body::empty());
    let problems = [
        api.get("/api/v1/insurances/1").await,
        api.post(LOOKUP, &wrong).await,
        api.post(LOOKUP, &unknown_member).await,
        api.post_text(LOOKUP, "{").await,
        api.send(unauthorized.unwrap()).await,
        api.get("/api/v1/insurances/197001010000").await,
        api.get("/api/v1/unknown").await,
        api.get(LOOKUP).await,
        api.post_text(LOOKUP, &" ".repeat(65_537)).await,
        service.look_up_strictly(PERSON).await,
    ]
    .map(|answer| answer.problem());
    insta::assert_json_snapshot!("problems", problems);
}
