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
async fn a_request_without_a_usable_key_is_refused() {
    let service = Service::with(&[
        ("API_KEYS__OLD__KEY", "expired-key-0123456789"),
        ("API_KEYS__OLD__EXPIRES_AT", "2020-01-01T00:00:00Z"),
    ])
    .await;
    for keys in [
        &[][..],
        &[""],
        &["wrong-key-0123456789"],
        &["test-key-012345678"],
        &["test-key-01234567890"],
        &["TEST-KEY-0123456789"],
        &["expired-key-0123456789"],
        &[API_KEY, API_KEY],
        &[API_KEY, "wrong-key-0123456789"],
    ] {
        let mut request = keyless(Method::GET, PATH);
        for key in keys {
            request = request.header("x-api-key", *key);
        }
        let answer = send(&service.api, request).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{keys:?}");
        assert_eq!(answer.header("www-authenticate"), "ApiKey");
        insta::assert_json_snapshot!("unauthorized", answer.problem());
    }
}

#[tokio::test]
async fn a_key_is_taken_from_its_header_only() {
    let service = Service::start().await;
    let request = keyless(Method::GET, &format!("{PATH}?x-api-key={API_KEY}"))
        .header("authorization", format!("ApiKey {API_KEY}"))
        .header("cookie", format!("X-Api-Key={API_KEY}"));
    assert_eq!(
        send(&service.api, request).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_key_that_has_not_expired_yet_is_taken() {
    let service = Service::with(&[
        ("API_KEYS__NEW__KEY", "another-key-0123456789"),
        ("API_KEYS__NEW__EXPIRES_AT", "9999-12-31T23:59:59Z"),
    ])
    .await;
    let request = keyless(Method::GET, PATH).header("x-api-key", "another-key-0123456789");
    assert_eq!(send(&service.api, request).await.status, StatusCode::OK);
}

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
async fn what_is_no_route_needs_a_key_too() {
    let service = Service::start().await;
    for path in [
        "/",
        "/api",
        "/api/v1/vehicles",
        "/admin",
        "/healthz/",
        "/readyz/x",
        "/metrics/x",
        "//healthz",
        "/HEALTHZ",
        "/healthz%2F..",
        "/openapi.json/",
        "/swaggerx",
        "/favicon.ico",
    ] {
        let answer = send(&service.api, keyless(Method::GET, path)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        let answer = service.api.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        insta::assert_json_snapshot!("route_not_found", answer.problem());
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
