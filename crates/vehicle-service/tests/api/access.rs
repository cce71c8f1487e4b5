use axum::body::Body;
use http::{Method, StatusCode};
use service_defaults::openapi::operation_ids;
use test_support::API_KEY;

use crate::service::{Service, keyed, keyless, send};

const PATH: &str = "/api/v1/vehicles/ABC123";
/// The routes that need no key.
const OPEN_ROUTES: [&str; 8] = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/problems/{code}",
    "/swagger",
    "/swagger/",
    "/swagger/{*rest}",
];
/// Every method of HTTP, and one that it does not have.
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW",
];

#[tokio::test]
async fn every_route_asks_for_a_key_with_its_scope_by_every_method() {
    let service = Service::with(&[
        ("API_KEYS__OPERATOR__KEY", "operator-key-0123456789"),
        ("API_KEYS__OPERATOR__SCOPES", "operations"),
        ("API_KEYS__BOTH__KEY", "both-key-0123456789"),
        ("API_KEYS__BOTH__SCOPES", "api,operations"),
    ])
    .await;
    let operations = operation_ids(&service.assembled.document);
    assert!(operations.len() >= 5, "{}", operations.len());
    let documented = operations.into_iter().map(|(_, path, _)| path);
    let unknown = ["/api/v1/operations/x", "/x"];
    for path in documented.chain(unknown.map(str::to_owned)) {
        for method in METHODS {
            for (key, api, operations) in [
                ("", false, false),
                ("wrong-key-0123456789", false, false),
                (API_KEY, true, false),
                ("operator-key-0123456789", false, true),
                ("both-key-0123456789", true, true),
            ] {
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                let request = keyless(method.clone(), &path.replace(['{', '}'], ""));
                let answer = send(&service.api, request.header("x-api-key", key)).await;
                let told = match answer.status {
                    StatusCode::UNAUTHORIZED => 401,
                    StatusCode::FORBIDDEN => 403,
                    _ => 200,
                };
                let expected = match (api, operations) {
                    _ if OPEN_ROUTES.contains(&path.as_str()) => 200,
                    (false, false) => 401,
                    // It has no routes for operators.
                    _ if api => 200,
                    _ => 403,
                };
                assert_eq!(told, expected, "{method} {path} {key}");
            }
        }
    }
}

#[tokio::test]
async fn every_open_route_is_there() {
    let service = Service::start().await;
    for route in OPEN_ROUTES {
        let path = route
            .replace("{*rest}", "swagger-ui.css")
            .replace("{code}", "overloaded");
        let answer = send(&service.api, keyless(Method::GET, &path)).await;
        assert!(
            answer.status.is_success() || answer.status.is_redirection(),
            "{route}: {}",
            answer.status
        );
    }
}

#[tokio::test]
async fn another_method_is_refused_with_those_that_are_allowed() {
    let service = Service::start().await;
    for (method, path, allowed) in [
        (Method::DELETE, PATH, "GET,HEAD"),
        (Method::POST, PATH, "GET,HEAD"),
        (Method::OPTIONS, PATH, "GET,HEAD"),
        (Method::PUT, "/api/v1/vehicles/batch", "POST,GET,HEAD"),
        (Method::POST, "/healthz", "GET,HEAD"),
    ] {
        let request = keyed(method, path).body(Body::from("{}")).unwrap();
        let answer = service.api.send(request).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let sorted = |list: &str| {
            let mut methods: Vec<_> = list.split(',').map(str::to_owned).collect();
            methods.sort();
            methods
        };
        assert_eq!(sorted(answer.header("allow")), sorted(allowed), "{path}");
        insta::assert_json_snapshot!("method_not_allowed", answer.problem());
    }
}
