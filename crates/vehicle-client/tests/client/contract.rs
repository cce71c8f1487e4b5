//! The consumer's half of the contract: what is sent to Vehicle, and which answers are understood.
//! `vehicle-service` replays the file at its real router.
//!
//! The file is a pact (specification 4), so that other tools read it too. It is written and
//! replayed by tests of our own: the dozens of crates of `pact_verifier` would do nothing more.

use serde_json::{Map, Value, json};
use test_support::{FakeVehicle, Reply, Request, assert_committed};
use vehicle_client::{Lookup, Strategy};

use crate::setup::{client, patient, unhurried};

const FILE: &str = "contracts/insurance-vehicle.json";
const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const SAMPLE: &str = "the sample data";

/// One use of Vehicle.
struct Need {
    description: &'static str,
    /// What must be so at Vehicle.
    state: &'static str,
    strategy: Strategy,
    numbers: &'static [&'static str],
    answer: Answer,
    /// What the client makes of the answer, for each number.
    understood: &'static [&'static str],
}

/// The part of an answer that the client reads.
struct Answer {
    status: u16,
    content_type: &'static str,
    /// Whether `Retry-After` must say when to come back.
    retry_after: bool,
    body: Value,
    /// The members whose values matter. Of the others only the types do.
    exact: &'static [&'static str],
}

fn needs() -> Vec<Need> {
    let vehicle = json!({ "registrationNumber": "ABC123", "make": "Volvo", "model": "XC60", "modelYear": 2021 });
    let problem = |status, retry_after, code: &str| Answer {
        status,
        content_type: PROBLEM,
        retry_after,
        body: json!({ "code": code }),
        exact: &["$.code"],
    };
    let single = |description, state, numbers, answer, understood| Need {
        description,
        state,
        strategy: Strategy::Single,
        numbers,
        answer,
        understood,
    };
    vec![
        single(
            "a vehicle",
            SAMPLE,
            &["ABC123"],
            Answer {
                status: 200,
                content_type: JSON,
                retry_after: false,
                body: vehicle.clone(),
                exact: &["$.registrationNumber"],
            },
            &["found"],
        ),
        single(
            "a number that no vehicle has",
            SAMPLE,
            &["ÅÄÖ 12"],
            problem(404, false, "vehicle_not_found"),
            &["not found"],
        ),
        Need {
            description: "several vehicles at once",
            state: SAMPLE,
            strategy: Strategy::Batch,
            numbers: &["ABC123", "ZZZ999"],
            answer: Answer {
                status: 200,
                content_type: JSON,
                retry_after: false,
                body: json!({ "vehicles": [vehicle], "notFound": ["ZZZ999"], "invalid": [] }),
                exact: &[
                    "$.vehicles[0].registrationNumber",
                    "$.notFound",
                    "$.invalid",
                ],
            },
            understood: &["found", "not found"],
        },
        single(
            "a call with a wrong key",
            "the key is unknown",
            &["ABC123"],
            problem(401, false, "unauthorized"),
            &["unauthorized"],
        ),
        single(
            "a call too many",
            "the key is over its rate",
            &["ABC123"],
            problem(429, true, "rate_limited"),
            &["rate_limited, come back"],
        ),
        single(
            "a call in an outage",
            "the database is away",
            &["ABC123"],
            problem(503, true, "database_unavailable"),
            &["server_error, come back"],
        ),
    ]
}

#[tokio::test]
async fn the_client_keeps_the_committed_contract() {
    let mut interactions = Vec::new();
    for need in needs() {
        let request = call(&need).await;
        interactions.push(interaction(&need, &request));
    }
    assert_committed(
        FILE,
        &json!({
            "consumer": { "name": "Insurance" },
            "provider": { "name": "Vehicle" },
            "interactions": interactions,
            "metadata": { "pactSpecification": { "version": "4.0" } },
        }),
    );
}

/// Lets the client call a fake that gives this answer, and sees whether it understands it.
async fn call(need: &Need) -> Request {
    let mut headers = vec![("content-type", need.answer.content_type.to_owned())];
    if need.answer.retry_after {
        headers.push(("retry-after", "1".to_owned()));
    }
    let reply = Reply::Answer(need.answer.status, headers, need.answer.body.to_string());
    let fake = FakeVehicle::start(move |_| reply.clone()).await;
    let mut options = patient(&fake);
    options.max_retries = 0;
    let lookups = client(&options)
        .all(need.numbers, need.strategy, &unhurried())
        .await;
    let understood: Vec<_> = need
        .numbers
        .iter()
        .map(|number| in_words(&lookups[&number.replace(' ', "")]))
        .collect();
    assert_eq!(understood, need.understood, "{}", need.description);
    fake.requests().remove(0)
}

fn in_words(lookup: &Lookup) -> String {
    match lookup {
        Lookup::Found { .. } => "found".to_owned(),
        Lookup::NotFound { .. } => "not found".to_owned(),
        Lookup::Unavailable(failure) => {
            let when = failure.retry_after.map_or("", |_| ", come back");
            format!("{}{when}", failure.kind.label())
        }
    }
}

fn interaction(need: &Need, request: &Request) -> Value {
    let answer = &need.answer;
    let mut expected = json!({
        "status": answer.status,
        "headers": { "content-type": [answer.content_type] },
        "body": body(answer.content_type, &answer.body),
    });
    let mut rules = Map::from_iter([("$".to_owned(), rule(&json!({ "match": "type" })))]);
    for path in answer.exact {
        rules.insert((*path).to_owned(), rule(&json!({ "match": "equality" })));
    }
    expected["matchingRules"] = json!({ "body": rules });
    if answer.retry_after {
        expected["headers"]["retry-after"] = json!(["1"]);
        let digits = json!({ "match": "regex", "regex": "^[0-9]+$" });
        expected["matchingRules"]["header"] = json!({ "retry-after": rule(&digits) });
    }
    json!({
        "type": "Synchronous/HTTP",
        "description": need.description,
        "providerStates": [{ "name": need.state }],
        "request": sent(request),
        "response": expected,
    })
}

/// A request as it was sent, but for what belongs to the connection and for the time that was left.
fn sent(request: &Request) -> Value {
    let mut headers = Map::new();
    for (name, value) in &request.headers {
        let value = match name.as_str() {
            "host" | "content-length" => continue,
            "x-deadline-ms" => {
                assert!(value.parse::<u32>().is_ok(), "{value}");
                "10000"
            }
            _ => value,
        };
        headers.insert(name.clone(), json!([value]));
    }
    let mut sent = json!({ "method": request.method, "path": request.path, "headers": headers });
    if !request.body.is_empty() {
        let content: Value = serde_json::from_str(&request.body).unwrap();
        sent["body"] = body(JSON, &content);
    }
    sent
}

fn body(content_type: &str, content: &Value) -> Value {
    json!({ "content": content, "contentType": content_type, "encoded": false })
}

fn rule(matcher: &Value) -> Value {
    json!({ "combine": "AND", "matchers": [matcher] })
}
