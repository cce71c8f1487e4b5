//! Answers from the copy of Vehicle's register: which of them are told, how old, and when Vehicle is
//! asked instead.

use std::fmt::Write;

use insurance_service::{Clock, NAME, SCHEMA};
use serde_json::{Value, json};
use settings::Arguments;
use test_support::{Answer, FakeVehicle, Reply, TestDatabase};

use super::service::{PERSON, Service, enriched, enrichments, unavailable, without_vehicle};

const ANOTHER: &str = "197001019999";

/// A copy is kept, and is good for longer than a test takes.
const COPY: [(&str, &str); 2] = [("REPLICA__ENABLED", "true"), ("REPLICA__MAX_AGE", "1h")];
const ALONE: (&str, &str) = ("ENRICHMENT__STRATEGY", "replica");
const THEN_SINGLE: (&str, &str) = ("ENRICHMENT__STRATEGY", "replica_then_single");
const THEN_BATCH: (&str, &str) = ("ENRICHMENT__STRATEGY", "replica_then_batch");

/// An Insurance service on a copy with these cars, which was up to date so long ago. Nobody follows
/// Vehicle.
pub(crate) async fn copying(
    vehicle: FakeVehicle,
    settings: &[(&str, &str)],
    age: &str,
    cars: &[&str],
) -> Service {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let mut sql = format!(
        "update insurance_replica.consumers
         set generation = 1, generations = 1, mode = 'paused', caught_up_at = now() - interval '{age}';"
    );
    for car in cars {
        write!(
            sql,
            "insert into insurance_replica.vehicles
                 (generation, registration_number, make, model, model_year, version, loaded_at)
             values (1, '{car}', 'Saab', '900', 1984, 1, now() - interval '1 day');"
        )
        .unwrap();
    }
    database.execute(&sql).await;
    let settings = [&COPY[..], settings].concat();
    Service::on(
        database,
        Clock::system(),
        vehicle,
        Arguments::default(),
        &settings,
    )
}

/// Status and source of each policy, and the age in whole hours.
fn told(answer: &Answer) -> Vec<(String, Option<String>, Option<u64>)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let of = |enrichment: Value| {
        let age = enrichment["ageSeconds"].as_u64();
        (
            text(&enrichment["status"]).unwrap(),
            text(&enrichment["source"]),
            age.map(|seconds| seconds / 3600),
        )
    };
    enrichments(answer).into_iter().map(of).collect()
}

fn from_copy(status: &str, hours: u64) -> (String, Option<String>, Option<u64>) {
    (status.to_owned(), Some("replica".to_owned()), Some(hours))
}

async fn park(service: &Service, car: &str, status: &str, by: Option<&str>) {
    let (closed_at, closed_by) = match by {
        Some(by) => ("now()", format!("'{by}'")),
        None => ("null", "null".to_owned()),
    };
    let sql = format!(
        "insert into insurance_replica.dead_letters (dead_letter_id, consumer, event_id, position,
             registration_number, reason, detail, event, status, closed_at, closed_by)
         values (gen_random_uuid(), 'vehicle_replica', gen_random_uuid(), 1, {car}, 'contract', '',
             '', '{status}', {closed_at}, {closed_by})"
    );
    service.database.execute(&sql).await;
}

/// Every way in which it may lack what an event told.
const LACKING: [(&str, Option<&str>); 4] = [
    ("parked", None),
    ("retrying", None),
    ("resolved", Some("key/operator")),
    ("discarded", Some("key/operator")),
];

#[tokio::test]
async fn a_copy_that_is_up_to_date_answers_for_every_car_without_a_call() {
    let vehicle = FakeVehicle::healthy().await;
    let service = copying(vehicle, &[ALONE], "0 s", &["ABC123"]).await;
    let answer = service.with_cars(ANOTHER, &["ABC123", "DEF456"]).await;
    let not_found = without_vehicle("not_found", Some("replica"));
    assert_eq!(told(&answer)[0], from_copy("enriched", 0));
    assert_eq!(enrichments(&answer)[1], not_found);
    let profile = answer.json();
    assert_eq!(profile["enrichment"], "complete");
    let saab = json!({ "registrationNumber": "ABC123", "make": "Saab", "model": "900",
                       "modelYear": 1984 });
    assert_eq!(profile["insurances"][0]["vehicle"], saab);
    assert_eq!(service.look_up_strictly(ANOTHER).await.status, 200);
    assert_eq!(service.vehicle.calls(), 0);
    let counted = [("status", "enriched"), ("source", "replica")];
    let outcomes = "enrichment_outcomes_total";
    assert_eq!(service.metric(outcomes, &counted).await, 2);
}

#[tokio::test]
async fn a_copy_that_is_not_up_to_date_is_stale_and_says_of_no_car_that_there_is_none() {
    let vehicle = FakeVehicle::healthy().await;
    let service = copying(vehicle, &[ALONE], "2 hours", &["ABC123"]).await;
    let answer = service.with_cars(ANOTHER, &["ABC123", "DEF456"]).await;
    assert_eq!(told(&answer)[0], from_copy("stale", 2));
    let unknown = unavailable("replica_stale", None);
    assert_eq!(enrichments(&answer)[1], unknown);
    assert_eq!(answer.json()["enrichment"], "partial");
    let strict = service.look_up_strictly(ANOTHER).await;
    assert_eq!(strict.problem()["code"], "enrichment_incomplete");
    assert_eq!(strict.header("retry-after"), "30");
    // Stale is an answer.
    assert_eq!(service.look_up_strictly(PERSON).await.status, 200);
    assert_eq!(service.vehicle.calls(), 0);
}

#[tokio::test]
async fn a_copy_that_is_too_old_or_not_there_says_nothing() {
    let not_there = "update insurance_replica.consumers set caught_up_at = null";
    for (age, sql) in [("2 days", "select"), ("0 s", not_there)] {
        for (strategy, expected) in [
            (ALONE, unavailable("replica_stale", None)),
            (THEN_SINGLE, enriched("live")),
            (THEN_BATCH, enriched("batch")),
        ] {
            let vehicle = FakeVehicle::healthy().await;
            let service = copying(vehicle, &[strategy], age, &["ABC123"]).await;
            service.database.execute(sql).await;
            let answer = service.look_up(PERSON).await;
            assert_eq!(enrichments(&answer)[0], expected, "{age} {strategy:?}");
            let calls = usize::from(strategy != ALONE);
            assert_eq!(service.vehicle.calls(), calls);
        }
    }
}

#[tokio::test]
async fn vehicle_is_asked_only_for_what_the_copy_does_not_say() {
    for (age, status, strategy, source) in [
        ("0 s", "enriched", THEN_SINGLE, None),
        ("2 hours", "stale", THEN_SINGLE, Some("live")),
        ("2 hours", "stale", THEN_BATCH, Some("batch")),
    ] {
        let vehicle = FakeVehicle::healthy().await;
        let service = copying(vehicle, &[strategy], age, &["ABC123"]).await;
        let answer = service.with_cars(ANOTHER, &["ABC123", "DEF456"]).await;
        let (expected, calls) = match source {
            Some(source) => (enriched(source), 1),
            None => (without_vehicle("not_found", Some("replica")), 0),
        };
        assert_eq!(told(&answer)[0].0, status);
        assert_eq!(enrichments(&answer)[1], expected);
        assert_eq!(service.vehicle.calls(), calls, "{age} {strategy:?}");
    }
}

/// What the copy has of it is older than an event that Vehicle told.
#[tokio::test]
async fn a_car_with_a_dead_letter_is_never_told_as_new() {
    for (car, (status, by)) in [("'ABC123'", LACKING[0]), ("null", LACKING[3])] {
        for (strategy, healthy) in [(ALONE, true), (THEN_SINGLE, true), (THEN_SINGLE, false)] {
            let vehicle = FakeVehicle::start(move |request| {
                if healthy {
                    Reply::healthy(request)
                } else {
                    Reply::status(500)
                }
            });
            let vehicle = vehicle.await;
            let service = copying(vehicle, &[strategy], "0 s", &["ABC123"]).await;
            park(&service, car, "resolved", Some("worker/vehicle_replica")).await;
            park(&service, "'DEF456'", "parked", None).await;
            assert_eq!(
                told(&service.look_up(PERSON).await)[0],
                from_copy("enriched", 0)
            );
            park(&service, car, status, by).await;
            let answer = service.look_up(PERSON).await;
            let expected = match (strategy, healthy) {
                (THEN_SINGLE, true) => ("enriched".to_owned(), Some("live".to_owned()), Some(0)),
                _ => from_copy("stale", 0),
            };
            assert_eq!(told(&answer)[0], expected, "{car} {strategy:?} {healthy}");
        }
    }
}

#[tokio::test]
async fn a_car_that_is_not_there_is_not_denied_while_what_its_event_told_is_lacking() {
    let vehicle = FakeVehicle::healthy().await;
    let service = copying(vehicle, &[ALONE], "0 s", &[]).await;
    for (status, by) in LACKING {
        let forget = "delete from insurance_replica.dead_letters";
        service.database.execute(forget).await;
        let answer = service.look_up(PERSON).await;
        let not_found = without_vehicle("not_found", Some("replica"));
        assert_eq!(enrichments(&answer)[0], not_found);
        park(&service, "'ABC123'", status, by).await;
        let answer = service.look_up(PERSON).await;
        assert_eq!(enrichments(&answer)[0], unavailable("replica_stale", None));
    }
}

#[tokio::test]
async fn a_tombstone_and_the_rows_of_another_copy_are_not_there() {
    let vehicle = FakeVehicle::healthy().await;
    let service = copying(vehicle, &[ALONE], "0 s", &["ABC123", "DEF456"]).await;
    let sql = "update insurance_replica.vehicles set deleted_at = now()
            where registration_number = 'ABC123';
        update insurance_replica.vehicles set generation = 2 where registration_number = 'DEF456'";
    service.database.execute(sql).await;
    let answer = service.with_cars(ANOTHER, &["ABC123", "DEF456"]).await;
    let not_found = without_vehicle("not_found", Some("replica"));
    assert_eq!(enrichments(&answer), [not_found.clone(), not_found]);
}

#[tokio::test]
async fn the_kill_switch_stays_above_the_copy() {
    let off = ("FEATURE_TOGGLES__ENABLE_VEHICLE_ENRICHMENT", "false");
    for strategy in [ALONE, THEN_SINGLE] {
        let vehicle = FakeVehicle::healthy().await;
        let service = copying(vehicle, &[strategy, off], "0 s", &["ABC123"]).await;
        let answer = service.look_up(PERSON).await;
        let disabled = without_vehicle("disabled", None);
        assert_eq!(enrichments(&answer)[0], disabled);
        assert_eq!(service.vehicle.calls(), 0);
    }
}

#[tokio::test]
async fn a_strategy_takes_the_place_of_the_toggle_and_is_counted_as_one() {
    for (strategy, source) in [("single", "live"), ("batch", "batch")] {
        let settings = [("ENRICHMENT__STRATEGY", strategy)];
        let service = Service::with(FakeVehicle::healthy().await, &settings).await;
        let answer = service.look_up(PERSON).await;
        assert_eq!(enrichments(&answer)[0], enriched(source));
        service.look_up("200310209876").await;
        let evaluations = "feature_toggle_evaluations_total";
        let read = [("toggle_name", "strategy"), ("value", strategy)];
        assert_eq!(service.metric(evaluations, &read).await, 1);
        assert_eq!(service.metric(evaluations, &[]).await, 2);
    }
}
