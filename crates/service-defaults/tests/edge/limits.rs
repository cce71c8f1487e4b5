use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use test_support::{keyed, keyless, send};

use super::sample::{ORDER, service};

const PATH: &str = "/own";
const ORDERS: &str = "/orders";

#[tokio::test]
async fn a_uri_over_the_limit_is_refused_before_its_key_is_looked_at() {
    let (_, api) = service(&[]);
    let of_length = |bytes: usize| format!("{PATH}?{}", "x".repeat(bytes - PATH.len() - 1));
    assert_eq!(api.get(&of_length(8192)).await.status, StatusCode::OK);
    let answer = send(&api, keyless(Method::GET, &of_length(8193))).await;
    assert_eq!(answer.status, StatusCode::URI_TOO_LONG);
    insta::assert_json_snapshot!("uri_too_long", answer.problem());
}

#[tokio::test]
async fn headers_over_the_limits_are_refused() {
    let (_, api) = service(&[]);
    let filler = "x".repeat(16 * 1024);
    let many: Vec<_> = (0..100)
        .map(|n| (format!("x-{n}"), String::new()))
        .collect();
    // Names count like values.
    let long_name = vec![("x".repeat(10_000), "x".repeat(6_500))];
    for headers in [vec![("x-filler".to_owned(), filler)], long_name, many] {
        let mut request = keyed(Method::GET, PATH);
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        let answer = send(&api, request).await;
        assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        insta::assert_json_snapshot!("headers_too_large", answer.problem());
    }
    // The key and the host are two of the 100.
    let request = (0..98).fold(keyed(Method::GET, PATH), |request, n| {
        request.header(format!("x-{n}"), "")
    });
    assert_eq!(send(&api, request).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_head_that_can_be_understood_in_two_ways_is_refused() {
    let (_, api) = service(&[]);
    for (name, value, problem) in [
        ("host", "a b", "invalid_host"),
        (
            "transfer-encoding",
            "gzip, chunked",
            "unknown_transfer_coding",
        ),
    ] {
        let request = keyed(Method::GET, PATH).header(name, value);
        let answer = send(&api, request).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        insta::assert_json_snapshot!(problem, answer.problem());
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let (_, api) = service(&[]);
    let of_length = |bytes: usize| format!("{ORDER}{}", " ".repeat(bytes - ORDER.len()));
    let answer = api.post_text(ORDERS, &of_length(65_536)).await;
    assert_eq!(answer.status, StatusCode::OK);
    let answer = api.post_text(ORDERS, &of_length(65_537)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    insta::assert_json_snapshot!("body_too_large", answer.problem());
}

#[tokio::test]
async fn a_body_is_not_read_without_a_key() {
    let (_, api) = service(&[]);
    let request = keyless(Method::POST, ORDERS).header("content-type", "application/json");
    let body = Body::from("x".repeat(70_000));
    let answer = api.send(request.body(body).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}
