//! Orders that are refused change nothing, and what could name a person reaches nobody.

use http::Method;
use serde_json::{Value, json};
use test_support::Answer;
use tracing_subscriber::filter::LevelFilter;

use super::{
    capture::Capture,
    operations_guard::{GUARD, ask, operated, state},
    privacy::{PERSONS, assert_free_of_persons, forms},
    service::Service,
};

async fn put(service: &Service, body: &Value) -> Answer {
    ask(service, Method::PUT, GUARD, &body.to_string()).await
}

/// The broken rules as pointer and code.
fn rules(answer: &Answer) -> Vec<(String, String)> {
    let problem = answer.problem();
    assert_eq!(problem["status"], 400);
    let errors = problem["errors"].as_array().unwrap().iter();
    errors
        .map(|error| {
            let text = |member: &str| error[member].as_str().unwrap().to_owned();
            (text("pointer"), text("code"))
        })
        .collect()
}

#[tokio::test]
async fn an_order_that_breaks_a_rule_says_which_and_changes_nothing() {
    let service = operated(&[]).await;
    let good = json!({ "mode": "isolated", "reason": "r", "owner": "o", "expiresInSeconds": 900 });
    for (member, value, code) in [
        ("reason", json!(""), "invalid_reason"),
        ("reason", json!("x".repeat(201)), "invalid_reason"),
        ("reason", json!("a\nb"), "invalid_reason"),
        ("reason", json!("199001011234"), "invalid_reason"),
        ("reason", json!("a\u{202e}b"), "invalid_reason"),
        ("reason", json!("1\u{2062}b"), "invalid_reason"),
        ("owner", json!("  "), "invalid_owner"),
        ("owner", json!("x".repeat(101)), "invalid_owner"),
        ("owner", json!("a\u{1b}[31m"), "invalid_owner"),
        ("owner", json!("a\u{200b}b"), "invalid_owner"),
        ("owner", json!("900101-1234"), "invalid_owner"),
        ("expiresInSeconds", json!(0), "invalid_expires_in_seconds"),
        (
            "expiresInSeconds",
            json!(86_401),
            "invalid_expires_in_seconds",
        ),
        (
            "expiresInSeconds",
            json!(null),
            "invalid_expires_in_seconds",
        ),
        ("expiresInSeconds", json!(-1), "invalid_body"),
        ("expiresInSeconds", json!(1.5), "invalid_body"),
        ("expiresInSeconds", json!("900"), "invalid_body"),
        ("expiresInSeconds", json!(1e300), "invalid_body"),
        ("mode", json!("open"), "invalid_body"),
        ("mode", json!(5), "invalid_body"),
        ("mode", json!({ "isolated": null }), "invalid_body"),
        ("reason", json!(null), "invalid_body"),
        ("force", json!(true), "invalid_body"),
    ] {
        let mut body = good.clone();
        body[member] = value.clone();
        let expected = (format!("/{member}"), code.to_owned());
        assert_eq!(
            rules(&put(&service, &body).await),
            [expected],
            "{member} {value}"
        );
    }
    let with_end = json!({ "mode": "automatic", "reason": "r", "owner": "o",
                           "expiresInSeconds": 900 });
    let at_end = (
        "/expiresInSeconds".into(),
        "invalid_expires_in_seconds".into(),
    );
    assert_eq!(rules(&put(&service, &with_end).await), [at_end]);
    for member in ["mode", "reason", "owner"] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(member);
        assert_eq!(rules(&put(&service, &body).await)[0].1, "invalid_body");
    }
    let several = json!({ "mode": "isolated", "reason": "", "owner": "" });
    let answer = put(&service, &several).await;
    assert_eq!(answer.problem()["code"], "validation_failed");
    assert_eq!(rules(&answer).len(), 3);
    assert_eq!(state(&service).await["mode"], "automatic");
}

#[tokio::test]
async fn a_refused_change_is_in_the_log_with_its_key_and_is_no_audit_line() {
    let (capture, _guard) = Capture::start(LevelFilter::INFO);
    let service = operated(&[]).await;
    put(&service, &json!({})).await;
    // The key of the API.
    service.api.get(GUARD).await;
    let closed = |status: &str, key: &str| {
        capture.lines_with(&[
            "request ended",
            &format!("\"status\":{status}"),
            &format!("\"key_id\":\"{key}\""),
            &format!("\"route\":\"{GUARD}\""),
        ])
    };
    assert_eq!(closed("400", "operator"), 1, "{}", capture.text());
    assert_eq!(closed("403", "test"), 1, "{}", capture.text());
    assert_eq!(capture.lines_with(&["\"target\":\"audit\""]), 0);
}

#[tokio::test]
async fn what_could_name_a_person_is_refused_and_reaches_nobody() {
    let (capture, _guard) = Capture::start(LevelFilter::TRACE);
    let service = operated(&[]).await;
    for form in PERSONS.into_iter().flat_map(forms) {
        let about = format!("asked for {form} twice");
        for (reason, owner) in [(&*about, "o"), ("r", &about), (&*form, &form)] {
            let order = json!({ "mode": "isolated", "reason": reason, "owner": owner,
                                "expiresInSeconds": 900 });
            let answer = put(&service, &order).await;
            assert_eq!(answer.status, 400, "{order}");
            assert_free_of_persons(&answer.text(), "problem");
        }
        let erased = format!("/api/v1/operations/vehicle-cache/{form}");
        let answer = ask(&service, Method::DELETE, &erased, "").await;
        assert_eq!(answer.status, 400, "{form}");
        assert_free_of_persons(&answer.text(), "problem");
    }
    assert!(capture.text().contains("request ended"));
    assert_free_of_persons(&capture.text(), "log");
    assert_free_of_persons(&state(&service).await.to_string(), "state");
    assert_free_of_persons(&service.api.get("/metrics").await.text(), "metrics");
}
