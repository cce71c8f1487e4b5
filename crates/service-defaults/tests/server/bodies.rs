use axum::{Router, routing::post};
use service_defaults::extract::Json;
use validator::Validate;

use crate::support::{KEY, Running};

#[derive(serde::Deserialize, Validate)]
struct Text {
    text: String,
}

fn routes() -> Router {
    let length = post(async |Json(body): Json<Text>| body.text.len().to_string());
    Router::new().route("/length", length)
}

fn head(framing: &str) -> String {
    format!(
        "POST /length HTTP/1.1\r\nHost: test\r\nX-Api-Key: {KEY}\r\n\
         Content-Type: application/json\r\n{framing}\r\n\r\n"
    )
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

#[tokio::test]
async fn a_body_in_chunks_is_read() {
    let server = Running::behind_edge(&[], routes()).await;
    let mut caller = server.connect().await;
    caller.write(&head("Transfer-Encoding: chunked")).await;
    for part in [r#"{"text":"#, r#""four"}"#, ""] {
        caller.write(&chunk(part)).await;
    }
    assert_eq!(caller.answer().await.1, "4");
}

#[tokio::test]
async fn a_body_in_chunks_is_held_to_the_limit() {
    let server = Running::behind_edge(&[], routes()).await;
    let mut caller = server.connect().await;
    caller.write(&head("Transfer-Encoding: chunked")).await;
    caller.write(&chunk(r#"{"text":""#)).await;
    for _ in 0..17 {
        caller.write(&chunk(&"x".repeat(4_096))).await;
    }
    // The body has not ended and never will.
    let (head, body) = caller.answer().await;
    assert!(head.starts_with("http/1.1 413"), "{head}");
    assert!(body.contains("body_too_large"), "{body}");
}

#[tokio::test]
async fn a_body_that_stops_coming_is_ended_by_the_deadline() {
    let server = Running::behind_edge(&[("REQUEST_DEADLINE", "100ms")], routes()).await;
    let mut caller = server.connect().await;
    caller.write(&head("Content-Length: 100")).await;
    caller.write(r#"{"text":"#).await;
    let (head, body) = caller.answer().await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert!(body.contains("deadline_exceeded"), "{body}");
    assert_eq!(caller.rest().await, "");
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_no_body() {
    let server = Running::behind_edge(&[], routes()).await;
    let mut caller = server.connect().await;
    caller.write(&head("Content-Length: 100")).await;
    caller.write(r#"{"text":""}"#).await;
    tokio::io::AsyncWriteExt::shutdown(&mut caller.0)
        .await
        .unwrap();
    assert!(!caller.rest().await.contains("HTTP/1.1 200"));
}
