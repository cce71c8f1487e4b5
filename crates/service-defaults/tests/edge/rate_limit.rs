use axum::http::StatusCode;
use test_support::{API_KEY, Answer, Api};

use super::sample::{get_with_key, service};

const OTHER_KEY: &str = "other-key-0123456789";

const LIMITED: [(&str, &str); 2] = [
    ("SAMPLE__RATE_LIMIT__REQUESTS_PER_SECOND", "3"),
    ("SAMPLE__API_KEYS__OTHER__KEY", OTHER_KEY),
];

/// Asks until the key is refused; a slow machine may earn a few more tokens meanwhile.
async fn until_refused(api: &Api) -> Answer {
    for _ in 0..1_000 {
        let answer = api.get("/own").await;
        if answer.status != StatusCode::OK {
            return answer;
        }
    }
    panic!("1000 requests and none was refused");
}

#[tokio::test]
async fn a_key_over_its_rate_is_refused_and_told_when_to_come_back() {
    let (_, api) = service(&LIMITED);
    let answer = until_refused(&api).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.header("ratelimit"), "\"per-key\";r=0;t=1");
    assert_eq!(answer.header("ratelimit-policy"), "\"per-key\";q=3;w=1");
    insta::assert_json_snapshot!("rate_limited", answer.problem());
}

#[tokio::test]
async fn a_caller_is_told_what_is_left() {
    let (_, api) = service(&LIMITED);
    let answer = api.get("/own").await;
    assert_eq!(answer.header("ratelimit"), "\"per-key\";r=2;t=1");
    assert_eq!(answer.header("ratelimit-policy"), "\"per-key\";q=3;w=1");
}

#[tokio::test]
async fn one_keys_rate_costs_another_key_and_the_platform_nothing() {
    let (_, api) = service(&LIMITED);
    until_refused(&api).await;
    let other = get_with_key(&api, "/own", Some(OTHER_KEY)).await;
    assert_eq!(other.status, StatusCode::OK);
    for path in ["/healthz", "/metrics"] {
        let answer = get_with_key(&api, path, Some(API_KEY)).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn there_is_no_limit_unless_one_is_set() {
    let (_, api) = service(&[]);
    for _ in 0..200 {
        let answer = api.get("/own").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.header("ratelimit").is_empty());
    }
}
