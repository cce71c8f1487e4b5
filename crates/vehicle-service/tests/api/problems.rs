use http::{Method, StatusCode};

use crate::service::{Service, keyed, send};

#[tokio::test]
async fn problems_of_the_path_are_as_reviewed() {
    let service = Service::start().await;
    for (name, path) in [
        ("invalid_registration_number_length", "/api/v1/vehicles/A"),
        (
            "invalid_registration_number_character",
            "/api/v1/vehicles/..",
        ),
        ("invalid_path", "/api/v1/vehicles/%FF"),
    ] {
        let answer = service.api.get(path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        insta::assert_json_snapshot!(name, answer.problem());
    }
}

#[tokio::test]
async fn the_problem_of_a_body_is_as_reviewed() {
    let service = Service::start().await;
    let answer = service
        .api
        .post_text("/api/v1/vehicles/batch", r#"{"registrationNumbers":[1]}"#)
        .await;
    insta::assert_json_snapshot!("invalid_body", answer.problem());
}

#[tokio::test]
async fn a_problem_may_not_be_stored() {
    let service = Service::start().await;
    for request in [
        keyed(Method::GET, "/api/v1/vehicles/ZZZ999"),
        keyed(Method::GET, "/nowhere"),
        keyed(Method::GET, "/api/v1/vehicles/?"),
    ] {
        let answer = send(&service.api, request).await;
        assert_eq!(answer.header("cache-control"), "no-store");
        let length = answer.header("content-length");
        assert!(length.is_empty() || length == answer.body.len().to_string());
    }
}
