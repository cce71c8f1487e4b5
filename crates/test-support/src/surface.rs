//! What holds for every route of a service, whatever it does.

use http::{Method, StatusCode};
use serde_json::{Map, Value};

use crate::{API_KEY, Api, committed::assert_committed, keyless, send};

const OPERATOR: &str = "operator-key-0123456789";
const BOTH: &str = "both-key-0123456789";
const EXPIRED: &str = "expired-key-0123456789";

/// Settings of keys beside [`API_KEY`]: of an operator, of somebody who may do everything, and one
/// that has expired.
pub const KEYS: [(&str, &str); 7] = [
    ("API_KEYS__OPERATOR__KEY", OPERATOR),
    ("API_KEYS__OPERATOR__SCOPES", "operations"),
    ("API_KEYS__BOTH__KEY", BOTH),
    ("API_KEYS__BOTH__SCOPES", "api,operations"),
    ("API_KEYS__EXPIRED__KEY", EXPIRED),
    ("API_KEYS__EXPIRED__SCOPES", "api,operations"),
    ("API_KEYS__EXPIRED__EXPIRES_AT", "2020-01-01T00:00:00Z"),
];

/// The documented routes that need no key.
const OPEN: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/problems/{code}"];

/// Every method of HTTP, and one that it does not have.
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW",
];

/// Holds every route of a service that has [`KEYS`] to its scope, by every method, and the document
/// to the routes: which begin with `operated`, if any, are for operators.
pub async fn assert_keys_are_needed(api: &Api, document: &Value, operated: Option<&str>) {
    let operated = |path: &str| operated.is_some_and(|prefix| path.starts_with(prefix));
    let unknown = ["/", "/x", "/api/v1/operations", "/api/v1/operations/x"];
    let paths = document["paths"].as_object().unwrap().keys();
    assert!(paths.len() > OPEN.len(), "{document}");
    for path in paths.map(String::as_str).chain(unknown) {
        for method in METHODS {
            for (key, api_scope, operations_scope) in [
                ("", false, false),
                ("wrong-key-0123456789", false, false),
                (EXPIRED, false, false),
                (API_KEY, true, false),
                (OPERATOR, false, true),
                (BOTH, true, true),
            ] {
                let expected = match (api_scope, operations_scope) {
                    _ if OPEN.contains(&path) => 200,
                    (false, false) => 401,
                    _ if operated(path) && operations_scope => 200,
                    _ if !operated(path) && api_scope => 200,
                    _ => 403,
                };
                let told = told(api, method, path, key).await;
                assert_eq!(told, expected, "{method} {path} {key}");
            }
        }
    }
    for (path, operation) in operations(document) {
        let key = operation
            .get("security")
            .and_then(|keys| keys[0].as_object());
        let key = key.and_then(|key| key.iter().next());
        let expected = match path {
            path if OPEN.contains(&path) => None,
            path if operated(path) => Some(("operationsKey", "operations")),
            _ => Some(("apiKey", "api")),
        };
        let documented = key.map(|(scheme, scopes)| (&**scheme, scopes[0].as_str().unwrap()));
        assert_eq!(documented, expected, "{path}");
        assert_eq!(
            operation["responses"]["403"].is_object(),
            expected.is_some(),
            "{path}"
        );
        if let Some((scheme, _)) = expected {
            let scheme = &document["components"]["securitySchemes"][scheme];
            assert_eq!(
                (&scheme["in"], &scheme["name"]),
                (&"header".into(), &"X-Api-Key".into())
            );
        }
    }
}

/// 401, 403, or 200 for everything that is past the keys.
async fn told(api: &Api, method: &str, path: &str, key: &str) -> u16 {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = keyless(method, &path.replace(['{', '}'], "")).header("x-api-key", key);
    match send(api, request).await.status {
        StatusCode::UNAUTHORIZED => 401,
        StatusCode::FORBIDDEN => 403,
        _ => 200,
    }
}

/// Holds the document to the file that was reviewed, and each operation and answer to a description.
pub fn assert_documented(file: &str, document: &Value) {
    assert_committed(file, document);
    let told = |text: &Value| text.as_str().is_some_and(|text| !text.is_empty());
    for (path, operation) in operations(document) {
        assert!(
            told(&operation["summary"]) && told(&operation["operationId"]),
            "{path}"
        );
        for (status, answer) in operation["responses"].as_object().unwrap() {
            let answer = match answer["$ref"].as_str() {
                Some(shared) => document.pointer(&shared[1..]).unwrap(),
                None => answer,
            };
            assert!(told(&answer["description"]), "{path}: {status}");
        }
    }
}

/// Every operation with its path.
fn operations(document: &Value) -> impl Iterator<Item = (&str, &Map<String, Value>)> {
    let items = document["paths"].as_object().unwrap().iter();
    items.flat_map(|(path, item)| {
        let operations = item.as_object().unwrap().values();
        operations.map(|operation| (&**path, operation.as_object().unwrap()))
    })
}
