use test_support::{Collector, FakeVehicle, Reply, Span};

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
