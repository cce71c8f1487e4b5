use axum::http::{Method, StatusCode};
use test_support::{Answer, Api, keyed, keyless, send};

use super::sample::service;

const PATH: &str = "/own";
const PAGE: &str = "https://portal.example";

async fn preflight(api: &Api, origin: &str) -> Answer {
    let request = keyless(Method::OPTIONS, PATH)
        .header("origin", origin)
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "x-api-key");
    send(api, request).await
}

fn allowed_origin(answer: &Answer) -> &str {
    answer.header("access-control-allow-origin")
}

/// The names of all headers that speak to browsers about other origins.
fn cross_origin_headers(answer: &Answer) -> Vec<&str> {
    let names = answer.headers.keys().map(axum::http::HeaderName::as_str);
    names
        .filter(|name| name.starts_with("access-control"))
        .collect()
}

#[tokio::test]
async fn no_page_may_call_unless_a_setting_says_so() {
    let (_, api) = service(&[]);
    let answer = preflight(&api, PAGE).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let answer = api.get_with(PATH, &[("origin", PAGE)]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(cross_origin_headers(&answer), [""; 0]);
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_ask_without_a_key_and_call_with_one() {
    let (_, api) = service(&[(
        "SAMPLE__CORS__ALLOWED_ORIGINS",
        "https://a.example, https://portal.example",
    )]);
    let answer = preflight(&api, PAGE).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(allowed_origin(&answer), PAGE);
    assert_eq!(
        answer.header("access-control-allow-headers"),
        "authorization,content-type,if-match,if-none-match,x-api-key,x-request-id,traceparent,idempotency-key,prefer,x-causation-id,x-deadline-ms"
    );
    assert_eq!(
        answer.header("access-control-allow-methods"),
        "GET,POST,PUT,PATCH,DELETE"
    );
    assert_eq!(answer.header("access-control-max-age"), "3600");

    let answer = api.get_with(PATH, &[("origin", PAGE)]).await;
    assert_eq!(
        (answer.status, allowed_origin(&answer)),
        (StatusCode::OK, PAGE)
    );
    assert!(answer.header("vary").contains("origin"));
    let exposed = answer.header("access-control-expose-headers");
    for name in [
        "etag",
        "event-id",
        "feed-position",
        "idempotency-replayed",
        "link",
        "location",
        "log-behind-ms",
        "log-id",
        "log-position",
        "next-event-id",
        "preference-applied",
        "ratelimit",
        "ratelimit-policy",
        "retry-after",
        "traceparent",
        "www-authenticate",
        "x-request-id",
    ] {
        assert!(exposed.split(',').any(|it| it == name), "{name}: {exposed}");
    }

    let request = keyless(Method::GET, PATH).header("origin", PAGE);
    let answer = send(&api, request).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(allowed_origin(&answer), PAGE);
}

#[tokio::test]
async fn a_page_of_another_origin_is_not_let_in_with_it() {
    let (_, api) = service(&[("SAMPLE__CORS__ALLOWED_ORIGINS", PAGE)]);
    for origin in [
        "https://evil.example",
        "null",
        "https://portal.example.evil",
        "http://portal.example",
    ] {
        let preflight = preflight(&api, origin).await;
        assert_eq!(preflight.status, StatusCode::UNAUTHORIZED, "{origin}");
        let call = api.get_with(PATH, &[("origin", origin)]).await;
        assert_eq!(call.status, StatusCode::OK, "{origin}");
        let no_origin = api.get(PATH).await;
        for answer in [preflight, call, no_origin] {
            assert_eq!(cross_origin_headers(&answer), [""; 0], "{origin}");
            // A cache must not give it to a page of the origin that is allowed.
            assert!(answer.header("vary").contains("origin"), "{origin}");
        }
    }
}

#[tokio::test]
async fn security_headers_are_on_every_answer() {
    let (_, api) = service(&[]);
    let long = format!("/{}", "A".repeat(9_000));
    for request in [
        keyed(Method::GET, PATH),
        keyed(Method::GET, "/nowhere"),
        keyed(Method::DELETE, PATH),
        keyed(Method::POST, "/orders"),
        keyed(Method::GET, &long),
        keyless(Method::GET, PATH),
        keyless(Method::GET, "/healthz"),
        keyless(Method::GET, "/readyz"),
        keyless(Method::GET, "/metrics"),
        keyless(Method::GET, "/openapi.json"),
    ] {
        let answer = send(&api, request).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(
            answer.header("content-security-policy"),
            "default-src 'none'; frame-ancestors 'none'"
        );
    }
}

#[tokio::test]
async fn the_swagger_page_has_a_policy_that_lets_it_work_and_no_more() {
    let (_, api) = service(&[]);
    let beside = api.get_open("/swagger").await;
    assert!(beside.status.is_redirection(), "{}", beside.status);
    let page = send(&api, keyless(Method::GET, "/swagger/")).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.header("content-type").starts_with("text/html"));
    let policy = page.header("content-security-policy");
    assert!(policy.contains("script-src 'self';"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let text = page.text();
    assert!(
        !text.contains("<script>"),
        "an inline script would be blocked: {text}"
    );
    for asset in text
        .split(['"', '\''])
        .filter(|part| part.starts_with("./"))
    {
        let path = format!("/swagger/{}", asset.trim_start_matches("./"));
        let answer = send(&api, keyless(Method::GET, &path)).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn the_swagger_page_is_gone_where_it_is_switched_off() {
    let (_, api) = service(&[("SAMPLE__SWAGGER__ENABLED", "false")]);
    for path in ["/swagger", "/swagger/", "/openapi.json"] {
        let answer = send(&api, keyless(Method::GET, path)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(api.get(path).await.status, StatusCode::NOT_FOUND);
    }
}
