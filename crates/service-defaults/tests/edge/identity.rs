use test_support::{Answer, Api};

use super::sample::service;

const PATH: &str = "/own";
const MISSING: &str = "/nowhere";

async fn with(api: &Api, name: &str, value: &str) -> Answer {
    api.get_with(PATH, &[(name, value)]).await
}

#[tokio::test]
async fn a_callers_request_id_comes_back() {
    let (_, api) = service(&[]);
    for id in ["core-42", &"x".repeat(128)] {
        let answer = with(&api, "x-request-id", id).await;
        assert_eq!(answer.header("x-request-id"), id);
    }
}

#[tokio::test]
async fn an_unusable_or_missing_request_id_is_replaced() {
    let (_, api) = service(&[]);
    let mut made = Vec::new();
    for id in ["", "a b", "<x>", "199001011234", &"x".repeat(129)] {
        let answer = with(&api, "x-request-id", id).await;
        let own = answer.header("x-request-id").to_owned();
        assert_eq!(own.len(), 36, "{own}");
        assert!(!made.contains(&own));
        made.push(own);
    }
}

#[tokio::test]
async fn a_callers_trace_goes_on_under_a_span_of_ours() {
    let (_, api) = service(&[]);
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = with(&api, "traceparent", parent).await;
    let own = answer.header("traceparent");
    assert!(
        own.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"),
        "{own}"
    );
    assert!(own.ends_with("-01") && own != parent, "{own}");
}

#[tokio::test]
async fn a_broken_trace_is_replaced() {
    let (_, api) = service(&[]);
    for parent in [
        "",
        "zz",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
    ] {
        let answer = with(&api, "traceparent", parent).await;
        let own = answer.header("traceparent");
        assert_eq!(own.len(), 55, "{own}");
        assert!(!own.contains(&"0".repeat(32)), "{own}");
    }
}

#[tokio::test]
async fn a_problem_names_the_ids_of_its_headers() {
    let (_, api) = service(&[]);
    let answer = api.get_with(MISSING, &[("x-request-id", "core-42")]).await;
    let problem = answer.json();
    assert_eq!(problem["requestId"], "core-42");
    let trace_id = answer.header("traceparent").split('-').nth(1).unwrap();
    assert_eq!(problem["traceId"], trace_id);
}
