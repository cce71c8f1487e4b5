use std::time::Duration;

use axum::{Router, response::Response, routing::get};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_util::sync::CancellationToken;
use tower::util::MapResponse;

use super::{ListenerPort, converse};

#[tokio::test]
async fn a_request_that_has_arrived_when_the_server_closes_is_answered() {
    // Often, because which of two things that are ready comes first may be left to chance.
    for _ in 0..64 {
        let (mut caller, stream) = duplex(1024);
        let closing = CancellationToken::new();
        caller
            .write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            .await
            .unwrap();
        closing.cancel();
        let routes = Router::new().route("/", get(async || "done"));
        let routes = MapResponse::new(routes, std::convert::identity::<Response> as fn(_) -> _);
        let (port, limit) = (ListenerPort(0), Duration::from_secs(5));
        converse(stream, routes, port, limit, closing).await;
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"),
            "{answer}"
        );
    }
}
