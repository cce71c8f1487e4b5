use http::StatusCode;
use serde_json::{Value, json};
use test_support::Answer;

use super::service::Service;

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
