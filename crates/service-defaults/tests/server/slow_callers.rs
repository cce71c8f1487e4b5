use std::time::Duration;

use axum::{Router, routing::get};
use tokio::io::AsyncWriteExt;

use super::support::{Running, process, within};

fn routes() -> Router {
    Router::new().route("/", get(async || "done"))
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let server = Running::impatient(&[], routes()).await;
    let mut caller = server.connect().await;
    assert_eq!(caller.rest().await, "");
}

#[tokio::test]
async fn a_connection_that_sends_half_a_head_is_closed() {
    let server = Running::impatient(&[], routes()).await;
    for half in [
        "G",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nHost: test\r\n",
    ] {
        let mut caller = server.connect().await;
        caller.write(half).await;
        assert!(!caller.rest().await.contains("HTTP/1.1 200"), "{half:?}");
    }
}

#[tokio::test]
async fn a_connection_that_trickles_its_head_is_closed() {
    let server = Running::impatient(&[], routes()).await;
    let mut caller = server.connect().await;
    caller.write("GET / HTTP/1.1\r\n").await;
    let (mut reading, mut writing) = caller.0.into_split();
    let trickle = async {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while writing.write_all(b"X-A: b\r\n").await.is_ok() {
            pace.tick().await;
        }
    };
    within(trickle).await;
    let mut rest = String::new();
    let _ = tokio::io::AsyncReadExt::read_to_string(&mut reading, &mut rest).await;
    assert!(!rest.contains("HTTP/1.1 200"), "{rest}");
}

#[tokio::test]
async fn a_connection_that_stays_idle_after_an_answer_is_closed() {
    let server = Running::impatient(&[], routes()).await;
    let mut caller = server.connect().await;
    caller.get("/").await;
    assert_eq!(caller.answer().await.1, "done");
    assert_eq!(caller.rest().await, "");
}

#[tokio::test]
async fn a_slow_handler_is_not_a_slow_caller() {
    let slow = get(async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        "slow"
    });
    let server = Running::impatient(&[], Router::new().route("/", slow)).await;
    let mut caller = server.connect().await;
    caller.get("/").await;
    assert_eq!(caller.answer().await.1, "slow");
}

#[tokio::test]
async fn a_caller_that_does_not_read_its_answer_loses_its_connection() {
    let large = get(async || vec![b'x'; 64 * 1024 * 1024]);
    let routes = routes().route("/large", large);
    let process = process(&[("MAX_CONNECTIONS", "1")]);
    let mut settings = process.settings().common.server.clone();
    settings.send_timeout = Duration::from_millis(100);
    let server = Running::serve_with(&process, settings, routes).await;
    let mut greedy = server.connect().await;
    greedy.get("/large").await;
    // Served only once the first connection has given up its place.
    let mut next = server.connect().await;
    next.get("/").await;
    assert_eq!(next.answer().await.1, "done");
}
