//! What is said about a body that cannot be used.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use axum::{
    body::{Body, Bytes},
    http::{Method, Request, StatusCode},
};
use futures_util::stream;
use test_support::{API_KEY, Answer, Api, keyed};

use super::sample::{ORDER, service};

async fn coded(api: &Api, codings: &[&str]) -> Answer {
    let mut request = Request::post("/orders")
        .header("x-api-key", API_KEY)
        .header("content-type", "application/json");
    for coding in codings {
        request = request.header("content-encoding", *coding);
    }
    api.send(request.body(Body::from(ORDER)).unwrap()).await
}

#[tokio::test]
async fn a_body_in_a_content_coding_is_refused_with_the_one_that_is_taken() {
    let (_, api) = service(&[]);
    for codings in [
        &["gzip"][..],
        &["br"],
        &["GZIP"],
        &["x"],
        &["identity, gzip"],
        &["identity", "deflate"],
    ] {
        let answer = coded(&api, codings).await;
        assert_eq!(
            answer.status,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{codings:?}"
        );
        assert_eq!(answer.header("accept-encoding"), "identity", "{codings:?}");
        insta::assert_json_snapshot!("unsupported_content_coding", answer.problem());
    }
    for codings in [&[][..], &["identity"], &["Identity"]] {
        let answer = coded(&api, codings).await;
        assert_eq!(answer.status, StatusCode::OK, "{codings:?}");
    }
}

#[tokio::test]
async fn json_of_another_type_is_told_by_its_pointer() {
    let (_, api) = service(&[]);
    let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
    for (body, pointer) in [
        (r#"{"kind":5}"#, "/kind"),
        (r#"{"kind":true}"#, "/kind"),
        (r#"{"kind":null}"#, "/kind"),
        (r#"{"kind":["small"]}"#, "/kind"),
        (r#"{"kind":{}}"#, "/kind"),
        (r#"{"kind":"large"}"#, "/kind"),
        (r#"{"kind":"small","count":18446744073709551616}"#, "/count"),
        (r#"{"kind":"small","count":1e400}"#, "/count"),
        (r#"{"kind":"small","count":-1}"#, "/count"),
        (r#"{"kind":"small","count":1.5}"#, "/count"),
        (r#"{"kind":"small","words":["\ud800"]}"#, "/words/0"),
        (r#"{"kind":"small","words":["a",{}]}"#, "/words/1"),
        (&format!(r#"{{"kind":{deep}}}"#), "/kind"),
        (r#"{"kind":"small","more":1}"#, "/more"),
        (r#"{"kind":"small","199001011234":1}"#, ""),
        ("5", ""),
        ("1e400", ""),
        (r#""small""#, ""),
    ] {
        let answer = api.post_text("/orders", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        let problem = answer.problem();
        assert_eq!(problem["code"], "invalid_body", "{body}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
        assert!(!problem.to_string().contains("1990"), "{body}");
    }
}

/// What one byte of a body was read into: a buffer that lives for as long as the byte's frame.
struct Buffer(u8);

static BUFFERS: AtomicUsize = AtomicUsize::new(0);
static MOST_BUFFERS: AtomicUsize = AtomicUsize::new(0);

impl Buffer {
    fn frame(byte: u8) -> Bytes {
        MOST_BUFFERS.fetch_max(BUFFERS.fetch_add(1, SeqCst) + 1, SeqCst);
        Bytes::from_owner(Self(byte))
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        std::slice::from_ref(&self.0)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        BUFFERS.fetch_sub(1, SeqCst);
    }
}

#[tokio::test]
async fn a_body_in_tiny_chunks_keeps_no_buffer_for_each() {
    let (_, api) = service(&[]);
    let body = format!("{ORDER}{}", " ".repeat(10_000));
    let frames = body.into_bytes().into_iter().map(Buffer::frame);
    let request = Request::post("/orders")
        .header("x-api-key", API_KEY)
        .header("content-type", "application/json")
        .body(Body::from_stream(stream::iter(
            frames.map(Ok::<_, Infallible>),
        )))
        .unwrap();
    assert_eq!(api.send(request).await.status, StatusCode::OK);
    assert_eq!((BUFFERS.load(SeqCst), MOST_BUFFERS.load(SeqCst)), (0, 1));
}

#[tokio::test]
async fn what_is_no_json_is_malformed_wherever_it_breaks() {
    let (_, api) = service(&[]);
    for body in [
        "",
        "{",
        r#"{"kind":small}"#,
        r#"{"kind":5,"#,
        r#"{"kind":5} trailing"#,
        r#"{"kind":"small","count":01}"#,
        r#"{"kind":"small","count":NaN}"#,
        r#"{"kind":"small"}}"#,
        r#"{"kind":"199001011234}"#,
        &format!("{{\"kind\":{}", "[".repeat(10_000)),
    ] {
        let answer = api.post_text("/orders", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        let problem = answer.problem();
        assert_eq!(problem["code"], "malformed_json", "{body}");
        assert!(!problem.to_string().contains("1990"), "{body}");
    }
    let no_text = Request::post("/orders")
        .header("x-api-key", API_KEY)
        .header("content-type", "application/json")
        .body(Body::from(&b"{\"kind\":\"\xff\"}"[..]))
        .unwrap();
    let answer = api.send(no_text).await;
    assert_eq!(answer.problem()["code"], "malformed_json");
}

#[tokio::test]
async fn only_json_is_taken_for_a_body() {
    let (_, api) = service(&[]);
    for (media_type, status) in [
        ("application/json", StatusCode::OK),
        ("Application/JSON; charset=utf-8", StatusCode::OK),
        ("", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("text/plain", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("application/jsonp", StatusCode::UNSUPPORTED_MEDIA_TYPE),
    ] {
        let request = keyed(Method::POST, "/orders").header("content-type", media_type);
        let answer = api.send(request.body(ORDER.into()).unwrap()).await;
        assert_eq!(answer.status, status, "{media_type:?}");
    }
}
