use std::sync::Arc;

use axum::{Router, routing::get};
use tokio::sync::Notify;

use crate::support::{Running, within};

/// A handler that says when it was entered and ends when it is told to.
#[derive(Clone, Default)]
struct Gate {
    entered: Arc<Notify>,
    opened: Arc<Notify>,
}

impl Gate {
    fn routes(&self) -> Router {
        let gate = self.clone();
        let pass = get(async move || {
            gate.entered.notify_one();
            gate.opened.notified().await;
            "passed"
        });
        Router::new()
            .route("/gate", pass)
            .route("/", get(async || "done"))
    }
}

const AT_ONCE: [(&str, &str); 2] = [("DRAIN_DELAY", "0s"), ("SHUTDOWN_TIMEOUT", "60s")];

#[tokio::test]
async fn a_request_in_flight_ends_well_after_nobody_listens_any_more() {
    let gate = Gate::default();
    let server = Running::start(&AT_ONCE, gate.routes()).await;
    let mut caller = server.connect().await;
    caller.get("/gate").await;
    within(gate.entered.notified()).await;
    server.shutdown.begin();
    server.until_refused().await;
    assert!(!server.end.is_finished());
    gate.opened.notify_one();
    let (head, body) = caller.answer().await;
    assert!(
        head.starts_with("http/1.1 200") && body == "passed",
        "{head}{body}"
    );
    assert_eq!(caller.rest().await, "");
    within(server.end).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_the_stop_up() {
    let patient = [
        ("HEADER_READ_TIMEOUT", "60s"),
        ("SHUTDOWN_TIMEOUT", "5m"),
        ("DRAIN_DELAY", "0s"),
    ];
    let server = Running::start(&patient, Gate::default().routes()).await;
    let mut caller = server.connect().await;
    caller.get("/").await;
    caller.answer().await;
    let mut silent = server.connect().await;
    server.shutdown.begin();
    within(server.end).await.unwrap().unwrap();
    assert_eq!(caller.rest().await, "");
    assert_eq!(silent.rest().await, "");
}

#[tokio::test]
async fn requests_are_served_while_draining_and_told_to_go_elsewhere() {
    let settings = [("DRAIN_DELAY", "5m")];
    let server = Running::behind_edge(&settings, Gate::default().routes()).await;
    let mut caller = server.connect().await;
    caller.get("/").await;
    assert!(!caller.answer().await.0.contains("connection: close"));
    server.shutdown.begin();
    let mut newcomer = server.connect().await;
    for caller in [&mut caller, &mut newcomer] {
        caller.get("/").await;
        let (head, body) = caller.answer().await;
        assert!(
            head.contains("connection: close") && body == "done",
            "{head}"
        );
        assert_eq!(caller.rest().await, "");
    }
    server.end.abort();
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_at_the_shutdown_timeout() {
    let gate = Gate::default();
    let settings = [("DRAIN_DELAY", "0s"), ("SHUTDOWN_TIMEOUT", "100ms")];
    let server = Running::start(&settings, gate.routes()).await;
    let mut caller = server.connect().await;
    caller.get("/gate").await;
    within(gate.entered.notified()).await;
    server.shutdown.begin();
    within(server.end).await.unwrap().unwrap();
    assert_eq!(caller.rest().await, "");
}
