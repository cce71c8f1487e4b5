//! What holds for every route of a service, whatever it does.

use http::{Method, StatusCode};
use serde_json::{Map, Value};

use crate::{API_KEY, Api, committed::assert_committed, keyless, send};

const EXPIRED: &str = "expired-key-0123456789";

/// Settings of keys beside [`API_KEY`], which has the scope `api`: one for each other scope, and one
/// with all of them that has expired.
pub const KEYS: [(&str, &str); 15] = [
    ("API_KEYS__READER__KEY", "read-key-0123456789"),
    ("API_KEYS__READER__SCOPES", "read"),
    ("API_KEYS__WRITER__KEY", "write-key-0123456789"),
    ("API_KEYS__WRITER__SCOPES", "write"),
    ("API_KEYS__ADMIN__KEY", "admin-key-0123456789"),
    ("API_KEYS__ADMIN__SCOPES", "admin"),
    ("API_KEYS__FOLLOWER__KEY", "feed-key-0123456789"),
    ("API_KEYS__FOLLOWER__SCOPES", "feed"),
    ("API_KEYS__AUDITOR__KEY", "audit-key-0123456789"),
    ("API_KEYS__AUDITOR__SCOPES", "audit"),
    ("API_KEYS__OPERATOR__KEY", "operations-key-0123456789"),
    ("API_KEYS__OPERATOR__SCOPES", "operations"),
    ("API_KEYS__EXPIRED__KEY", EXPIRED),
    (
        "API_KEYS__EXPIRED__SCOPES",
        "read,write,admin,feed,audit,api,operations",
    ),
    ("API_KEYS__EXPIRED__EXPIRES_AT", "2020-01-01T00:00:00Z"),
];

/// What callers send, and the scope that it has, if it is a key that is good.
const HELD: [(&str, &str); 10] = [
    ("", ""),
    ("wrong-key-0123456789", ""),
    (EXPIRED, ""),
    (API_KEY, "api"),
    ("read-key-0123456789", "read"),
    ("write-key-0123456789", "write"),
    ("admin-key-0123456789", "admin"),
    ("feed-key-0123456789", "feed"),
    ("audit-key-0123456789", "audit"),
    ("operations-key-0123456789", "operations"),
];

/// What opens the lookups, and tells that a path is no route.
pub const READ: &[&str] = &["read", "api"];
/// What opens the control of the guard, and tells that a path of operators is no route.
pub const OPERATE: &[&str] = &["admin", "operations"];

/// The documented operations that need no key.
const OPEN: [&str; 4] = ["get_health", "get_readiness", "get_metrics", "get_problem"];

/// Every method of HTTP, and one that it does not have.
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW",
];

/// Holds every route of a service that has [`KEYS`] to the scopes that open it, by every method and
/// with a key of each scope, and the document to the same. `scopes` names them for each operation
/// that is not open to everybody.
pub async fn assert_keys_are_needed(
    api: &Api,
    document: &Value,
    scopes: &[(&str, &'static [&'static str])],
) {
    let opened_by = |operation: &Value| {
        let id = operation["operationId"].as_str().unwrap();
        let ruled = scopes.iter().find(|(operation, _)| *operation == id);
        assert!(
            ruled.is_some() != OPEN.contains(&id),
            "{id} is open or has scopes"
        );
        ruled.map(|(_, scopes)| *scopes)
    };
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > OPEN.len(), "{document}");
    for (path, item) in paths {
        for method in METHODS {
            let own = method.to_lowercase().replace("head", "get");
            // A method that the path lacks asks for what a lookup does.
            let mut named = [item.get(own), item.get("get")].into_iter().flatten();
            let operation = named.next().or(item.as_object().unwrap().values().next());
            let opened_by = opened_by(operation.unwrap());
            assert_asks_for(api, method, path, opened_by).await;
        }
    }
    let operated = paths
        .keys()
        .any(|path| path.starts_with("/api/v1/operations/"));
    for (path, opened_by) in [
        ("/", READ),
        ("/x", READ),
        ("/api/v1/operations", READ),
        (
            "/api/v1/operations/x",
            if operated { OPERATE } else { READ },
        ),
    ] {
        for method in METHODS {
            assert_asks_for(api, method, path, Some(opened_by)).await;
        }
    }
    for (path, operation) in operations(document) {
        let operation = Value::from(operation.clone());
        let opened_by = opened_by(&operation);
        let ways = operation["security"].as_array().unwrap().iter();
        let documented: Vec<_> = ways
            .filter_map(|way| way.as_object().unwrap().iter().next())
            .collect();
        let named: Vec<_> = documented
            .iter()
            .map(|(_, it)| it[0].as_str().unwrap())
            .collect();
        assert_eq!(named, opened_by.unwrap_or_default(), "{path}");
        assert_eq!(
            operation["responses"]["403"].is_object(),
            opened_by.is_some(),
            "{path}"
        );
        for (scheme, _) in documented {
            let scheme = &document["components"]["securitySchemes"][scheme];
            let sent = (&scheme["in"], &scheme["name"]);
            assert_eq!(sent, (&"header".into(), &"X-Api-Key".into()), "{path}");
        }
    }
}

/// Sends a request with each key.
async fn assert_asks_for(api: &Api, method: &str, path: &str, opened_by: Option<&[&str]>) {
    for (key, scope) in HELD {
        let expected = match opened_by {
            None => 200,
            Some(_) if scope.is_empty() => 401,
            Some(scopes) if scopes.contains(&scope) => 200,
            Some(_) => 403,
        };
        let told = told(api, method, path, key).await;
        assert_eq!(told, expected, "{method} {path} with {scope:?} ({key})");
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
