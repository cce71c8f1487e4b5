//! What a dry run finds, and what ends it.

use serde_json::{Value, json};
use test_support::{FakeVehicle, Reply, Request};
use tracing_subscriber::filter::LevelFilter;

use super::{REPLAYS, code, dry_run, following};
use crate::api::{capture::Capture, consumers::feed};

#[tokio::test]
async fn a_dry_run_of_a_true_copy_finds_every_car_equal_and_changes_nothing() {
    let (capture, _guard) = Capture::start(LevelFilter::INFO);
    let operator = following(feed::of(2_500).await, 2_500).await;
    let replay = operator
        .start(&dry_run(&json!({ "fromPosition": 1 })))
        .await;
    let done = operator.until(&replay, "completed").await;
    for (member, value) in [
        ("outcomes", json!([{ "outcome": "equal", "count": 2500 }])),
        ("fields", json!([])),
        ("fromPosition", json!(1)),
        ("untilPosition", json!(2500)),
        ("position", json!(2500)),
        ("seen", json!(2500)),
        ("expected", json!(2500)),
        ("failed", json!(0)),
        ("failure", Value::Null),
        ("estimatedEndAt", Value::Null),
        ("requestedBy", json!("operator")),
    ] {
        assert_eq!(done[member], value, "{member}");
    }
    assert!(done["perSecond"].as_f64().unwrap() > 0.0);
    // Three pages, after two looks at the ends of the window.
    assert_eq!(operator.0.vehicle.calls(), 5);
    let unchanged =
        "do $$ begin assert (select count(*) = 2500 and max(loaded_at) < min(created_at)
        from insurance_replica.vehicles, insurance_replica.replays); end $$";
    operator.execute(unchanged).await;
    assert_eq!(operator.read(REPLAYS).await["replays"], json!([done]));
    let told = [
        "\"target\":\"audit\"",
        "\"action\":\"start_replay\"",
        "\"key_id\":\"operator\"",
    ];
    assert_eq!(capture.lines_with(&told), 1, "{}", capture.text());
}

#[tokio::test]
async fn a_dry_run_tells_how_cars_differ_and_not_which() {
    let mut events = feed::events(6);
    events.push(feed::gone(7, 6));
    events.push(json!({ "sequence": "00000000000000000008", "time": "2026-01-08T00:00:00Z" }));
    let operator = following(feed::serving(events).await, 8).await;
    operator
        .execute(
            "update insurance_replica.vehicles set model = 'XC70', model_year = 2020
                 where registration_number = 'C000001';
             delete from insurance_replica.vehicles where registration_number = 'C000002';
             update insurance_replica.vehicles set version = 1, make = 'Saab'
                 where registration_number = 'C000003';
             update insurance_replica.vehicles set version = 9, model = null
                 where registration_number = 'C000004';",
        )
        .await;
    let replay = operator
        .start(&dry_run(&json!({ "fromPosition": 1 })))
        .await;
    let done = operator.until(&replay, "completed").await;
    let expected = [
        ("different", 1),
        ("equal", 1),
        ("only_live", 1),
        ("only_replica", 1),
        ("replica_ahead", 1),
        ("replica_behind", 1),
    ];
    let expected = expected.map(|(outcome, count)| json!({ "outcome": outcome, "count": count }));
    assert_eq!(done["outcomes"], json!(expected));
    assert_eq!(done["fields"], json!(["make", "model", "modelYear"]));
    assert_eq!((&done["seen"], &done["failed"]), (&json!(8), &json!(1)));
    assert!(!done.to_string().contains("C00000"), "{done}");
    let forgotten = "do $$ begin assert (select differences::text not like '%C00000%'
        and (select count(*) from jsonb_object_keys(differences)) = 4
        from insurance_replica.replays); end $$";
    operator.execute(forgotten).await;
}

#[tokio::test]
async fn a_copy_that_differs_too_much_ends_the_dry_run() {
    let operator = following(feed::of(3_000).await, 3_000).await;
    operator
        .execute("delete from insurance_replica.vehicles")
        .await;
    let replay = operator
        .start(&dry_run(&json!({ "fromPosition": 1 })))
        .await;
    let failed = operator.until(&replay, "failed").await;
    assert_eq!(failed["failure"], "too_many_differences");
    assert_eq!(failed["seen"], 2000);
    operator
        .counts("replays_total", &[("status", "failed")], 1)
        .await;
}
#[tokio::test]
async fn a_copy_of_another_log_is_compared_with_nothing() {
    let operator = following(feed::of(1).await, 1).await;
    let request = dry_run(&json!({ "fromPosition": 1 }));
    let restored = "update insurance_replica.consumers set copy_log_id = gen_random_uuid()";
    operator.execute(restored).await;
    let refused = operator.post(REPLAYS, &request).await;
    assert_eq!(code(&refused), (409, "replica_off".to_owned()));
}

/// What a log says after the first page of a dry run.
type Other = fn(&[Value], &Request) -> Reply;

/// The same, with another place of the event at this one.
fn moved(events: &[Value], at: usize, request: &Request) -> Reply {
    let mut events = events.to_vec();
    events[at - 1]["sequence"] = json!(format!("{:020}", at + 1));
    feed::answer(&events, request)
}

#[tokio::test]
async fn a_dry_run_believes_no_place_that_is_not_the_next_one() {
    let others: [(Other, usize); 5] = [
        (|_, _| Reply::status(410), 1_000),
        (
            |events, request| match feed::answer(events, request) {
                Reply::Answer(status, mut headers, body) => {
                    let log = headers.iter_mut().find(|(name, _)| *name == "log-id");
                    log.unwrap().1 = feed::id(7);
                    Reply::Answer(status, headers, body)
                }
                reply => reply,
            },
            1_000,
        ),
        // Shorter than it was.
        (
            |events, request| feed::answer(&events[..1_000], request),
            1_000,
        ),
        (|events, request| moved(events, 1_001, request), 1_000),
        (|events, request| moved(events, 1_500, request), 1_499),
    ];
    for (number, (other, seen)) in others.into_iter().enumerate() {
        let events = feed::events(2_500);
        let vehicle = FakeVehicle::start(move |request| {
            if request.path.contains("lastEventId") {
                other(&events, request)
            } else {
                feed::answer(&events, request)
            }
        });
        let operator = following(vehicle.await, 2_500).await;
        let request = dry_run(&json!({ "fromPosition": 1 }));
        let replay = operator.start(&request).await;
        let failed = operator.until(&replay, "failed").await;
        let expected = (&json!("unknown_event"), &json!(seen));
        assert_eq!((&failed["failure"], &failed["seen"]), expected, "{number}");
    }
}

#[tokio::test]
async fn a_later_version_of_an_event_without_the_known_one_is_no_equal_car() {
    let mut events = feed::events(6);
    // Beside the known one; before the known one; alone, and in the copy; alone, and newer.
    for (index, car, version) in [(1, 1, 1), (2, 4, 4), (4, 5, 5), (5, 6, 7)] {
        let event = &mut events[index];
        event["type"] = json!("vehicle.changed.v2");
        event["subject"] = json!(format!("vehicle/C{car:06}"));
        event["aggregateversion"] = json!(version);
    }
    let operator = following(feed::serving(events).await, 6).await;
    let request = dry_run(&json!({ "fromPosition": 1 }));
    let replay = operator.start(&request).await;
    let done = operator.until(&replay, "completed").await;
    assert_eq!((&done["seen"], &done["failed"]), (&json!(6), &json!(1)));
    let equal = json!([{ "outcome": "equal", "count": 2 }]);
    assert_eq!(done["outcomes"], equal);
}

#[tokio::test]
async fn a_dry_run_asks_again_when_vehicle_says_and_is_cancelled_meanwhile() {
    let events = feed::events(2_500);
    let vehicle = FakeVehicle::start(move |request| {
        if request.path.contains("lastEventId") {
            Reply::Answer(503, vec![("retry-after", "3600".to_owned())], String::new())
        } else {
            feed::answer(&events, request)
        }
    })
    .await;
    let operator = following(vehicle.clone(), 2_500).await;
    let replay = operator
        .start(&dry_run(&json!({ "fromPosition": 1 })))
        .await;
    vehicle.reached(4).await;
    // The lease is renewed with each look.
    for _ in 0..3 {
        operator.looked().await;
    }
    assert_eq!(vehicle.calls(), 4, "it asked again");
    assert_eq!(operator.cancel(&replay).await.status, 202);
    operator.until(&replay, "cancelled").await;
    assert_eq!(vehicle.calls(), 4, "it asked again");
}
