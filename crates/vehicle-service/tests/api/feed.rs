//! The feed: every change, in the order of the log, for those who follow it.

use std::{
    pin::pin,
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use test_support::Answer;
use tokio::time::{Instant, timeout};

use super::{
    audit::{AUDITOR, ask},
    copy::{FOLLOWER, get},
    register::{WRITER, change},
    service::Service,
};

const FEED: &str = "/api/v1/events";
const BOTH: [(&str, &str); 4] = [FOLLOWER[0], FOLLOWER[1], WRITER[0], WRITER[1]];

async fn register(service: &Service, plate: &str) -> Answer {
    let saab = json!({ "make": "Saab", "model": null, "modelYear": null });
    let path = format!("/api/v1/vehicles/{plate}");
    let new = [("if-none-match", "*"), ("x-request-id", "order-42")];
    let answer = change(service, Method::PUT, &path, &new, &saab).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer
}

/// Follows the log from its beginning until it has so many events: these, and where they end.
async fn follow(service: &Service, events: usize) -> (Vec<Value>, String) {
    let (mut read, mut query) = (Vec::new(), String::new());
    loop {
        let page = get(service, &format!("{FEED}?timeout=20000&limit=2{query}")).await;
        assert_eq!(page.status, 200, "{}", page.text());
        read.extend(page.json().as_array().unwrap().clone());
        let next = page.header("next-event-id").to_owned();
        if read.len() >= events {
            return (read, next);
        }
        query = format!("&lastEventId={next}");
    }
}

#[tokio::test]
async fn a_reader_gets_every_change_once_in_order_with_all_that_it_needs() {
    let service = Service::with(&BOTH).await;
    let registered = register(&service, "NEW123").await;
    let any = [("if-match", "*")];
    let path = "/api/v1/vehicles/NEW123";
    let gone = change(&service, Method::DELETE, path, &any, &Value::Null).await;
    let (events, next) = follow(&service, 5).await;
    let places: Vec<_> = events
        .iter()
        .map(|it| it["sequence"].as_str().unwrap())
        .collect();
    let expected: Vec<_> = (1..=5).map(|it| format!("{it:020}")).collect();
    assert_eq!(places, expected);
    assert_eq!(next, gone.header("event-id"));

    let mut event = events[3].clone();
    let time = event["time"].take();
    assert!(humantime_like(time.as_str().unwrap()), "{time}");
    let version = event["aggregateversion"].as_i64().unwrap();
    let expected = json!({
        "specversion": "1.0", "id": registered.header("event-id"), "source": "/local/vehicle",
        "type": "vehicle.registered.v1", "subject": "vehicle/NEW123", "time": null,
        "datacontenttype": "application/json", "sequence": "00000000000000000004",
        "partitionkey": "vehicle/NEW123", "aggregateversion": version,
        "correlationid": "order-42", "causationid": null,
        "traceparent": registered.header("traceparent"), "authtype": "api_key",
        "authid": "key/writer", "method": null,
        "data": { "registrationNumber": "NEW123", "make": "Saab", "model": null,
                  "modelYear": null, "version": version },
    });
    assert_eq!(event, expected);
    let tombstone = &events[4];
    assert_eq!(tombstone["method"], "DELETE");
    assert_eq!(tombstone["data"], Value::Null);
    assert_eq!(events[0]["authtype"], "system");
}

fn humantime_like(text: &str) -> bool {
    text.len() == "2026-11-21T10:15:30.123456Z".len() && text.ends_with('Z')
}

#[tokio::test]
async fn a_waiting_reader_is_told_of_a_change_at_once() {
    let service = Service::with(&BOTH).await;
    let (_, next) = follow(&service, 3).await;
    let path = format!("{FEED}?timeout=30000&lastEventId={next}");
    let reader = async {
        let page = get(&service, &path).await;
        (page, Instant::now())
    };
    let writer = async {
        let registered = register(&service, "NEW123").await;
        (registered, Instant::now())
    };
    let ((page, told), (registered, committed)) = tokio::join!(reader, writer);
    assert_eq!(page.json()[0]["id"], registered.header("event-id"));
    assert_eq!(page.header("next-event-id"), registered.header("event-id"));
    assert!(told.saturating_duration_since(committed) < Duration::from_secs(5));
}

#[tokio::test]
async fn the_end_of_the_log_is_an_empty_page_that_keeps_the_place() {
    let service = Service::with(&FOLLOWER).await;
    let (_, next) = follow(&service, 3).await;
    for wait in ["", "&timeout=10"] {
        let page = get(&service, &format!("{FEED}?lastEventId={next}{wait}")).await;
        assert_eq!(page.text(), "[]");
        assert_eq!(
            page.header("content-type"),
            "application/cloudevents-batch+json"
        );
        assert_eq!(page.header("cache-control"), "no-store");
        assert_eq!(page.header("next-event-id"), next);
        assert_eq!(page.header("log-position"), "3");
        assert!(!page.header("log-id").is_empty());
    }
}

#[tokio::test]
async fn a_log_says_for_how_long_it_may_lack_a_change() {
    let service = Service::with(&BOTH).await;
    let (_, next) = follow(&service, 3).await;
    let end = format!("{FEED}?lastEventId={next}");
    // While this row is locked, no event gets a place.
    let mut sequencer = service.database.connect().await;
    let lock = "begin; select from vehicle_events.head for update";
    sqlx::raw_sql(lock).execute(&mut sequencer).await.unwrap();
    register(&service, "NEW123").await;
    let committed = Instant::now();
    // Many looks of the sequencer, which looks ten times a second.
    while committed.elapsed() < Duration::from_secs(1) {
        let at_least = committed.elapsed().as_millis();
        assert!(behind(&service, &end).await >= at_least);
    }
    let unlock = "rollback";
    sqlx::raw_sql(unlock).execute(&mut sequencer).await.unwrap();
    let end = format!("{FEED}?lastEventId={}", follow(&service, 4).await.1);
    let complete = async { while behind(&service, &end).await >= 1_000 {} };
    timeout(Duration::from_secs(30), complete).await.unwrap();
}

/// What the end of the log says.
async fn behind(service: &Service, end: &str) -> u128 {
    let page = get(service, end).await;
    assert_eq!(page.text(), "[]");
    page.header("log-behind-ms").parse().unwrap()
}

#[tokio::test]
async fn a_reader_begins_where_it_says() {
    let service = Service::with(&FOLLOWER).await;
    let (all, _) = follow(&service, 3).await;
    let rest = get(&service, &format!("{FEED}?fromPosition=2"))
        .await
        .json();
    assert_eq!(rest.as_array().unwrap()[..], all[1..]);
    let since = get(&service, &format!("{FEED}?since=2020-01-01T00:00:00Z"))
        .await
        .json();
    assert_eq!(since.as_array().unwrap()[..], all[..]);
    for beyond in [
        "since=2999-01-01T00:00:00Z",
        "fromPosition=9223372036854775807",
        "fromPosition=9223372036854775807&subject=vehicle/ABC123",
    ] {
        let page = get(&service, &format!("{FEED}?{beyond}")).await;
        assert_eq!(
            (page.status.as_u16(), page.text().as_str()),
            (200, "[]"),
            "{beyond}"
        );
    }
}

#[tokio::test]
async fn a_reader_who_waits_for_a_moment_to_come_is_told_of_nothing_before_it() {
    let service = Service::with(&[&BOTH[..], &AUDITOR].concat()).await;
    let waiting = |since: &str| format!("{FEED}?timeout=30000&since={since}");
    let never = waiting("2999-01-01T00:00:00Z");
    let early = async {
        for number in 1..=3 {
            register(&service, &format!("NEW12{number}")).await;
            follow(&service, 3 + number).await;
        }
        service.shutdown.begin();
    };
    let (page, ()) = tokio::join!(get(&service, &never), early);
    assert_eq!((page.status.as_u16(), page.text().as_str()), (200, "[]"));
    // So that it asks for the moment again.
    assert_eq!(page.header("next-event-id"), "");

    let keys = [&BOTH[..], &AUDITOR].concat();
    let service = Service::on(service.database, &keys);
    let soon = SystemTime::now() + Duration::from_millis(300);
    let since = humantime::format_rfc3339_micros(soon).to_string();
    let soon = waiting(&since);
    let mut reader = pin!(get(&service, &soon));
    let mut number = 0;
    let page = loop {
        let registered = async {
            number += 1;
            register(&service, &format!("OLD{number:04}")).await
        };
        tokio::select! {
            page = &mut reader => break page,
            _ = registered => {}
        }
    };
    let id = page.json()[0]["id"].as_str().unwrap().to_owned();
    let first = ask(&service, &format!("/api/v1/audit/events/{id}")).await;
    let placed_at = first.json()["placedAt"].as_str().unwrap().to_owned();
    assert!(placed_at >= since, "{placed_at} {since}");
}

/// A page looks at 10,000 events at most.
#[tokio::test]
async fn a_filtered_reader_in_mid_log_is_told_at_once_how_far_it_came() {
    let service = Service::with(&FOLLOWER).await;
    let fill = "insert into vehicle_events.events
             (event_id, aggregate_type, aggregate_id, version, event_type, actor, correlation_id, data)
         select gen_random_uuid(), 'vehicle', 'N' || n, 1, 'vehicle.changed.v1', 'key/x', 'none', '{}'
         from generate_series(1, 10002) as n";
    service.database.execute(fill).await;
    let placed = get(
        &service,
        &format!("{FEED}?fromPosition=10005&timeout=30000"),
    )
    .await;
    assert_eq!(placed.header("log-position"), "10005");
    let wanted = format!("{FEED}?types=vehicle.deregistered.v1&timeout=30000");
    let page = timeout(Duration::from_secs(20), get(&service, &wanted))
        .await
        .unwrap();
    assert_eq!(page.text(), "[]");
    let last = get(&service, &format!("{FEED}?fromPosition=10000&limit=1")).await;
    assert_eq!(page.header("next-event-id"), last.json()[0]["id"]);
}

#[tokio::test]
async fn an_event_that_the_log_does_not_have_is_gone() {
    let service = Service::with(&FOLLOWER).await;
    let unknown = "0192f3c4-0000-7000-8000-00000000abcd";
    let answer = get(&service, &format!("{FEED}?lastEventId={unknown}")).await;
    assert_eq!(answer.status, 410);
    assert_eq!(answer.problem()["code"], "unknown_event");
}

/// A writer who follows from its own change, before the sequencer has seen it.
#[tokio::test]
async fn an_event_that_waits_for_its_place_is_not_gone() {
    let service = Service::with(&BOTH).await;
    follow(&service, 3).await;
    let mut sequencer = service.database.connect().await;
    let hold = "begin; select from vehicle_events.head for update";
    sqlx::raw_sql(hold).execute(&mut sequencer).await.unwrap();
    let written = register(&service, "NEW123").await;
    let path = format!("{FEED}?lastEventId={}", written.header("event-id"));
    let page = get(&service, &path).await;
    assert_eq!((page.status.as_u16(), page.text().as_str()), (200, "[]"));
    assert_eq!(page.header("next-event-id"), written.header("event-id"));
    let release = "rollback";
    sqlx::raw_sql(release)
        .execute(&mut sequencer)
        .await
        .unwrap();
    let next = register(&service, "NEW456").await;
    let (events, _) = follow(&service, 5).await;
    let page = get(&service, &path).await;
    assert_eq!(page.json(), json!([events[4]]));
    assert_eq!(page.header("next-event-id"), next.header("event-id"));
}

#[tokio::test]
async fn a_filtered_reader_gets_what_it_wants_and_goes_on_after_the_rest() {
    let service = Service::with(&BOTH).await;
    register(&service, "NEW123").await;
    let (all, end) = follow(&service, 4).await;
    let mine = get(&service, &format!("{FEED}?subject=vehicle/NEW123")).await;
    assert_eq!(mine.json(), json!([all[3]]));
    assert_eq!(mine.header("next-event-id"), end);
    let types = "vehicle.deregistered.v1,vehicle.changed.v1";
    let none = get(&service, &format!("{FEED}?types={types}")).await;
    assert_eq!(
        (none.text().as_str(), none.header("next-event-id")),
        ("[]", end.as_str())
    );
    let registered = get(
        &service,
        &format!("{FEED}?types=vehicle.registered.v1&limit=1"),
    )
    .await;
    assert_eq!(registered.json(), json!([all[0]]));
    assert_eq!(
        registered.header("next-event-id"),
        all[0]["id"].as_str().unwrap()
    );
}

async fn look_up(service: &Service) {
    for _ in 0..20 {
        let found = service.api.get("/api/v1/vehicles/ABC123").await;
        assert_eq!(found.status, 200, "{}", found.text());
    }
}

/// One place for lookups, and a thousand readers.
#[tokio::test]
async fn readers_who_wait_take_no_place_from_lookups_and_are_released_by_a_stop() {
    let settings = [&BOTH[..], &[("LIMITS__MAX_REQUESTS_IN_PROGRESS", "1")]].concat();
    let service = Service::with(&settings).await;
    let (_, next) = follow(&service, 3).await;
    let path = format!("{FEED}?timeout=30000&lastEventId={next}");
    let readers = || join_all((0..1_000).map(|_| get(&service, &path)));
    let woken = async {
        look_up(&service).await;
        let registered = register(&service, "NEW123").await;
        look_up(&service).await;
        registered
    };
    let (pages, registered) = tokio::join!(readers(), woken);
    for page in pages {
        assert_eq!(page.json()[0]["id"], registered.header("event-id"));
    }
    let path = format!(
        "{FEED}?timeout=30000&lastEventId={}",
        registered.header("event-id")
    );
    let readers = join_all((0..1_000).map(|_| get(&service, &path)));
    let stopped = async {
        look_up(&service).await;
        service.shutdown.begin();
    };
    let released = timeout(Duration::from_secs(25), async {
        tokio::join!(readers, stopped)
    });
    let (pages, ()) = released.await.unwrap();
    for page in pages {
        assert_eq!((page.status.as_u16(), page.text().as_str()), (200, "[]"));
    }
}

/// What they answer they have in hand.
#[tokio::test]
async fn a_stop_releases_readers_while_the_database_hangs() {
    let service = Service::with(&FOLLOWER).await;
    let (_, next) = follow(&service, 3).await;
    let path = format!("{FEED}?timeout=30000&lastEventId={next}");
    let readers = join_all((0..30).map(|_| get(&service, &path)));
    let stopped = async {
        // With two connections there is one statement at a time, in turn: all have looked.
        assert_eq!(get(&service, FEED).await.status, 200);
        let lock = service.database.lock("vehicle_events.log").await;
        service.shutdown.begin();
        lock
    };
    // As long as `server.shutdown_timeout`, after which they would be cut.
    let released = timeout(Duration::from_secs(10), async {
        tokio::join!(readers, stopped)
    });
    let (pages, _lock) = released.await.unwrap();
    for page in pages {
        assert_eq!((page.status.as_u16(), page.text().as_str()), (200, "[]"));
        assert_eq!(page.header("next-event-id"), next);
    }
}

/// With two connections.
#[tokio::test]
async fn readers_whose_statements_hang_leave_connections_to_lookups() {
    let service = Service::with(&[FOLLOWER, AUDITOR].concat()).await;
    follow(&service, 3).await;
    let mut lock = service.database.lock("vehicle_events.log").await;
    let readers = join_all((0..20).map(|_| get(&service, FEED)));
    let question = "/api/v1/audit/events?type=vehicle.registered.v1&until=2999-01-01T00:00:00Z";
    let auditors = join_all((0..10).map(|_| ask(&service, question)));
    let looked_up = async {
        lock.queued(1).await;
        for _ in 0..5 {
            look_up(&service).await;
        }
        lock.queued(1).await;
        lock.release().await;
    };
    let (pages, answers, ()) = tokio::join!(readers, auditors, looked_up);
    for page in pages {
        assert_eq!(page.json().as_array().unwrap().len(), 3, "{}", page.text());
    }
    for answer in answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[tokio::test]
async fn what_no_reader_means_is_refused() {
    let service = Service::with(&FOLLOWER).await;
    for (query, code) in [
        ("limit=0", "invalid_limit"),
        ("limit=1001", "invalid_limit"),
        ("timeout=30001", "invalid_timeout"),
        ("lastEventId=1", "invalid_last_event_id"),
        ("fromPosition=0", "invalid_from_position"),
        ("since=yesterday", "invalid_since"),
        ("since=2020-01-01T00:00:00Z&fromPosition=1", "invalid_since"),
        (
            "lastEventId=0192f3c4-0000-7000-8000-00000000abcd&fromPosition=1",
            "invalid_from_position",
        ),
        ("types=", "invalid_types"),
        ("subject=vehicle", "invalid_subject"),
        ("subject=a/%00", "invalid_subject"),
        ("from=1", "unknown_parameter"),
    ] {
        let answer = get(&service, &format!("{FEED}?{query}")).await;
        assert_eq!(answer.problem()["code"], code, "{query}");
    }
}
