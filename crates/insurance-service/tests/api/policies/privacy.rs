//! No event names a person: it is never erased.

use http::Method;
use serde_json::json;
use test_support::{PEOPLE, assert_free_of_canaries, canaries};

use super::{Desk, desk};

#[tokio::test]
async fn no_change_carries_a_person_into_an_event() {
    let desk = Desk::open().await;
    let mut changes = 0;
    for (number, canary) in canaries().iter().enumerate().step_by(16) {
        let parent = format!("00-{canary}-00f067aa0ba902b7-01");
        let headers = [
            ("x-request-id", canary.as_str()),
            ("x-causation-id", canary),
            ("traceparent", &parent),
            ("user-agent", canary),
            ("baggage", canary),
        ];
        let ask = async |method, path: &str, tag: &str, body| {
            let key = desk::key();
            let more = [("idempotency-key", key.as_str()), ("if-match", tag)];
            let used = match (tag, &method) {
                ("", _) => &more[..1],
                (_, &Method::PATCH) => &more[1..],
                _ => &more[..],
            };
            let headers = [&headers[..], used].concat();
            let answer = desk.ask(method, path, &headers, Some(&body)).await;
            assert!(answer.status.is_success(), "{canary}: {}", answer.text());
            answer
        };
        let draft = json!({
            "personalIdentityNumber": PEOPLE[number % PEOPLE.len()], "product": "pet",
            "carRegistrationNumber": null, "validFrom": desk::day(0), "validUntil": null,
        });
        let policies = "/api/v1/policies";
        let drafted = ask(Method::POST, policies, "", draft).await;
        let policy = format!("{policies}/{}", drafted.json()["insuranceId"]);
        let end = json!({ "validUntil": desk::day(400) });
        let patched = ask(Method::PATCH, &policy, drafted.header("etag"), end).await;
        let mut tag = patched.header("etag").to_owned();
        for status in ["active", "suspended", "cancelled"] {
            let to = json!({ "to": status, "reason": "other" });
            let transitions = format!("{policy}/transitions");
            let moved = ask(Method::POST, &transitions, &tag, to).await;
            moved.header("etag").clone_into(&mut tag);
        }
        changes += 5;
    }
    let select = "select row_to_json(events)::text from insurance_events.events
        where actor = 'key/desk'";
    let mut connection = desk.0.database.connect().await;
    let events: Vec<String> = sqlx::query_scalar(select)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(events.len(), changes);
    for event in events {
        assert_free_of_canaries(&event, "an event");
    }
}
