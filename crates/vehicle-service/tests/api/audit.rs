//! The audit: who changed what.

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use test_support::{Answer, keyless, send};

use super::{
    copy,
    copy::FOLLOWER,
    register::{WRITER, change},
    service::Service,
};

pub(crate) const AUDITOR: [(&str, &str); 2] = [
    ("API_KEYS__AUDITOR__KEY", "audit-key-0123456789"),
    ("API_KEYS__AUDITOR__SCOPES", "audit"),
];
const EVENTS: &str = "/api/v1/audit/events";

pub(crate) async fn ask(service: &Service, path: &str) -> Answer {
    let request = keyless(Method::GET, path).header("x-api-key", AUDITOR[0].1);
    send(&service.api, request).await
}

/// A service whose log has the sample data and five changes of a vehicle; with their ids.
pub(crate) async fn changed(settings: &[(&str, &str)]) -> (Service, Vec<String>) {
    let keys = [&WRITER[..], &FOLLOWER, &AUDITOR, settings].concat();
    let service = Service::with(&keys).await;
    let mut ids = Vec::new();
    for (number, header) in [("if-none-match", "*")]
        .into_iter()
        .chain([("if-match", "*"); 4])
        .enumerate()
    {
        let body = json!({ "make": format!("Make {number}"), "model": null, "modelYear": null });
        let headers = [header, ("x-request-id", "order-42")];
        let answer = change(
            &service,
            Method::PUT,
            "/api/v1/vehicles/NEW123",
            &headers,
            &body,
        )
        .await;
        ids.push(answer.header("event-id").to_owned());
    }
    let last = "/api/v1/events?fromPosition=8&timeout=20000";
    assert_eq!(copy::get(&service, last).await.json()[0]["id"], ids[4]);
    (service, ids)
}

fn ids(page: &Value) -> Vec<&str> {
    let events = page["events"].as_array().unwrap();
    events.iter().map(|it| it["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_filter_finds_the_changes_newest_first_and_page_by_page() {
    let (service, written) = changed(&[]).await;
    let newest: Vec<_> = written.iter().rev().map(String::as_str).collect();
    for filter in [
        "aggregateType=vehicle&aggregateId=NEW123",
        "correlationId=order-42",
        "actor=key/writer",
        "actor=key/writer&type=vehicle.changed.v1",
        "from=2020-01-01T00:00:00Z&until=2020-12-31T00:00:00Z&actor=key/writer",
    ] {
        let expected = match filter {
            it if it.contains("type=") => &newest[..4],
            it if it.contains("2020") => &[],
            _ => &newest[..],
        };
        let whole = ask(&service, &format!("{EVENTS}?{filter}")).await;
        assert_eq!(whole.status, 200, "{}", whole.text());
        let whole = whole.json();
        assert_eq!(ids(&whole), expected, "{filter}");
        assert!(whole["window"]["from"].is_string() && whole["window"]["until"].is_string());
        let (mut read, mut after) = (Vec::new(), String::new());
        loop {
            let page = ask(&service, &format!("{EVENTS}?{filter}&limit=2{after}"))
                .await
                .json();
            read.extend(ids(&page).into_iter().map(str::to_owned));
            let Some(next) = page["next"].as_str() else {
                break;
            };
            after = format!("&after={next}");
        }
        assert_eq!(read, expected, "{filter}");
    }
}

#[tokio::test]
async fn one_event_is_shown_with_its_place() {
    let (service, written) = changed(&[]).await;
    let event = ask(&service, &format!("{EVENTS}/{}", written[0]))
        .await
        .json();
    assert_eq!(event["position"], 4);
    assert_eq!(event["event"]["id"], written[0]);
    assert_eq!(event["event"]["authid"], "key/writer");
    let unknown = "0192f3c4-0000-7000-8000-00000000abcd";
    let answer = ask(&service, &format!("{EVENTS}/{unknown}")).await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.problem()["code"], "event_not_found");
}

#[tokio::test]
async fn events_are_counted_by_type_actor_and_hour() {
    let (service, _) = changed(&[]).await;
    let count = async |by: &str| {
        let path = format!("/api/v1/audit/statistics?by={by}");
        ask(&service, &path).await.json()["buckets"].clone()
    };
    let types = json!([
        { "key": "vehicle.changed.v1", "count": 4 },
        { "key": "vehicle.registered.v1", "count": 4 },
    ]);
    assert_eq!(count("type").await, types);
    let actors = count("actor").await;
    assert_eq!(actors[0], json!({ "key": "key/writer", "count": 5 }));
    let hours = count("hour").await;
    let hours = hours.as_array().unwrap().iter();
    assert_eq!(
        hours.map(|it| it["count"].as_i64().unwrap()).sum::<i64>(),
        8
    );
}

/// What was placed just now is counted, and the window says which whole hours were.
#[tokio::test]
async fn the_hour_that_is_not_over_is_counted_and_no_later_one() {
    let (service, _) = changed(&[]).await;
    let count = async |until: &str| {
        let path = format!("/api/v1/audit/statistics?by=type{until}");
        ask(&service, &path).await.json()
    };
    let now = humantime::format_rfc3339(std::time::SystemTime::now()).to_string();
    let counted = count(&format!("&until={now}")).await;
    assert_eq!(counted["buckets"][0]["count"], 4, "{counted}");
    let end = counted["window"]["until"].as_str().unwrap();
    assert!(*end > *now && end.ends_with(":00:00Z"), "{end} {now}");
    assert_eq!(
        count(&format!("&until={end}")).await["window"]["until"],
        end
    );
}

#[tokio::test]
async fn the_ends_of_time_are_asked_for() {
    let service = Service::with(&AUDITOR).await;
    for (path, end, told) in [
        (
            "events?actor=x&until=1970-01-15T00:00:00Z",
            "from",
            "1970-01-01T00:00:00Z",
        ),
        (
            "statistics?by=type&from=9999-12-31T00:00:00Z&until=9999-12-31T23:30:00Z",
            "until",
            "9999-12-31T23:59:59Z",
        ),
    ] {
        let answer = ask(&service, &format!("/api/v1/audit/{path}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["window"][end], told, "{path}");
    }
}

/// Positions get their time by the clock of the database, which may be ahead of the service's.
#[tokio::test]
async fn a_change_that_was_just_made_is_found_whatever_the_clocks_say() {
    let service = Service::with(&[&WRITER[..], &FOLLOWER, &AUDITOR].concat()).await;
    let last = "/api/v1/events?fromPosition=3&timeout=20000";
    copy::get(&service, last).await;
    let ahead = "update vehicle_events.head set placed_at = date_trunc('hour', now() + '2 hours')";
    service.database.execute(ahead).await;
    let new = [("if-none-match", "*")];
    let body = json!({ "make": "Saab", "model": null, "modelYear": null });
    let path = "/api/v1/vehicles/NEW123";
    let changed = change(&service, Method::PUT, path, &new, &body).await;
    copy::get(&service, "/api/v1/events?fromPosition=4&timeout=20000").await;
    let page = ask(&service, &format!("{EVENTS}?actor=key/writer"))
        .await
        .json();
    assert_eq!(ids(&page), [changed.header("event-id")]);
    let id = changed.header("event-id");
    let event = ask(&service, &format!("{EVENTS}/{id}")).await.json();
    let until = page["window"]["until"].as_str().unwrap();
    assert!(until > event["placedAt"].as_str().unwrap(), "{until}");
    let counted = ask(&service, "/api/v1/audit/statistics?by=actor")
        .await
        .json();
    let writer = json!({ "key": "key/writer", "count": 1 });
    let buckets = counted["buckets"].as_array().unwrap();
    assert!(buckets.contains(&writer), "{counted}");
}

#[tokio::test]
async fn questions_that_hang_keep_no_event_from_the_readers() {
    let (service, _) = changed(&[("DATABASE__MAX_CONNECTIONS", "3")]).await;
    let mut lock = service.database.lock("vehicle_events.hours").await;
    let question = "/api/v1/audit/statistics?by=type";
    let questions = join_all((0..4).map(|_| ask(&service, question)));
    let read = async {
        lock.queued(1).await;
        let page = copy::get(&service, "/api/v1/events").await;
        assert_eq!(page.json().as_array().unwrap().len(), 8);
        lock.release().await;
    };
    let (answers, ()) = tokio::join!(questions, read);
    for answer in answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[tokio::test]
async fn where_nothing_is_signed_nobody_is_told_to_come_back() {
    let (service, ids) = changed(&[]).await;
    for path in [
        "checkpoint".to_owned(),
        "checkpoint/consistency?from=1".to_owned(),
        "checkpoint/consistency?from=1&to=2".to_owned(),
        format!("events/{}/proof", ids[0]),
    ] {
        let answer = ask(&service, &format!("/api/v1/audit/{path}")).await;
        let problem = answer.problem();
        assert_eq!(problem["code"], "not_yet_signed", "{path}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("event_log.signing_key"), "{detail}");
        assert_eq!(answer.header("retry-after"), "", "{path}");
    }
}

#[tokio::test]
async fn too_broad_a_question_and_one_that_makes_no_sense_are_refused() {
    let service = Service::with(&AUDITOR).await;
    for (path, code) in [
        ("events", "too_broad"),
        ("events?correlationId=none", "too_broad"),
        ("events?aggregateType=vehicle", "invalid_aggregate_id"),
        ("events?actor=", "invalid_actor"),
        ("events?type=", "invalid_type"),
        ("events?type=%00", "invalid_type"),
        ("events?actor=x&from=2020-01-01T00:00:00Z", "invalid_from"),
        ("events?actor=x&from=2999-01-01T00:00:00Z", "invalid_from"),
        ("events?actor=x&until=now", "invalid_until"),
        ("events?actor=x&limit=0", "invalid_limit"),
        ("events?actor=x&after=x", "invalid_after"),
        ("events?actor=x&page=2", "unknown_parameter"),
        ("events/x", "invalid_event_id"),
        ("statistics", "invalid_by"),
        ("statistics?by=plate", "invalid_by"),
        (
            "statistics?by=type&from=2020-01-01T00:00:00Z",
            "invalid_from",
        ),
        ("checkpoint", "not_yet_signed"),
        ("checkpoint?size=0", "invalid_size"),
        ("checkpoint/consistency", "invalid_from"),
        ("checkpoint/consistency?from=2&to=1", "invalid_from"),
        ("checkpoint/consistency?from=0", "invalid_from"),
        ("checkpoint/consistency?from=1&to=x", "invalid_to"),
        ("checkpoint/consistency?from=1", "not_yet_signed"),
    ] {
        let answer = ask(&service, &format!("/api/v1/audit/{path}")).await;
        assert_eq!(answer.problem()["code"], code, "{path}");
    }
    let week = ask(
        &service,
        "/api/v1/audit/events?from=2026-01-01T00:00:00Z&until=2026-01-08T00:00:00Z",
    );
    assert_eq!(week.await.status, 200);
}
