use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use futures_util::stream;
use http::{Method, request::Builder};
use serde_json::{Value, json};

use crate::{
    Answer, Api, Issuer, Lie, TestDatabase,
    client::{keyed, keyless, send},
    committed::assert_file,
};

/// Headers that every answer has and no caller looks for, or that HTTP itself has.
const UNTOLD: [&str; 5] = [
    "content-length",
    "content-security-policy",
    "content-type",
    "referrer-policy",
    "x-content-type-options",
];

/// The examples of a service's OpenAPI document: requests that were made and what was answered.
/// Each answer is held to the document: its status, its media type and its headers are in it.
#[derive(Debug)]
pub struct Examples {
    document: Value,
    recorded: BTreeMap<String, Value>,
}

impl Examples {
    /// None yet, for this document.
    pub fn of(document: &Value) -> Self {
        Self {
            document: document.clone(),
            recorded: BTreeMap::new(),
        }
    }

    /// Takes the body of a request to an operation.
    pub fn request(&mut self, operation: &str, name: &str, body: &Value) {
        self.keep(&format!("{operation}.request.{name}"), body);
    }

    /// Takes an answer of an operation.
    pub fn answer(&mut self, operation: &str, name: &str, answer: &Answer) {
        let status = answer.status.as_str();
        let documented = &self.operation(operation)["responses"][status];
        let documented = self.resolved(documented);
        assert!(documented.is_object(), "{operation}: no {status}");
        let headers = documented["headers"].as_object();
        let told: BTreeSet<_> = headers
            .into_iter()
            .flat_map(|headers| headers.keys().map(|name| name.to_lowercase()))
            .collect();
        for (header, _) in &answer.headers {
            let known = UNTOLD.contains(&header.as_str()) || told.contains(header.as_str());
            assert!(known, "{operation} {status}: no header {header}");
        }
        let kind = answer.header("content-type").split(';').next().unwrap();
        if answer.body.is_empty() {
            return;
        }
        assert!(
            documented["content"][kind].is_object(),
            "{operation} {status}: no {kind}"
        );
        let value = match kind {
            "text/plain" => Value::from(timeless_note(&answer.text())),
            _ => timeless(answer.json()),
        };
        self.keep(&format!("{operation}.{status}.{name}"), &value);
    }

    /// Takes a problem of an operation under its code. No cache keeps it, and whoever is worth another
    /// try is told when.
    pub fn problem(&mut self, operation: &str, answer: &Answer) {
        let code = answer.problem()["code"].as_str().unwrap().to_owned();
        assert_eq!(answer.header("cache-control"), "no-store", "{code}");
        let again = matches!(answer.status.as_u16(), 429 | 503)
            || matches!(&*code, "busy" | "not_yet_signed");
        let after = answer.header("retry-after").parse::<u64>();
        assert_eq!(after.is_ok_and(|seconds| seconds > 0), again, "{code}");
        self.answer(operation, &code, answer);
    }

    /// Takes a problem that operations have in common: `head` for all, `edge` for all that ask for
    /// a key, `body` for all that take a body. It is held to the answers of this one.
    fn shared(&mut self, source: &str, operation: &str, answer: &Answer) {
        self.problem(operation, answer);
        let (status, code) = (answer.status, answer.problem()["code"].clone());
        let own = format!("{operation}.{}.{}", status.as_u16(), code.as_str().unwrap());
        let value = self.recorded.remove(&own).unwrap();
        self.recorded
            .insert(own.replacen(operation, source, 1), value);
    }

    fn keep(&mut self, name: &str, value: &Value) {
        let example = json!({ "value": value });
        let before = self.recorded.insert(name.to_owned(), example);
        assert!(before.is_none(), "two examples {name}");
    }

    fn operation(&self, id: &str) -> &Value {
        let items = self.document["paths"].as_object().unwrap().values();
        let mut operations = items.flat_map(|item| item.as_object().unwrap().values());
        operations
            .find(|operation| operation["operationId"] == id)
            .unwrap_or_else(|| panic!("no operation {id}"))
    }

    fn resolved<'a>(&'a self, node: &'a Value) -> &'a Value {
        match node["$ref"].as_str() {
            Some(reference) => self.document.pointer(&reference[1..]).unwrap(),
            None => node,
        }
    }

    /// Holds the file of the service to these, and the document to the file. Every answer of the
    /// document that has a body has an example.
    pub fn assert_committed(self, file: &str) {
        let recorded = json!(self.recorded);
        assert_file(file, &recorded);
        assert!(
            self.document["components"]["examples"] == recorded,
            "{file} was written; run the tests again, as the document is built with it"
        );
        for item in self.document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                for (status, response) in operation["responses"].as_object().unwrap() {
                    let content = self.resolved(response)["content"].as_object();
                    for body in content.into_iter().flat_map(|content| content.values()) {
                        // What `/metrics` answers differs each time.
                        let told = body["examples"].is_object()
                            || operation["operationId"] == "get_metrics";
                        assert!(
                            told,
                            "{}: {status} has no example",
                            operation["operationId"]
                        );
                    }
                }
            }
        }
    }
}

/// The operations of a service that stand for all.
#[derive(Clone, Copy, Debug)]
pub struct Routes {
    /// One without a body that reads the table.
    pub get: (&'static str, &'static str),
    /// One with a body.
    pub post: (&'static str, &'static str),
    /// The table, with its schema, and one of its columns.
    pub table: (&'static str, &'static str),
}

/// Takes every problem that operations have in common, from services that are started with these
/// settings.
pub async fn record_shared(
    examples: &mut Examples,
    start: impl AsyncFn(&[(&str, &str)]) -> (TestDatabase, Api),
    routes: Routes,
) {
    let (database, api) = start(&[]).await;
    let (get, path) = routes.get;
    let plain = |request: Builder| api.send(request.body(Body::empty()).unwrap());
    let get_request = || keyed(Method::GET, path);
    for (source, request) in [
        (
            "head",
            get_request().header("host", "a").header("host", "b"),
        ),
        ("head", get_request().header("transfer-encoding", "gzip")),
        ("head", get_request().header("content-length", "9999999999")),
        (
            "head",
            keyed(Method::GET, &format!("{path}?{}", "x".repeat(9_000))),
        ),
        ("head", get_request().header("x-filler", "x".repeat(20_000))),
        ("head", keyed(Method::PATCH, path)),
        ("edge", http::Request::get(path)),
        ("edge", get_request().header("x-deadline-ms", "soon")),
        ("edge", get_request().header("x-deadline-ms", "0")),
    ] {
        examples.shared(source, get, &plain(request).await);
    }
    record_bodies(examples, &api, routes.post).await;

    let lock = database.lock(routes.table.0).await;
    let (_, slow) = start(&[
        ("DATABASE__STATEMENT_TIMEOUT", "10ms"),
        ("DATABASE__URL", &database.url()),
    ])
    .await;
    examples.shared("edge", get, &slow.get(path).await);
    drop(lock);
    for setting in [
        "DATABASE__MAX_CONNECTIONS",
        "LIMITS__MAX_REQUESTS_IN_PROGRESS",
    ] {
        let (database, api) = start(&[(setting, "1"), ("DATABASE__ACQUIRE_TIMEOUT", "2s")]).await;
        let mut lock = database.lock(routes.table.0).await;
        let refused_while_one_waits = async {
            lock.queued(1).await;
            examples.shared("edge", get, &api.get(path).await);
            lock.release().await;
        };
        tokio::join!(api.get(path), refused_while_one_waits);
    }
    let (_, limited) = start(&[("RATE_LIMIT__REQUESTS_PER_SECOND", "1")]).await;
    limited.get(path).await;
    examples.shared("edge", get, &limited.get(path).await);
    record_tokens(examples, &start, routes.get).await;
    let nowhere = [
        ("DATABASE__URL", "postgres://127.0.0.1:1/none"),
        ("DATABASE__ACQUIRE_TIMEOUT", "50ms"),
    ];
    let (_, nowhere) = start(&nowhere).await;
    examples.shared("edge", get, &nowhere.get(path).await);
    let (table, column) = routes.table;
    database
        .execute(&format!(
            "alter table {table} rename column {column} to other"
        ))
        .await;
    examples.shared("edge", get, &api.get(path).await);
}

/// What a service answers to tokens that trusts an issuer of them.
async fn record_tokens(
    examples: &mut Examples,
    start: impl AsyncFn(&[(&str, &str)]) -> (TestDatabase, Api),
    (get, path): (&str, &str),
) {
    let issuer = Issuer::start().await;
    issuer.lie(Lie::Status);
    let settings = issuer.settings();
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    let (_database, api) = start(&settings).await;
    let token = [("authorization", "Bearer x")];
    examples.shared("edge", get, &api.get_with(path, &token).await);
    let request = keyless(Method::GET, path).header(token[0].0, token[0].1);
    examples.shared("edge", get, &send(&api, request).await);
}

async fn record_bodies(examples: &mut Examples, api: &Api, (post, path): (&str, &str)) {
    let json = || keyed(Method::POST, path).header("content-type", "application/json");
    let broken = stream::iter([Ok("{"), Err("the caller is gone")]);
    let endless = stream::pending::<Result<&str, &str>>();
    for (source, request) in [
        ("edge", json().body(Body::from_stream(broken))),
        (
            "edge",
            json()
                .header("x-deadline-ms", "20")
                .body(Body::from_stream(endless)),
        ),
        ("body", json().body(Body::from("{"))),
        (
            "body",
            json()
                .header("content-encoding", "gzip")
                .body(Body::from("{}")),
        ),
        ("body", keyed(Method::POST, path).body(Body::from("{}"))),
    ] {
        let answer = api.send(request.unwrap()).await;
        examples.shared(source, post, &answer);
    }
}

/// An answer with the ids and times of one that could have been given at another time.
fn timeless(mut value: Value) -> Value {
    for (member, told) in [
        ("requestId", "0193a3c6-5b8f-7a60-9d5c-0c3f5e7d2b11"),
        ("traceId", "4bf92f3577b34da6a3ce929d0e0e4736"),
    ] {
        if value.get(member).is_some() {
            value[member] = Value::from(told);
        }
    }
    if value["isolation"].is_object() {
        value["isolation"]["since"] = Value::from("2026-01-01T12:00:00Z");
        value["isolation"]["until"] = Value::from("2026-01-01T12:15:00Z");
        value["isolation"]["remainingSeconds"] = Value::from(900);
    }
    // A policy's entity tag begins with the log's id.
    let tag = value["currentETag"].as_str();
    if let Some((_, version)) = tag.and_then(|tag| tag.split_once('-')) {
        value["currentETag"] = Value::from(format!("\"0192-{version}"));
    }
    make_log_timeless(&mut value);
    value
}

const HASH: &str = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";

/// Events, windows and proofs of an event log.
fn make_log_timeless(value: &mut Value) {
    let members = match value {
        Value::Array(items) => return items.iter_mut().for_each(make_log_timeless),
        Value::Object(members) => members,
        _ => return,
    };
    if let Some(sequence) = members.get("sequence").and_then(Value::as_str) {
        let id = format!(
            "0192f3c4-5b8f-7a60-9d5c-{}",
            &sequence[sequence.len() - 12..]
        );
        members.insert("id".to_owned(), id.into());
    }
    for (member, value) in members {
        match (member.as_str(), value) {
            ("time", time) => *time = "2026-11-21T10:15:30.123456Z".into(),
            ("replayId", Value::String(id)) => {
                "0192f3c4-5b8f-7a60-9d5c-0c3f5e7d2b11".clone_into(id);
            }
            ("perSecond", Value::Number(rate)) => *rate = 0.into(),
            (
                "parkedAt" | "closedAt" | "updatedAt" | "seenAt" | "createdAt" | "endedAt"
                | "estimatedEndAt",
                Value::String(time),
            ) => {
                "2026-01-01T12:00:00Z".clone_into(time);
            }
            ("control", Value::Object(control)) => {
                control.insert("since".to_owned(), "2026-01-01T12:00:00Z".into());
            }
            ("lagSeconds", Value::Number(lag)) => *lag = 2.into(),
            ("placedAt", time) => *time = "2026-11-21T10:15:30.125000Z".into(),
            ("traceparent", Value::String(parent)) => {
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".clone_into(parent);
            }
            ("window", window) => {
                *window =
                    json!({ "from": "2026-10-22T10:15:30Z", "until": "2026-11-21T10:15:30Z" });
            }
            ("leafHash", hash) => *hash = HASH.into(),
            ("hashes", Value::Array(hashes)) => hashes.fill(HASH.into()),
            ("checkpoint", Value::String(note)) => *note = timeless_note(note),
            (_, value) => make_log_timeless(value),
        }
    }
}

/// A signed note, with another log, root and signature than its own; any other text as it is.
fn timeless_note(text: &str) -> String {
    let Some((said, signature)) = text.split_once("\n\n\u{2014} ") else {
        return text.to_owned();
    };
    let mut lines = said.lines();
    let (_, size) = (lines.next(), lines.next().unwrap());
    let name = signature.split(' ').next().unwrap();
    let signature = format!("{}{HASH}", "CQkJ".repeat(12));
    let log = "0192f3c4-5b8f-7a60-9d5c-0c3f5e7d2b11";
    let time = "2026-11-21T10:15:30.126000Z";
    format!("{name}/{log}\n{size}\n{HASH}\ntime {time}\n\n\u{2014} {name} {signature}\n")
}
