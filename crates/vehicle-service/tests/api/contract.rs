//! The provider's half of the contract that Insurance's client records: each request, replayed at
//! the real router, gets what the client needs.

use axum::body::Body;
use http::Request;
use serde_json::Value;
use test_support::{API_KEY, Answer, nowhere};

use super::service::Service;

const CONTRACT: &str = include_str!("../../../../docs/contracts/insurance-vehicle.json");

#[tokio::test]
async fn vehicle_keeps_its_contract_with_insurance() {
    let contract: Value = serde_json::from_str(CONTRACT).unwrap();
    let interactions = contract["interactions"].as_array().unwrap();
    assert!(!interactions.is_empty());
    for interaction in interactions {
        let answer = replay(interaction).await;
        check(interaction, &answer);
    }
}

/// Sends the request to a Vehicle in the state that the interaction asks for.
async fn replay(interaction: &Value) -> Answer {
    let request = &interaction["request"];
    let (_socket, away) = nowhere();
    let [state] = interaction["providerStates"].as_array().unwrap().as_slice() else {
        panic!("{interaction}: not one state");
    };
    match state["name"].as_str().unwrap() {
        "the sample data" => send(&Service::start().await, request, API_KEY).await,
        "the key is unknown" => {
            let key = request["headers"]["x-api-key"][0].as_str().unwrap();
            send(&Service::start().await, request, key).await
        }
        "the key is over its rate" => {
            let one_a_second = ("RATE_LIMIT__REQUESTS_PER_SECOND", "1");
            let service = Service::with(&[one_a_second]).await;
            for _ in 0..100 {
                let answer = send(&service, request, API_KEY).await;
                if answer.status != 200 {
                    return answer;
                }
            }
            panic!("100 requests and none was refused");
        }
        "the database is away" => {
            let gone = [
                ("DATABASE__URL", away.as_str()),
                ("DATABASE__ACQUIRE_TIMEOUT", "50ms"),
            ];
            send(&Service::with(&gone).await, request, API_KEY).await
        }
        unknown => panic!("no such state: {unknown}"),
    }
}

async fn send(service: &Service, request: &Value, key: &str) -> Answer {
    let mut sent = Request::builder()
        .method(request["method"].as_str().unwrap())
        .uri(request["path"].as_str().unwrap());
    for (name, values) in request["headers"].as_object().unwrap() {
        let value = match name.as_str() {
            "x-api-key" => key,
            _ => values[0].as_str().unwrap(),
        };
        sent = sent.header(name, value);
    }
    let body = match request.get("body") {
        None => Body::empty(),
        Some(body) => Body::from(body["content"].to_string()),
    };
    service.api.send(sent.body(body).unwrap()).await
}

/// Status, headers and body are what the client needs; more members do no harm.
fn check(interaction: &Value, answer: &Answer) {
    let (what, needed) = (&interaction["description"], &interaction["response"]);
    assert_eq!(needed["status"], answer.status.as_u16(), "{what}");
    for (name, values) in needed["headers"].as_object().unwrap() {
        let (value, rules) = (answer.header(name), &needed["matchingRules"]["header"]);
        match &rules[name]["matchers"][0]["regex"] {
            Value::Null => assert_eq!(value, values[0], "{what}: {name}"),
            regex => {
                assert_eq!(regex, "^[0-9]+$", "{what}: {name}");
                assert!(value.parse::<u64>().is_ok(), "{what}: {name}: {value}");
            }
        }
    }
    let matching = Matching {
        what,
        rules: &needed["matchingRules"]["body"],
    };
    matching.check("$", &needed["body"]["content"], &answer.json(), "type");
}

struct Matching<'a> {
    what: &'a Value,
    rules: &'a Value,
}

impl Matching<'_> {
    /// By the rule for this path, or else by that of the nearest path around it.
    fn check(&self, path: &str, needed: &Value, given: &Value, outer: &str) {
        let rule = &self.rules[path]["matchers"][0]["match"];
        let rule = rule.as_str().unwrap_or(outer);
        let at = format!("{}: {path}: {given} for {needed}", self.what);
        match (rule, needed, given) {
            ("equality", needed, given) => assert_eq!(needed, given, "{at}"),
            ("type", Value::Object(needed), Value::Object(given)) => {
                for (name, needed) in needed {
                    let given = given.get(name).unwrap_or_else(|| panic!("{at}: no {name}"));
                    self.check(&format!("{path}.{name}"), needed, given, rule);
                }
            }
            ("type", Value::Array(needed), Value::Array(given)) => {
                assert_eq!(needed.len(), given.len(), "{at}");
                for (index, (needed, given)) in needed.iter().zip(given).enumerate() {
                    self.check(&format!("{path}[{index}]"), needed, given, rule);
                }
            }
            ("type", Value::String(_), Value::String(_))
            | ("type", Value::Number(_), Value::Number(_)) => {}
            _ => panic!("{at}: not by the rule {rule}"),
        }
    }
}
