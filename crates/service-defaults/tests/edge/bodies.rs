//! What is said about a body that cannot be used.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use test_support::{API_KEY, Answer, Api};

use crate::sample::service;

const ORDER: &str = r#"{"kind":"small"}"#;

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
        ("5", ""),
        ("1e400", ""),
        (r#""small""#, ""),
    ] {
        let answer = api.post_text("/orders", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        let problem = answer.problem();
        assert_eq!(problem["code"], "invalid_body", "{body}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    }
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
    ] {
        let answer = api.post_text("/orders", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answer.problem()["code"], "malformed_json", "{body}");
    }
    let no_text = Request::post("/orders")
        .header("x-api-key", API_KEY)
        .header("content-type", "application/json")
        .body(Body::from(&b"{\"kind\":\"\xff\"}"[..]))
        .unwrap();
    let answer = api.send(no_text).await;
    assert_eq!(answer.problem()["code"], "malformed_json");
}
