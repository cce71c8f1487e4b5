use axum::http::StatusCode;
use test_support::API_KEY;

use crate::sample::{get_with_key, service};

#[tokio::test]
async fn a_route_that_nobody_thought_about_needs_a_key() {
    let (_, api) = service(&[]);
    for path in ["/own", "/nowhere"] {
        let answer = get_with_key(&api, path, None).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let answer = get_with_key(&api, "/own", Some(API_KEY)).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (StatusCode::OK, "own")
    );
}

#[tokio::test]
async fn a_key_is_asked_for_before_the_handler_runs() {
    let (_, api) = service(&[]);
    for path in ["/panics", "/hangs"] {
        let answer = get_with_key(&api, path, None).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn a_key_may_be_held_as_its_digest() {
    let (_, api) = service(&[(
        "SAMPLE__API_KEYS__HASHED__SHA256",
        "2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90",
    )]);
    let answer = get_with_key(&api, "/own", Some("alice")).await;
    assert_eq!(answer.status, StatusCode::OK);
}
