use std::sync::{Arc, Mutex};

use axum::{Router, extract::Request, routing::get};

use crate::support::Running;

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
    let server = Running::start(&[("MAX_CONNECTIONS", "1")], routes).await;
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
