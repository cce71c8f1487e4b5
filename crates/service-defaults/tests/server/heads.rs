use axum::{Router, routing::get};

use super::support::{KEY, Running};

fn routes() -> Router {
    Router::new().route("/own", get(async || "own"))
}

fn headers(count: usize) -> String {
    let lines: Vec<_> = (0..count).map(|n| format!("X-{n}: y\r\n")).collect();
    lines.concat()
}

#[tokio::test]
async fn a_head_over_our_limits_is_answered_with_a_problem() {
    let server = Running::behind_edge(&[], routes()).await;
    let many = headers(200);
    for (path, headers, status, code) in [
        ("x".repeat(32_768), String::new(), "414", "uri_too_long"),
        (
            String::new(),
            format!("X: {}\r\n", "y".repeat(49_152)),
            "431",
            "headers_too_large",
        ),
        (String::new(), many, "431", "headers_too_large"),
    ] {
        let mut caller = server.connect().await;
        let request = format!("GET /{path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
        caller.write(&request).await;
        let (head, body) = caller.answer().await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        assert!(body.contains(code), "{body}");
    }
}

#[tokio::test]
async fn a_head_over_the_parsers_limits_is_refused_and_its_connection_closed() {
    let server = Running::behind_edge(&[], routes()).await;
    let many = headers(300);
    for (path, headers, status) in [
        ("x".repeat(70_000), String::new(), "414"),
        (
            String::new(),
            format!("X: {}\r\n", "y".repeat(200_000)),
            "431",
        ),
        (String::new(), many, "431"),
    ] {
        let mut caller = server.connect().await;
        let request = format!("GET /{path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
        // The server may close before it has read everything.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut caller.0, request.as_bytes()).await;
        let answer = caller.rest().await;
        assert!(
            answer.is_empty() || answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
    let mut caller = server.connect().await;
    caller.get("/own").await;
    assert_eq!(caller.answer().await.1, "own");
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_its_connection_closed() {
    let server = Running::behind_edge(&[], routes()).await;
    for bytes in [
        "\u{0}\u{1}\u{2}\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /own HTTP/1.1\r\nHost : test\r\n\r\n",
        "POST /own HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ] {
        let mut caller = server.connect().await;
        caller.write(bytes).await;
        let answer = caller.rest().await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{bytes:?}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_request_names_the_host_that_it_is_for_exactly_once() {
    let server = Running::behind_edge(&[], routes()).await;
    for (version, hosts, status) in [
        ("1.1", &["test"][..], "200"),
        ("1.1", &["127.0.0.1:5081"], "200"),
        ("1.1", &[], "400"),
        ("1.1", &["test", "test"], "400"),
        ("1.1", &[""], "400"),
        ("1.1", &["a b"], "400"),
        ("1.1", &["user@test"], "400"),
        ("1.1", &["test:port"], "400"),
        ("1.0", &[], "200"),
        ("1.0", &["test"], "200"),
        ("1.0", &["test", "other"], "400"),
        ("1.0", &["a/b"], "400"),
    ] {
        let mut caller = server.connect().await;
        let lines: Vec<_> = hosts.iter().map(|it| format!("Host: {it}\r\n")).collect();
        let lines = lines.concat();
        let request = format!("GET /own HTTP/{version}\r\nX-Api-Key: {KEY}\r\n{lines}\r\n");
        caller.write(&request).await;
        let (head, body) = caller.answer().await;
        let expected = format!("http/{version} {status}");
        assert!(head.starts_with(&expected), "{hosts:?}: {head}");
        assert_eq!(body.contains("invalid_host"), status == "400", "{body}");
    }
}

#[tokio::test]
async fn a_transfer_coding_other_than_chunked_is_refused() {
    let server = Running::behind_edge(&[], routes()).await;
    for codings in [
        "gzip, chunked",
        "chunked, chunked",
        "xyz\r\nTransfer-Encoding: chunked",
        "gzip",
        "chunked, gzip",
        "identity",
    ] {
        let mut caller = server.connect().await;
        caller
            .write(&format!(
                "GET /own HTTP/1.1\r\nHost: test\r\nX-Api-Key: {KEY}\r\n\
                 Transfer-Encoding: {codings}\r\n\r\n0\r\n\r\n"
            ))
            .await;
        let (head, _) = caller.answer().await;
        assert!(head.starts_with("http/1.1 400"), "{codings}: {head}");
        assert_eq!(caller.rest().await, "");
    }
}

#[tokio::test]
async fn the_form_with_a_host_in_the_request_line_needs_the_key_too() {
    let server = Running::behind_edge(&[], routes()).await;
    for (key, status) in [("no-key", "401"), (KEY, "200")] {
        let mut caller = server.connect().await;
        caller
            .write(&format!(
                "GET http://other/own HTTP/1.1\r\nHost: test\r\nX-Api-Key: {key}\r\n\r\n"
            ))
            .await;
        let (head, _) = caller.answer().await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
    }
}
