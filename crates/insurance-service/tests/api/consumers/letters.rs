use serde_json::{Value, json};
use tracing_subscriber::filter::LevelFilter;

use super::{Operator, operator::LETTERS};
use crate::api::capture::Capture;

/// The letters of a page as id and status, and where the next one begins.
fn letters(page: &Value) -> (Vec<(String, String)>, Option<String>) {
    let listed = page["deadLetters"].as_array().unwrap().iter();
    let text = |it: &Value| it.as_str().unwrap().to_owned();
    let listed = listed.map(|it| (text(&it["deadLetterId"]), text(&it["status"])));
    (listed.collect(), page["next"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn letters_are_listed_page_by_page_and_by_status() {
    let operator = Operator::new().await;
    let all = ["parked", "resolved", "parked", "discarded", "retrying"];
    let mut parked = Vec::new();
    for (number, status) in (1..).zip(all) {
        let id = operator.park(number, status).await;
        parked.push((id, status.to_owned()));
    }
    let mut found = Vec::new();
    let mut path = format!("{LETTERS}?limit=2");
    for _ in 0..3 {
        let (page, next) = letters(&operator.read(&path).await);
        assert!((1..=2).contains(&page.len()));
        found.extend(page);
        let Some(next) = next else {
            break;
        };
        path = format!("{LETTERS}?limit=2&after={next}");
    }
    assert_eq!(found, parked);
    let (only, next) = letters(&operator.read(&format!("{LETTERS}?status=parked")).await);
    assert_eq!(only, [parked[0].clone(), parked[2].clone()]);
    assert_eq!(next, None);
    for (query, code) in [
        ("status=open", "invalid_status"),
        ("limit=501", "invalid_limit"),
        ("after=1", "invalid_after"),
        ("x=1", "unknown_parameter"),
    ] {
        let refused = operator.get(&format!("{LETTERS}?{query}")).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.problem()["code"]),
            (400, &json!(code))
        );
    }
}

#[tokio::test]
async fn only_one_letter_is_shown_with_its_event_whatever_its_bytes() {
    let operator = Operator::new().await;
    let id = operator.park(1, "parked").await;
    let listed = operator.read(LETTERS).await;
    assert!(!listed.to_string().contains("specversion"), "{listed}");
    let path = format!("{LETTERS}/{id}");
    let letter = operator.read(&path).await;
    assert_eq!(letter["event"], r#"{"specversion":"1.0"}"#);
    assert_eq!(letter["reason"], "contract");
    let bytes = r"update insurance_replica.dead_letters set event = '\xff00'";
    operator.0.database.execute(bytes).await;
    assert_eq!(operator.read(&path).await["event"], "\u{fffd}\0");
    let other = path.replace("vehicle_replica", "other");
    assert_eq!(
        operator.get(&other).await.problem()["code"],
        "dead_letter_not_found"
    );
}

#[tokio::test]
async fn a_letter_is_tried_again_or_closed_once_and_told_by_one_audit_line() {
    let (capture, _guard) = Capture::start(LevelFilter::INFO);
    let operator = Operator::new().await;
    let note = json!({ "note": "corrected at the source" });
    for (number, action, body, status, code) in [
        (1, "retry", &Value::Null, "retrying", 202),
        (2, "resolve", &note, "resolved", 200),
        (3, "discard", &note, "discarded", 200),
    ] {
        let id = operator.park(number, "parked").await;
        let path = format!("{LETTERS}/{id}");
        let answer = operator.post(&format!("{path}/{action}"), body).await;
        assert_eq!(answer.status.as_u16(), code, "{}", answer.text());
        let letter = operator.read(&path).await;
        assert_eq!(letter["status"], status);
        let closed = action != "retry";
        assert_eq!(letter["closedAt"].is_string(), closed);
        let by = if closed {
            json!("key/operator")
        } else {
            Value::Null
        };
        assert_eq!(letter["closedBy"], by);
        assert_eq!(letter["note"], body["note"]);
        let quoted = [format!("\"status\":\"{status}\""), id];
        let told = [
            "\"target\":\"audit\"",
            "\"action\":\"move_dead_letter\"",
            "\"key_id\":\"operator\"",
            &quoted[0],
            &quoted[1],
        ];
        assert_eq!(capture.lines_with(&told), 1, "{}", capture.text());
        for action in ["retry", "resolve", "discard"] {
            if closed {
                let again = operator.post(&format!("{path}/{action}"), &note).await;
                assert_eq!(again.status, 409, "{}", again.text());
                assert_eq!(again.problem()["code"], "dead_letter_closed");
            }
        }
    }
    let due = "update insurance_replica.dead_letters set note = 'due' \
        where status = 'retrying' and next_try_at <= clock_timestamp()";
    operator.0.database.execute(due).await;
    let retried = operator.read(&format!("{LETTERS}?status=retrying")).await;
    assert_eq!(retried["deadLetters"][0]["note"], "due");
}

#[tokio::test]
async fn the_oldest_letters_are_tried_again_and_no_more_than_asked_for() {
    let (capture, _guard) = Capture::start(LevelFilter::INFO);
    let operator = Operator::new().await;
    for number in 1..=4 {
        operator.park(number, "parked").await;
    }
    operator.park(5, "resolved").await;
    let path = format!("{LETTERS}/retry");
    let retry = |limit: u64| json!({ "limit": limit, "reason": "the release is good" });
    let answer = operator.post(&path, &retry(2)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()),
        (202, json!({ "retrying": 2 }))
    );
    let (retrying, _) = letters(&operator.read(&format!("{LETTERS}?status=retrying")).await);
    let numbers: Vec<_> = retrying.iter().map(|(id, _)| &id[id.len() - 1..]).collect();
    assert_eq!(numbers, ["3", "4"]);
    let answer = operator.post(&path, &retry(100)).await;
    assert_eq!(answer.json(), json!({ "retrying": 2 }));
    for limit in [0, 101] {
        let refused = operator.post(&path, &retry(limit)).await;
        assert_eq!(refused.problem()["code"], "invalid_limit");
    }
    let told = [
        "\"action\":\"retry_dead_letters\"",
        "\"the release is good\"",
        "\"retrying\":2",
    ];
    assert_eq!(capture.lines_with(&told), 2, "{}", capture.text());
}
