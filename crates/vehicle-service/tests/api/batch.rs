use axum::body::Body;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use test_support::Answer;

use crate::service::{Service, keyed};

const PATH: &str = "/api/v1/vehicles/batch";

async fn batch(service: &Service, entries: &[Value]) -> Answer {
    service
        .api
        .post(PATH, &json!({"registrationNumbers": entries}))
        .await
}

fn texts(entries: &[&str]) -> Vec<Value> {
    entries.iter().copied().map(Value::from).collect()
}

#[tokio::test]
async fn every_entry_is_in_one_of_three_lists_in_the_requests_order() {
    let service = Service::start().await;
    let entries = ["yyy111", "def456", "?", "abc 123", "ZZZ999", "ABCD1234"];
    let answer = batch(&service, &texts(&entries)).await;
    assert_eq!(answer.status, StatusCode::OK);
    insta::assert_json_snapshot!("batch", answer.json());
}

#[tokio::test]
async fn spellings_of_one_vehicle_count_once() {
    let service = Service::start().await;
    let entries = ["zzz999", "abc123", "ABC-123", "ZZZ 999", "ABC 123"];
    let answer = batch(&service, &texts(&entries)).await.json();
    assert_eq!(answer["vehicles"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer["notFound"], json!(["ZZZ999"]));
    assert_eq!(answer["invalid"], json!([]));
}

#[tokio::test]
async fn invalid_entries_are_returned_as_they_were_sent_and_fail_no_other() {
    let service = Service::start().await;
    let long = "X".repeat(1_000);
    let entries = [
        json!(null),
        json!(""),
        json!("\u{0}🚗"),
        json!(long),
        json!("ghi789"),
    ];
    let answer = batch(&service, &entries).await.json();
    assert_eq!(answer["vehicles"][0]["model"], "F-150");
    let invalid = answer["invalid"].as_array().unwrap();
    let sent: Vec<_> = invalid
        .iter()
        .map(|entry| &entry["registrationNumber"])
        .collect();
    assert_eq!(sent, entries[..4].iter().collect::<Vec<_>>());
    assert!(
        invalid
            .iter()
            .all(|entry| entry["reason"].as_str().is_some_and(|why| why.len() > 10))
    );
}

#[tokio::test]
async fn a_batch_of_nothing_but_invalid_entries_is_answered() {
    let service = Service::start().await;
    let answer = batch(&service, &texts(&["?"])).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["invalid"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn as_many_entries_as_allowed_are_all_accounted_for() {
    let service = Service::start().await;
    service
        .database
        .execute(
            "insert into vehicle.vehicles (registration_number)
             select 'N' || lpad(n::text, 5, '0') from generate_series(0, 499, 2) as n",
        )
        .await;
    let entries: Vec<_> = (0..500).map(|n| json!(format!("n{n:05}"))).collect();
    let answer = batch(&service, &entries).await.json();
    let numbers = |list: &Value, member: &str| -> Vec<String> {
        let list = list.as_array().unwrap().iter();
        list.map(|entry| {
            entry
                .get(member)
                .unwrap_or(entry)
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect()
    };
    let expected = |start: usize| -> Vec<_> {
        (start..500)
            .step_by(2)
            .map(|n| format!("N{n:05}"))
            .collect()
    };
    assert_eq!(
        numbers(&answer["vehicles"], "registrationNumber"),
        expected(0)
    );
    assert_eq!(numbers(&answer["notFound"], ""), expected(1));
}

#[tokio::test]
async fn a_batch_of_another_size_is_refused() {
    let service = Service::start().await;
    for (entries, code) in [(0, "batch_empty"), (501, "batch_too_large")] {
        let answer = batch(&service, &vec![json!("ABC123"); entries]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        insta::assert_json_snapshot!(code, answer.problem());
    }
}

#[tokio::test]
async fn a_body_of_another_shape_is_refused_with_a_pointer() {
    let service = Service::start().await;
    for (body, pointer) in [
        ("{}", ""),
        ("[]", ""),
        ("null", ""),
        (r#"{"registrationNumbers":null}"#, "/registrationNumbers"),
        (
            r#"{"registrationNumbers":"ABC123"}"#,
            "/registrationNumbers",
        ),
        (
            r#"{"registrationNumbers":["ABC123",7]}"#,
            "/registrationNumbers/1",
        ),
        (
            r#"{"registrationNumbers":["ABC123",["X"]]}"#,
            "/registrationNumbers/1",
        ),
        (r#"{"registrationNumbers":["ABC123"],"more":1}"#, "/more"),
        (r#"{"registration_numbers":["ABC123"]}"#, ""),
        (r#"{"registrationNumbers":["ABC123"],"199001011234":1}"#, ""),
    ] {
        let answer = service.api.post_text(PATH, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        let problem = answer.problem();
        assert_eq!(problem["code"], "invalid_body", "{body}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
        assert!(!answer.problem().to_string().contains("1990"), "{body}");
    }
}

#[tokio::test]
async fn a_text_that_is_not_json_is_refused_with_the_place() {
    let service = Service::start().await;
    for body in [
        "",
        "{",
        "hello",
        r#"{"registrationNumbers":["199001011234]}"#,
        r#"{"registrationNumbers":["ABC123"]} trailing"#,
        r#"{"registrationNumbers":["\ud800"]}"#,
        &format!("{{\"registrationNumbers\":{}", "[".repeat(10_000)),
    ] {
        let answer = service.api.post_text(PATH, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(!answer.problem().to_string().contains("1990"));
    }
    let answer = service.api.post_text(PATH, "{\n\"a").await;
    insta::assert_json_snapshot!("malformed_json", answer.problem());
}

#[tokio::test]
async fn only_json_is_taken_for_a_body() {
    let service = Service::start().await;
    let body = r#"{"registrationNumbers":["ABC123"]}"#;
    let typed = |media_type: Option<&str>| {
        let mut request = keyed(Method::POST, PATH);
        if let Some(media_type) = media_type {
            request = request.header("content-type", media_type);
        }
        request.body(Body::from(body)).unwrap()
    };
    for media_type in ["application/json", "Application/JSON; charset=utf-8"] {
        let answer = service.api.send(typed(Some(media_type))).await;
        assert_eq!(answer.status, StatusCode::OK, "{media_type}");
    }
    for media_type in [
        None,
        Some(""),
        Some("text/plain"),
        Some("application/jsonp"),
    ] {
        let answer = service.api.send(typed(media_type)).await;
        assert_eq!(
            answer.status,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{media_type:?}"
        );
        insta::assert_json_snapshot!("unsupported_media_type", answer.problem());
    }
}
