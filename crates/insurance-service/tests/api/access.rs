//! Which key opens which route, by every method.

use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::Value;
use test_support::{API_KEY, FakeVehicle};

use crate::service::Service;

/// The documented routes that need no key.
const OPEN_ROUTES: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/problems/{code}"];

/// Every method of HTTP, and one that it does not have.
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW",
];

const OPERATOR: &str = "operator-key-0123456789";
const BOTH: &str = "both-key-0123456789";
const EXPIRED: &str = "expired-key-0123456789";

async fn service() -> Service {
    let settings = [
        ("API_KEYS__OPERATOR__KEY", OPERATOR),
        ("API_KEYS__OPERATOR__SCOPES", "operations"),
        ("API_KEYS__BOTH__KEY", BOTH),
        ("API_KEYS__BOTH__SCOPES", "api,operations"),
        ("API_KEYS__EXPIRED__KEY", EXPIRED),
        ("API_KEYS__EXPIRED__SCOPES", "api,operations"),
        ("API_KEYS__EXPIRED__EXPIRES_AT", "2020-01-01T00:00:00Z"),
    ];
    Service::with(FakeVehicle::healthy().await, &settings).await
}

/// 401, 403, or 200 for everything that is past the keys.
async fn told(service: &Service, method: &str, path: &str, key: &str) -> u16 {
    let request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(path.replace(['{', '}'], ""))
        .header("x-api-key", key)
        .body(Body::empty())
        .unwrap();
    match service.api.send(request).await.status {
        StatusCode::UNAUTHORIZED => 401,
        StatusCode::FORBIDDEN => 403,
        _ => 200,
    }
}

#[tokio::test]
async fn every_route_asks_for_a_key_with_its_scope_by_every_method() {
    let service = service().await;
    let documented = service.document["paths"].as_object().unwrap();
    assert!(documented.len() >= 7, "{}", documented.len());
    let unknown = ["/", "/x", "/api/v1/operations", "/api/v1/operations/x"];
    let paths = documented.keys().map(String::as_str).chain(unknown);
    for path in paths {
        let operated = path.starts_with("/api/v1/operations/");
        for method in METHODS {
            for (key, api, operations) in [
                ("", false, false),
                ("wrong-key-0123456789", false, false),
                (EXPIRED, false, false),
                (API_KEY, true, false),
                (OPERATOR, false, true),
                (BOTH, true, true),
            ] {
                let expected = match (api, operations) {
                    _ if OPEN_ROUTES.contains(&path) => 200,
                    (false, false) => 401,
                    _ if operated && operations || !operated && api => 200,
                    _ => 403,
                };
                let told = told(&service, method, path, key).await;
                assert_eq!(told, expected, "{method} {path} {key}");
            }
        }
    }
    assert_eq!(service.vehicle.calls(), 0);
}

#[tokio::test]
async fn the_document_names_the_scope_of_every_route_and_its_refusal() {
    let service = service().await;
    for (path, item) in service.document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let key = operation["security"][0].as_object().unwrap().iter().next();
            let (scheme, scope) =
                key.map_or(("", &Value::Null), |(name, scopes)| (&**name, &scopes[0]));
            let expected = match path.as_str() {
                path if OPEN_ROUTES.contains(&path) => None,
                path if path.starts_with("/api/v1/operations/") => Some("operations"),
                _ => Some("api"),
            };
            assert_eq!(scope.as_str(), expected, "{method} {path}");
            let schemes = &service.document["components"]["securitySchemes"];
            assert!(
                scheme.is_empty() || schemes[scheme]["name"] == "X-Api-Key",
                "{scheme}"
            );
            assert_eq!(
                scheme == "operationsKey",
                expected == Some("operations"),
                "{path}"
            );
            let refusal = operation["responses"]["403"].is_object();
            assert_eq!(refusal, expected.is_some(), "{method} {path}");
        }
    }
}
