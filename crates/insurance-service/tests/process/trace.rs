use std::time::Duration;

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};
use test_support::{Answer, Collector, FakeVehicle, Reply, Running, Span};

use tokio::time::timeout;

use super::binary::seeded;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const PERSON: &str = "199001011234";

#[tokio::test]
async fn one_request_is_one_trace_and_each_attempt_one_of_its_own_that_is_linked_to_it() {
    let collector = Collector::start().await;
    let vehicle = FakeVehicle::start(|request| match request.number {
        1 => Reply::status(503),
        _ => Reply::healthy(request),
    })
    .await;
    let running = seeded(&vehicle)
        .await
        .with("TELEMETRY__OTLP_ENDPOINT", &collector.endpoint)
        .serve()
        .await;
    let path = format!("/api/v1/insurances/{PERSON}");
    // Earns the retry, in a trace that is not kept.
    let other = format!("00-{}-{CALLER}-00", TRACE.replace('4', "5"));
    running.at.get_with(&path, &[("traceparent", &other)]).await;
    let parent = format!("00-{TRACE}-{CALLER}-01");
    let answer = running
        .at
        .get_with(&path, &[("traceparent", &parent)])
        .await;
    assert_eq!(answer.json()["enrichment"], "complete");
    let ended = running.stop().await.unwrap();
    assert_eq!(ended.code, Some(0));

    let spans = collector.spans();
    let named = |name: &str| -> Vec<Span> {
        let named = spans.iter().filter(|span| span.name == name);
        named.cloned().collect()
    };
    let server = named("GET /api/v1/insurances/{personalIdentityNumber}");
    let enrich = named("enrich");
    let mut attempts = named("call vehicle");
    attempts.retain(|attempt| attempt.links.iter().any(|(trace, _)| trace == TRACE));
    let query = named("find_of_person");
    assert_eq!(
        [
            server.len(),
            enrich.len(),
            attempts.len(),
            query.len(),
            spans.len()
        ],
        // With the attempt of the other request.
        [1, 1, 2, 1, 6],
        "{spans:?}"
    );
    for span in [&server, &enrich, &query] {
        assert_eq!(span[0].trace_id, TRACE);
    }
    assert_eq!(server[0].parent, CALLER);
    assert_eq!(server[0].attributes["key_id"], "test");
    assert!(!server[0].failed);
    assert_eq!(enrich[0].parent, server[0].id);
    assert_eq!(query[0].parent, server[0].id);
    for (attempt, request) in attempts.iter().zip(&vehicle.requests()[1..]) {
        // It may outlast the request.
        assert_eq!(attempt.parent, "");
        assert_ne!(attempt.trace_id, TRACE);
        assert_eq!(attempt.links, [(TRACE.to_owned(), enrich[0].id.clone())]);
        let sent = format!("00-{}-{}-01", attempt.trace_id, attempt.id);
        assert_eq!(request.header("traceparent"), Some(sent.as_str()));
    }
    let own = format!("00-{TRACE}-{}-01", server[0].id);
    assert_eq!(answer.header("traceparent"), own);
    for secret in [PERSON, "19900101-1234", "9001011234", "ABC123"] {
        assert!(!collector.text().contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn the_span_of_a_request_that_failed_says_so() {
    let collector = Collector::start().await;
    let vehicle = FakeVehicle::start(|_| Reply::status(500)).await;
    let running = seeded(&vehicle)
        .await
        .with("TELEMETRY__OTLP_ENDPOINT", &collector.endpoint)
        .serve()
        .await;
    let path = format!("/api/v1/insurances/{PERSON}");
    let strict = [("prefer", "handling=strict")];
    assert_eq!(running.at.get_with(&path, &strict).await.status, 503);
    assert_eq!(running.at.get("/nowhere").await.status, 404);
    assert_eq!(running.stop().await.unwrap().code, Some(0));
    let spans = collector.spans();
    let failed = |name: &str| {
        let span = spans.iter().find(|span| span.name.starts_with(name));
        span.unwrap_or_else(|| panic!("{name}: {spans:?}")).failed
    };
    assert!(failed("GET /api/v1/insurances"));
    // A caller's mistake is none of ours (OpenTelemetry HTTP semantic conventions).
    let unknown = spans.iter().find(|span| span.name == "GET ");
    assert!(!unknown.unwrap().failed, "{spans:?}");
}

#[tokio::test]
async fn a_collector_that_is_away_harms_no_request() {
    let vehicle = FakeVehicle::healthy().await;
    let running = seeded(&vehicle)
        .await
        .with("TELEMETRY__OTLP_ENDPOINT", "http://127.0.0.1:1/v1/traces")
        .serve()
        .await;
    let answer = running
        .at
        .get(&format!("/api/v1/insurances/{PERSON}"))
        .await;
    assert_eq!(answer.json()["enrichment"], "complete");
    assert_eq!(running.stop().await.unwrap().code, Some(0));
}

const DESK: &str = "desk-key-0123456789";
const CAUSE: &str = "0192f3c4-0000-7000-8000-00000000abcd";

/// A request of somebody who says in which request and by which event it began.
async fn ask(running: &Running, method: Method, path: &str, tag: &str, body: Value) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    let key = format!("key-{:032x}", body.to_string().len());
    let parent = format!("00-{TRACE}-{CALLER}-01");
    for (name, value) in [
        ("x-api-key", DESK),
        ("content-type", "application/json"),
        ("x-request-id", "order-42"),
        ("x-causation-id", CAUSE),
        ("traceparent", &parent),
        ("idempotency-key", &key),
        ("if-match", tag),
    ] {
        if !value.is_empty() {
            request = request.header(name, value);
        }
    }
    let request = request.body(Body::from(body.to_string())).unwrap();
    running.at.send(request).await.unwrap()
}

/// From the caller's request id to the call, the log line, the span and the event.
#[tokio::test]
async fn every_hop_of_a_change_carries_the_request_in_which_it_began_and_its_cause() {
    let collector = Collector::start().await;
    let vehicle = FakeVehicle::healthy().await;
    let running = seeded(&vehicle)
        .await
        .with("TELEMETRY__OTLP_ENDPOINT", &collector.endpoint)
        .with("API_KEYS__DESK__KEY", DESK)
        .with("API_KEYS__DESK__SCOPES", "read,write,audit")
        .serve()
        .await;
    let policies = "/api/v1/policies";
    let draft = json!({ "personalIdentityNumber": "199001011234", "product": "car",
        "carRegistrationNumber": "GHI789", "validFrom": "2030-01-01", "validUntil": null });
    let drafted = ask(&running, Method::POST, policies, "", draft).await;
    assert_eq!(drafted.status, 201, "{}", drafted.text());
    let path = format!("{policies}/{}/transitions", drafted.json()["insuranceId"]);
    let activate = json!({ "to": "active", "reason": "requested_by_customer" });
    let tag = drafted.header("etag");
    let activated = ask(&running, Method::POST, &path, tag, activate).await;
    assert_eq!(activated.status, 200, "{}", activated.text());

    let sent = vehicle.requests();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].header("x-request-id"), Some("order-42"));
    let path = "/api/v1/audit/events?correlationId=order-42";
    let placed = async {
        loop {
            let page = ask(&running, Method::GET, path, "", Value::Null).await;
            let events = page.json()["events"].as_array().unwrap().clone();
            if events.len() == 2 {
                return events;
            }
            tokio::task::yield_now().await;
        }
    };
    let events = timeout(Duration::from_secs(20), placed).await.unwrap();
    let ended = running.stop().await.unwrap();
    let spans = collector.spans();
    for (event, kind, answer, route) in [
        (
            &events[0],
            "policy.activated.v1",
            &activated,
            "POST /api/v1/policies/{insuranceId}/transitions",
        ),
        (
            &events[1],
            "policy.drafted.v1",
            &drafted,
            "POST /api/v1/policies",
        ),
    ] {
        assert_eq!(event["type"], kind);
        assert_eq!(event["correlationid"], "order-42");
        assert_eq!(event["causationid"], CAUSE);
        assert_eq!(event["authid"], "key/desk");
        assert_eq!(event["traceparent"], answer.header("traceparent"));
        let span = spans.iter().find(|span| span.name == route).unwrap();
        let own = format!("00-{TRACE}-{}-01", span.id);
        assert_eq!(
            (event["traceparent"].as_str(), &*span.parent),
            (Some(&*own), CALLER)
        );
        assert_eq!(span.attributes["request_id"], "order-42");
        let (method, route) = route.split_once(' ').unwrap();
        let line = ended.lines.iter().find(|line| {
            line["message"] == "request ended" && line["method"] == method && line["route"] == route
        });
        let line = line.unwrap();
        assert_eq!(
            (&line["request_id"], &line["trace_id"]),
            (&json!("order-42"), &json!(TRACE))
        );
    }
}
