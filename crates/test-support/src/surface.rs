//! What holds for every route of a service, whatever it does.

use http::{Method, StatusCode};
use serde_json::{Map, Value};

use crate::{
    API_KEY, Answer, Api, Attack, Issuer, committed::assert_committed, keyless, send, until,
};

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
        let opened_by_key = opened_by.unwrap_or_default();
        // Tokens have no scopes of before there were the others.
        let own = opened_by_key.first().map(|own| ("accessToken", *own));
        let expected = opened_by_key.iter().map(|scope| ("X-Api-Key", *scope));
        let named: Vec<_> = documented
            .into_iter()
            .map(|(scheme, scopes)| {
                let about = &document["components"]["securitySchemes"][scheme];
                let sent = match about["type"].as_str().unwrap() {
                    "http" => scheme,
                    _ => about["name"].as_str().unwrap(),
                };
                (sent, scopes[0].as_str().unwrap())
            })
            .collect();
        assert_eq!(named, expected.chain(own).collect::<Vec<_>>(), "{path}");
        assert_eq!(
            operation["responses"]["403"].is_object(),
            opened_by.is_some(),
            "{path}"
        );
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

/// Holds each documented operation of a service that trusts this issuer to the scope of tokens that
/// it names, by a token of each scope, and refuses each of these attacks for what it is.
pub async fn assert_tokens_are_needed(api: &Api, issuer: &Issuer, attacks: &[Attack]) {
    until_keys_are_known(api).await;
    let document = api.get_open("/openapi.json").await.json();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let ways = operation["security"].as_array().unwrap();
            let own = ways.iter().find_map(|way| way["accessToken"][0].as_str());
            let Some(own) = own else {
                assert!(OPEN.contains(&operation["operationId"].as_str().unwrap()));
                continue;
            };
            let path = path.replace(['{', '}'], "");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            for scope in [
                "read",
                "write",
                "admin",
                "feed",
                "audit",
                "api",
                "operations",
            ] {
                let answer = bearing(api, &method, &path, &issuer.token(scope)).await;
                let lacks = answer.status == StatusCode::FORBIDDEN;
                let refused = answer.status == StatusCode::UNAUTHORIZED;
                assert!(
                    lacks == (scope != own) && !refused,
                    "{method} {path}: {scope}"
                );
            }
        }
    }
    for (name, token, why) in attacks {
        let answer = bearing(api, &Method::GET, "/nowhere", token).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name}");
        let problem = answer.problem();
        assert_eq!(problem["code"], "invalid_token", "{name}");
        let detail = format!("The token is refused: {why}.");
        assert_eq!(problem["detail"], detail, "{name}");
    }
}

async fn bearing(api: &Api, method: &Method, path: &str, token: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let request = keyless(method.clone(), path).header("authorization", authorization);
    send(api, request).await
}

/// Waits until a service says on `/readyz` that it knows the keys of its issuer.
pub async fn until_keys_are_known(api: &Api) {
    let good = |check: &Value| check["name"] == "tokens" && check["status"] == "pass";
    until(async || {
        let report = api.get_open("/readyz").await.json();
        report["checks"]
            .as_array()
            .unwrap()
            .iter()
            .find(|it| good(it))?;
        Some(())
    })
    .await;
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
