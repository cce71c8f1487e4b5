use std::sync::{Arc, Mutex};

use axum::{Router, extract::Request, routing::get};
use test_support::metric;
use tokio::{io::AsyncWriteExt, sync::Notify};

use super::support::Running;

#[tokio::test]
async fn a_connection_over_the_limit_waits_until_another_closes() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let writer = log.clone();
    let note = get(async move |request: Request| {
        writer.lock().unwrap().push(request.uri().path().to_owned());
    });
    let routes = Router::new()
        .route("/first", note.clone())
        .route("/second", note);
    let server = Running::start(&[("MAX_CONNECTIONS", "1")], routes).await;
    let mut first = server.connect().await;
    first.get("/first").await;
    first.answer().await;
    let mut second = server.connect().await;
    second.get("/second").await;
    for _ in 0..200 {
        first.get("/first").await;
        first.answer().await;
    }
    assert!(!log.lock().unwrap().contains(&"/second".to_owned()));
    drop(first);
    second.answer().await;
    assert_eq!(log.lock().unwrap().last().unwrap(), "/second");
}

#[tokio::test]
async fn a_caller_that_goes_away_frees_its_place() {
    let routes = Router::new()
        .route("/hangs", get(std::future::pending::<()>))
        .route("/", get(async || "done"));
    let server = Running::impatient(&[("MAX_CONNECTIONS", "1")], routes).await;
    for _ in 0..5 {
        let mut gone = server.connect().await;
        gone.get("/hangs").await;
        drop(gone);
    }
    let mut caller = server.connect().await;
    caller.get("/").await;
    assert_eq!(caller.answer().await.1, "done");
}

#[tokio::test]
async fn a_caller_that_resets_its_connection_frees_its_place_at_once() {
    let routes = Router::new()
        .route("/hangs", get(std::future::pending::<()>))
        .route("/", get(async || "done"));
    let server = Running::start(&[("MAX_CONNECTIONS", "1")], routes).await;
    let mut gone = server.connect().await;
    gone.get("/hangs").await;
    gone.0.set_zero_linger().unwrap();
    drop(gone);
    let mut caller = server.connect().await;
    caller.get("/").await;
    assert_eq!(caller.answer().await.1, "done");
}

#[tokio::test]
async fn a_caller_that_sends_no_more_gets_its_answer() {
    let large = "x".repeat(16 * 1024 * 1024);
    let length = large.len();
    let slow = get(async || {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        "slow"
    });
    let routes = Router::new()
        .route("/quick", get(async || "quick"))
        .route("/slow", slow)
        .route("/large", get(async move || large.clone()));
    let server = Running::start(&[], routes).await;
    for (path, expected) in [("/quick", 5), ("/slow", 4), ("/large", length)] {
        let mut caller = server.connect().await;
        caller.get(path).await;
        caller.0.shutdown().await.unwrap();
        let (head, body) = caller.answer().await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert_eq!(body.len(), expected);
        assert_eq!(caller.rest().await, "");
    }
    // Two at once are no reason to lose the second.
    let mut caller = server.connect().await;
    caller.get("/slow").await;
    caller.get("/quick").await;
    caller.0.shutdown().await.unwrap();
    for body in ["slow", "quick"] {
        assert_eq!(caller.answer().await.1, body);
    }
}

#[tokio::test]
async fn a_request_that_comes_while_another_is_answered_is_answered_next() {
    let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (handler_entered, may_go_on) = (entered.clone(), go_on.clone());
    let first = get(async move || {
        handler_entered.notify_one();
        may_go_on.notified().await;
        "first"
    });
    let second = get(async || "second");
    let routes = Router::new()
        .route("/first", first)
        .route("/second", second);
    let server = Running::start(&[], routes).await;
    let mut caller = server.connect().await;
    caller.get("/first").await;
    entered.notified().await;
    caller.get("/second").await;
    // The server's own task reads it before the answer of another connection's request comes back.
    let mut other = server.connect().await;
    other.get("/second").await;
    assert_eq!(other.answer().await.1, "second");
    go_on.notify_one();
    for body in ["first", "second"] {
        let (head, answer) = caller.answer().await;
        assert_eq!(answer, body);
        assert!(!head.contains("connection: close"), "{head}");
    }
}

#[tokio::test]
async fn the_metrics_name_the_port_that_the_system_chose() {
    let routes = Router::new().route("/", get(async || "done"));
    let server = Running::behind_edge(&[("PORT", "0")], routes).await;
    let mut caller = server.connect().await;
    for path in ["/", "/metrics"] {
        caller.get(path).await;
        let (_, metrics) = caller.answer().await;
        if path == "/metrics" {
            let port = server.address.port().to_string();
            let counted = |port| {
                let count = "http_server_request_duration_seconds_count";
                metric(&metrics, count, &[("server_port", port)])
            };
            assert_eq!((counted(&port), counted("0")), (1, 0), "{metrics}");
        }
    }
}

#[tokio::test]
async fn requests_that_were_sent_together_are_answered_in_order() {
    let echo = get(async |request: Request| request.uri().path().to_owned());
    let routes = Router::new().route("/{word}", echo);
    let server = Running::start(&[], routes).await;
    let mut caller = server.connect().await;
    for path in ["/a", "/b", "/c"] {
        caller.get(path).await;
    }
    for path in ["/a", "/b", "/c"] {
        assert_eq!(caller.answer().await.1, path);
    }
}
