use axum::{Router, routing::post};
use service_defaults::extract::Json;
use test_support::metric;
use tokio::io::AsyncWriteExt;
use validator::Validate;

use super::support::{KEY, Running, within};

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
async fn a_body_that_stops_coming_is_its_callers_fault() {
    let server = Running::behind_edge(&[("REQUEST_DEADLINE", "100ms")], routes()).await;
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let mut caller = server.connect().await;
        caller.write(&head(framing)).await;
        caller.write("8\r\n{\"text\":").await;
        let (head, body) = caller.answer().await;
        assert!(head.starts_with("http/1.1 408"), "{head}");
        assert!(head.contains("connection: close"), "{head}");
        assert!(body.contains("body_too_slow"), "{body}");
        assert_eq!(caller.rest().await, "");
    }
}

#[tokio::test]
async fn slow_bodies_take_no_place_from_others() {
    let settings = [("LIMITS__MAX_REQUESTS_IN_PROGRESS", "2")];
    let server = Running::behind_edge(&settings, routes()).await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut caller = server.connect().await;
        caller.write(&head("Content-Length: 13")).await;
        caller.write(r#"{"text":"#).await;
        slow.push(caller);
    }
    let mut caller = server.connect().await;
    // All have been taken in, and this one.
    within(async {
        loop {
            caller.get("/metrics").await;
            let (_, metrics) = caller.answer().await;
            if metric(&metrics, "http_server_active_requests", &[]) == 9 {
                break;
            }
        }
    })
    .await;
    caller.write(&head("Content-Length: 13")).await;
    caller.write(r#"{"text":"ab"}"#).await;
    assert_eq!(caller.answer().await.1, "2");
    for mut caller in slow {
        caller.write(r#""ab"}"#).await;
        assert_eq!(caller.answer().await.1, "2");
    }
}

#[tokio::test]
async fn a_body_announced_over_the_limit_is_refused_from_the_head_alone() {
    let server = Running::behind_edge(&[], routes()).await;
    for more in ["", "\r\nExpect: 100-continue"] {
        let mut caller = server.connect().await;
        let framing = format!("Content-Length: 10000000000{more}");
        caller.write(&head(&framing)).await;
        let (head, body) = caller.answer().await;
        assert!(head.starts_with("http/1.1 413"), "{head}");
        assert!(head.contains("connection: close"), "{head}");
        assert!(body.contains("body_too_large"), "{body}");
        assert_eq!(caller.rest().await, "");
    }
}

#[tokio::test]
async fn a_caller_that_asks_first_is_told_to_go_on() {
    let server = Running::behind_edge(&[], routes()).await;
    let mut caller = server.connect().await;
    let framing = "Content-Length: 13\r\nExpect: 100-continue";
    caller.write(&head(framing)).await;
    assert!(caller.answer().await.0.starts_with("http/1.1 100"));
    caller.write(r#"{"text":"ab"}"#).await;
    let (head, body) = caller.answer().await;
    assert!(!head.contains("connection: close") && body == "2", "{head}");
}

#[tokio::test]
async fn an_answer_over_an_unread_body_closes_and_reaches_a_caller_that_still_sends() {
    let server = Running::behind_edge(&[], routes()).await;
    // More than the system keeps for a connection that nobody reads.
    let much = "x".repeat(16 * 1024 * 1024);
    for (key, length, status) in [("no key at all", 10, "401"), (KEY, much.len(), "413")] {
        let mut caller = server.connect().await;
        let head = head(&format!("Content-Length: {length}")).replace(KEY, key);
        caller.write(&head).await;
        within(caller.0.write_all(&much.as_bytes()[..length]))
            .await
            .unwrap();
        let (head, _) = caller.answer().await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        assert!(head.contains("connection: close"), "{head}");
        assert_eq!(caller.rest().await, "");
    }
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_no_body() {
    let server = Running::behind_edge(&[], routes()).await;
    let mut caller = server.connect().await;
    caller.write(&head("Content-Length: 100")).await;
    caller.write(r#"{"text":""}"#).await;
    caller.0.shutdown().await.unwrap();
    assert!(!caller.rest().await.contains("HTTP/1.1 200"));
}
