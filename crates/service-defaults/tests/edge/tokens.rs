//! Tokens of an issuer on a real socket, through the real router.

mod attacks;

use std::time::Duration;

use axum::http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use test_support::{
    API_KEY, Answer, Api, Issuer, Lie, keyless, metric, send, until_keys_are_known,
};
use tokio::time::{advance, pause, resume, sleep, timeout};

use super::sample::service;

const BARE: [&str; 2] = [r#"Bearer realm="threadpilot""#, "ApiKey"];
const BAD: [&str; 2] = [
    r#"Bearer realm="threadpilot", error="invalid_token""#,
    "ApiKey",
];

/// A service that trusts this issuer and knows its keys.
async fn trusting(issuer: &Issuer, more: &[(&str, &str)]) -> Api {
    let api = unready(issuer, more);
    until_keys_are_known(&api).await;
    api
}

fn unready(issuer: &Issuer, more: &[(&str, &str)]) -> Api {
    let trusted = issuer.settings();
    let trusted = trusted.map(|(name, value)| (format!("SAMPLE__{name}"), value));
    let trusted = trusted.each_ref().map(|(name, value)| (&**name, *value));
    service(&[&trusted[..], more].concat()).1
}

/// What a report of the readiness says of the issuer's keys.
fn about_tokens(report: &Answer) -> Value {
    let report = report.json();
    let mut checks = report["checks"].as_array().unwrap().iter();
    let about = checks.find(|it| it["name"] == "tokens");
    about.unwrap().clone()
}

/// The report of the readiness once the issuer was asked.
async fn until_ready(api: &Api) -> Answer {
    let ready = async {
        loop {
            let report = api.get_open("/readyz").await;
            if report.status == StatusCode::OK {
                return report;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_mins(1), ready).await.unwrap()
}

async fn bearing(api: &Api, path: &str, token: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let request = keyless(Method::GET, path).header("authorization", authorization);
    send(api, request).await
}

fn challenges(answer: &Answer) -> Vec<&str> {
    let all = answer.headers.get_all("www-authenticate").iter();
    all.map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn who_brings_nothing_is_told_both_ways_and_no_error() {
    let issuer = Issuer::start().await;
    let api = trusting(&issuer, &[]).await;
    let own = || keyless(Method::GET, "/own");
    for request in [
        own(),
        own().header("x-api-key", "wrong-key-0123456789"),
        own().header("authorization", "Basic YTpi"),
        own().header("authorization", "Bearers x"),
        own().header("authorization", "DPoP x"),
    ] {
        let answer = send(&api, request).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(challenges(&answer), BARE);
        insta::assert_json_snapshot!("unauthorized_with_tokens", answer.problem());
    }
    let empty = bearing(&api, "/own", "").await;
    assert_eq!(challenges(&empty), BAD);
}

#[tokio::test]
async fn a_key_and_a_token_are_refused_together_and_so_are_two_tokens() {
    let issuer = Issuer::start().await;
    let api = trusting(&issuer, &[]).await;
    let token = format!("bearer {}", issuer.token("read"));
    let with_token = || keyless(Method::GET, "/own").header("authorization", &token);
    let with_key = || keyless(Method::GET, "/own").header("x-api-key", API_KEY);
    assert_eq!(send(&api, with_token()).await.status, StatusCode::OK);
    for request in [
        with_token().header("x-api-key", API_KEY),
        with_token().header("x-api-key", ""),
        with_token().header("authorization", &token),
        with_token().header("authorization", "Basic YTpi"),
        with_token().header("authorization", "DPoP x"),
        with_key().header("authorization", "dpop x"),
    ] {
        let answer = send(&api, request).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        let error = r#"Bearer realm="threadpilot", error="invalid_request""#;
        assert_eq!(challenges(&answer), [error]);
        insta::assert_json_snapshot!("ambiguous_credentials", answer.problem());
    }
    // For a proxy on the way.
    let basic = with_key().header("authorization", "Basic YTpi");
    assert_eq!(send(&api, basic).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_token_opens_the_routes_of_its_scopes_only_and_knows_no_aliases() {
    let issuer = Issuer::start().await;
    let api = trusting(&issuer, &[]).await;
    for (path, scope) in [("/own", "read"), ("/api/v1/operations/own", "admin")] {
        let opens = bearing(&api, path, &issuer.token(scope)).await;
        assert_eq!(opens.status, StatusCode::OK, "{path}");
        for other in [
            "write",
            "feed audit",
            "api",
            "operations",
            "api operations",
            "",
        ] {
            let answer = bearing(&api, path, &issuer.token(other)).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {other}");
            let lacking = format!(
                r#"Bearer realm="threadpilot", error="insufficient_scope", scope="{scope}""#
            );
            assert_eq!(challenges(&answer), [lacking]);
            assert_eq!(answer.problem()["code"], "insufficient_scope");
        }
    }
    let unknown = bearing(&api, "/nowhere", &issuer.token("read")).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let key = send(
        &api,
        keyless(Method::GET, "/api/v1/operations/own").header("x-api-key", API_KEY),
    )
    .await;
    assert_eq!(key.status, StatusCode::FORBIDDEN);
    assert!(challenges(&key).is_empty());
}

#[tokio::test]
async fn without_a_trusted_issuer_a_token_means_nothing() {
    let issuer = Issuer::start().await;
    let (_, api) = service(&[]);
    let answer = bearing(&api, "/own", &issuer.token("read")).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(challenges(&answer), ["ApiKey"]);
    let token = [("authorization", "Bearer x")];
    assert_eq!(api.get_with("/own", &token).await.status, StatusCode::OK);
    assert_eq!(issuer.fetches(), 0);
}

#[tokio::test]
async fn a_request_is_its_subjects_and_nobodys_who_is_named() {
    let issuer = Issuer::start().await;
    let api = trusting(&issuer, &[]).await;
    let who = async |subject: &str| {
        let token = issuer.changed(json!({}), json!({ "sub": subject }));
        bearing(&api, "/who", &token).await.text()
    };
    assert_eq!(who("core").await, "token/core of token/core");
    for person in ["199001011234", "anna@example.com"] {
        let shown = who(person).await;
        assert!(shown.starts_with("token/~"), "{shown}");
        assert_eq!(shown, who(person).await);
        assert!(!shown.contains(person));
    }
    assert_eq!(api.get("/who").await.text(), "key/test of test");
}

#[tokio::test]
async fn a_subject_has_a_rate_of_its_own_whatever_its_token() {
    let issuer = Issuer::start().await;
    let limit = [("SAMPLE__RATE_LIMIT__REQUESTS_PER_SECOND", "3")];
    let api = trusting(&issuer, &limit).await;
    // A key has the same name.
    let token = |life: u64| {
        let ends = issuer.claims("")["exp"].as_u64().unwrap() + life;
        issuer.changed(json!({}), json!({ "sub": "test", "exp": ends }))
    };
    let mut refused = None;
    for life in 0..1_000 {
        let answer = bearing(&api, "/own", &token(life)).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(answer);
            break;
        }
    }
    assert_eq!(refused.unwrap().header("retry-after"), "1");
    let other = issuer.changed(json!({}), json!({ "sub": "other" }));
    assert_eq!(bearing(&api, "/own", &other).await.status, StatusCode::OK);
    assert_eq!(api.get("/own").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_service_starts_without_its_issuer_and_says_so() {
    let issuer = Issuer::start().await;
    issuer.lie(Lie::Status);
    let api = unready(&issuer, &[]);
    let missing = about_tokens(&until_ready(&api).await);
    assert_eq!(missing["status"], "warn");
    insta::assert_json_snapshot!("tokens_without_keys", missing);
    assert_eq!(api.get("/own").await.status, StatusCode::OK);
    let answer = bearing(&api, "/own", &issuer.token("read")).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let detail = answer.problem()["detail"].clone();
    let why = "The token is refused: the keys of its issuer are not known at present.";
    assert_eq!(detail, why);
}

#[tokio::test]
async fn a_silent_issuer_keeps_a_service_from_being_ready_for_ten_seconds_and_from_nothing_else() {
    let issuer = Issuer::start().await;
    issuer.lie(Lie::Slow);
    let api = unready(&issuer, &[]);
    let waiting = api.get_open("/readyz").await;
    assert_eq!(waiting.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(about_tokens(&waiting)["status"], "fail");
    assert_eq!(api.get_open("/healthz").await.status, StatusCode::OK);
    assert_eq!(api.get("/own").await.status, StatusCode::OK);
    pause();
    advance(Duration::from_secs(10)).await;
    resume();
    let ready = api.get_open("/readyz").await;
    assert_eq!(ready.status, StatusCode::OK);
    assert_eq!(about_tokens(&ready)["status"], "warn");
}

#[tokio::test]
async fn tokens_and_the_keys_of_their_issuer_are_measured() {
    let issuer = Issuer::start().await;
    let api = trusting(&issuer, &[]).await;
    let own = || keyless(Method::GET, "/own");
    let no_text = HeaderValue::from_bytes(b"Bearer \xff").unwrap();
    let refused = send(&api, own().header("authorization", no_text)).await;
    assert_eq!(challenges(&refused), BAD);
    for (token, status) in [
        (issuer.token("read"), StatusCode::OK),
        (
            issuer.changed(json!({}), json!({ "exp": 1 })),
            StatusCode::UNAUTHORIZED,
        ),
        ("x".to_owned(), StatusCode::UNAUTHORIZED),
    ] {
        assert_eq!(bearing(&api, "/own", &token).await.status, status);
    }
    let text = api.get("/metrics").await.text();
    let of = |name: &str, labels: &[(&str, &str)]| metric(&text, name, labels);
    assert_eq!(of("token_refused_total", &[("reason", "expired")]), 1);
    assert_eq!(of("token_refused_total", &[("reason", "malformed")]), 2);
    assert_eq!(of("jwks_refreshes_total", &[("outcome", "good")]), 1);
    assert_eq!(of("token_life_max_seconds", &[]), 600);
    let age = text
        .lines()
        .find(|line| line.starts_with("jwks_age_seconds"));
    let (_, age) = age.unwrap().rsplit_once(' ').unwrap();
    assert!(age.parse::<f64>().unwrap() < 60.0, "{text}");
}

#[tokio::test]
async fn the_page_fetches_tokens_where_it_is_told_and_calls_nobody_else() {
    let issuer = Issuer::start().await;
    let keyed = ("SAMPLE__MANAGEMENT__METRICS_REQUIRE_KEY", "true");
    let flows = [
        keyed,
        ("SAMPLE__SWAGGER__TOKEN_URL", "https://login.example/token"),
        (
            "SAMPLE__SWAGGER__AUTHORIZATION_URL",
            "https://login.example/authorize",
        ),
        ("SAMPLE__SWAGGER__CLIENT_ID", "the-page"),
        ("SAMPLE__TOKENS__SCOPES__READ", "Vehicle.Read"),
    ];
    for (variables, told) in [(&flows[..], true), (&flows[..1], false)] {
        let api = unready(&issuer, variables);
        let page = api.get_open("/swagger/").await;
        let calls = if told {
            "'self' https://login.example"
        } else {
            "'self'"
        };
        let policy = page.header("content-security-policy");
        assert!(
            policy.contains(&format!("connect-src {calls};")),
            "{policy}"
        );
        let script = api.get_open("/swagger/swagger-initializer.js").await.text();
        let pkce = r#""usePkceWithAuthorizationCodeGrant": true"#;
        assert_eq!(script.contains(pkce) && script.contains("the-page"), told);
        let kept = r#""persistAuthorization": true"#;
        assert_eq!(script.contains(kept), !told);
        let document = api.get_open("/openapi.json").await.json();
        let flows = &document["components"]["securitySchemes"]["oauth2"]["flows"];
        let ways = &document["paths"]["/metrics"]["get"]["security"];
        let mut expected = vec![
            json!({ "apiKey": ["read"] }),
            json!({ "apiKey": ["api"] }),
            json!({ "accessToken": ["read"] }),
        ];
        if told {
            expected.push(json!({ "oauth2": ["Vehicle.Read"] }));
            let token_url = "https://login.example/token";
            assert_eq!(flows["clientCredentials"]["tokenUrl"], token_url);
            let people = &flows["authorizationCode"];
            assert_eq!(people["tokenUrl"], token_url);
            assert_eq!(
                people["authorizationUrl"],
                "https://login.example/authorize"
            );
            assert_eq!(people["scopes"]["Vehicle.Read"], "The scope `read`");
        }
        assert_eq!(flows.is_null(), !told);
        assert_eq!(*ways, Value::from(expected));
    }
}
