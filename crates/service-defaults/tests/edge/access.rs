use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use test_support::{API_KEY, keyless, send};

use super::sample::{get_with_key, service};

const OPERATIONS_KEY: &str = "operations-key-0123456789";
const BOTH_KEY: &str = "both-key-0123456789";

const WRITE_KEY: &str = "write-key-0123456789";

const SCOPED: [(&str, &str); 6] = [
    ("SAMPLE__API_KEYS__OPERATOR__KEY", OPERATIONS_KEY),
    ("SAMPLE__API_KEYS__OPERATOR__SCOPES", "operations"),
    ("SAMPLE__API_KEYS__BOTH__KEY", BOTH_KEY),
    ("SAMPLE__API_KEYS__BOTH__SCOPES", "api, operations"),
    ("SAMPLE__API_KEYS__WRITER__KEY", WRITE_KEY),
    ("SAMPLE__API_KEYS__WRITER__SCOPES", "write"),
];

#[tokio::test]
async fn a_route_that_nobody_thought_about_needs_a_key() {
    let (_, api) = service(&[]);
    for path in ["/own", "/nowhere"] {
        let answer = get_with_key(&api, path, None).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let answer = get_with_key(&api, "/own", Some(API_KEY)).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (StatusCode::OK, "own")
    );
}

#[tokio::test]
async fn a_key_is_asked_for_before_the_handler_runs() {
    let (_, api) = service(&[]);
    for path in ["/panics", "/hangs"] {
        let answer = get_with_key(&api, path, None).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn only_a_caller_that_may_use_a_route_learns_its_methods() {
    let (_, api) = service(&SCOPED);
    let long = format!("/own?{}", "x".repeat(9_000));
    for (path, key, status, allowed) in [
        ("/own", "", StatusCode::UNAUTHORIZED, ""),
        ("/own", "wrong-key-0123456789", StatusCode::UNAUTHORIZED, ""),
        ("/own", OPERATIONS_KEY, StatusCode::FORBIDDEN, ""),
        ("/own", WRITE_KEY, StatusCode::FORBIDDEN, ""),
        (&long, "", StatusCode::URI_TOO_LONG, ""),
        ("/nowhere", "", StatusCode::UNAUTHORIZED, ""),
        (
            "/own",
            API_KEY,
            StatusCode::METHOD_NOT_ALLOWED,
            "PUT,GET,HEAD",
        ),
    ] {
        for method in [Method::PATCH, Method::DELETE, Method::OPTIONS] {
            let request = Request::builder().method(&method).uri(path);
            let request = request.header("x-api-key", key).body(Body::empty());
            let answer = api.send(request.unwrap()).await;
            assert_eq!(answer.status, status, "{method} {path} {key}");
            assert_eq!(answer.header("allow"), allowed, "{method} {path} {key}");
        }
    }
}

#[tokio::test]
async fn a_key_may_be_held_as_its_digest() {
    let (_, api) = service(&[(
        "SAMPLE__API_KEYS__HASHED__SHA256",
        "2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90",
    )]);
    let answer = get_with_key(&api, "/own", Some("alice")).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_key_opens_the_routes_of_its_scopes_only() {
    let (_, api) = service(&SCOPED);
    for (path, found, key, opens) in [
        ("/own", StatusCode::OK, API_KEY, true),
        ("/own", StatusCode::OK, BOTH_KEY, true),
        ("/own", StatusCode::OK, OPERATIONS_KEY, false),
        ("/nowhere", StatusCode::NOT_FOUND, OPERATIONS_KEY, false),
        ("/api/v1/operations/own", StatusCode::OK, API_KEY, false),
        ("/api/v1/operations/own", StatusCode::OK, BOTH_KEY, true),
        (
            "/api/v1/operations/own",
            StatusCode::OK,
            OPERATIONS_KEY,
            true,
        ),
        (
            "/api/v1/operations/x",
            StatusCode::NOT_FOUND,
            API_KEY,
            false,
        ),
        (
            "/api/v1/operations/x",
            StatusCode::NOT_FOUND,
            OPERATIONS_KEY,
            true,
        ),
        (
            "/api/v1/operations",
            StatusCode::NOT_FOUND,
            OPERATIONS_KEY,
            false,
        ),
    ] {
        let answer = get_with_key(&api, path, Some(key)).await;
        let expected = if opens { found } else { StatusCode::FORBIDDEN };
        assert_eq!(answer.status, expected, "{path} {key}");
    }
}

#[tokio::test]
async fn the_methods_of_a_path_may_ask_for_different_scopes() {
    let (_, api) = service(&SCOPED);
    for (method, key, expected) in [
        (Method::GET, API_KEY, Ok("own")),
        (Method::GET, WRITE_KEY, Err("read")),
        (Method::PUT, WRITE_KEY, Ok("changed")),
        (Method::PUT, BOTH_KEY, Err("write")),
        (Method::PATCH, WRITE_KEY, Err("read")),
    ] {
        let answer = send(&api, keyless(method, "/own").header("x-api-key", key)).await;
        match expected {
            Ok(text) => assert_eq!(answer.text(), text),
            Err(scope) => {
                assert_eq!(answer.status, StatusCode::FORBIDDEN);
                let lacking = format!("This route needs a key with the scope `{scope}`.");
                assert_eq!(answer.problem()["detail"], lacking);
            }
        }
    }
}

#[tokio::test]
async fn a_key_without_the_scope_is_told_which_it_lacks() {
    let (_, api) = service(&SCOPED);
    let operations = get_with_key(&api, "/api/v1/operations/own", Some(API_KEY)).await;
    insta::assert_json_snapshot!("admin_scope", operations.problem());
    let own = get_with_key(&api, "/own", Some(OPERATIONS_KEY)).await;
    insta::assert_json_snapshot!("read_scope", own.problem());
}

#[tokio::test]
async fn scopes_are_asked_for_on_metrics_with_a_key_but_not_on_open_routes() {
    let (_, api) = service(&[
        SCOPED[0],
        SCOPED[1],
        ("SAMPLE__MANAGEMENT__METRICS_REQUIRE_KEY", "true"),
    ]);
    for (path, status) in [
        ("/metrics", StatusCode::FORBIDDEN),
        ("/healthz", StatusCode::OK),
        ("/openapi.json", StatusCode::OK),
    ] {
        let answer = get_with_key(&api, path, Some(OPERATIONS_KEY)).await;
        assert_eq!(answer.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_request_without_a_usable_key_is_refused() {
    let (_, api) = service(&[
        ("SAMPLE__API_KEYS__OLD__KEY", "expired-key-0123456789"),
        ("SAMPLE__API_KEYS__OLD__EXPIRES_AT", "2020-01-01T00:00:00Z"),
    ]);
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
        let mut request = keyless(Method::GET, "/own");
        for key in keys {
            request = request.header("x-api-key", *key);
        }
        let answer = send(&api, request).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{keys:?}");
        assert_eq!(answer.header("www-authenticate"), "ApiKey");
        insta::assert_json_snapshot!("unauthorized", answer.problem());
    }
}

#[tokio::test]
async fn a_key_is_taken_from_its_header_only() {
    let (_, api) = service(&[]);
    let request = keyless(Method::GET, &format!("/own?x-api-key={API_KEY}"))
        .header("authorization", format!("ApiKey {API_KEY}"))
        .header("cookie", format!("X-Api-Key={API_KEY}"));
    assert_eq!(send(&api, request).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_key_that_has_not_expired_yet_is_taken() {
    let (_, api) = service(&[
        ("SAMPLE__API_KEYS__NEW__KEY", "another-key-0123456789"),
        ("SAMPLE__API_KEYS__NEW__EXPIRES_AT", "9999-12-31T23:59:59Z"),
    ]);
    let request = keyless(Method::GET, "/own").header("x-api-key", "another-key-0123456789");
    assert_eq!(send(&api, request).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_route_needs_a_key_too() {
    let (_, api) = service(&[]);
    for path in [
        "/",
        "/api",
        "/own/",
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
        let answer = send(&api, keyless(Method::GET, path)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        let answer = api.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        insta::assert_json_snapshot!("route_not_found", answer.problem());
    }
}
