//! A share of Vehicle's answers is compared with the copy, and a difference counts only after a
//! second look.

use std::time::Duration;

use http::StatusCode;
use test_support::{FakeVehicle, Reply};
use tokio::{
    task::yield_now,
    time::{advance, pause, resume, timeout},
};

use super::{
    replica::copying,
    service::{PERSON, Service, enrichments},
};

const COMPARISONS: &str = "replica_comparisons_total";
/// Ahead of every answer, so that the copy is not behind any.
const AHEAD: &str = "-1 hour";

async fn compared(service: &Service, outcome: &str) -> i64 {
    service.metric(COMPARISONS, &[("outcome", outcome)]).await
}

/// Waits until an answer was compared with this outcome, and holds that to be the only one.
async fn assert_compared(service: &Service, outcome: &str) {
    let counted = async {
        while compared(service, outcome).await == 0 {
            yield_now().await;
        }
    };
    let counted = timeout(Duration::from_mins(1), counted).await;
    counted.unwrap_or_else(|_| panic!("nothing is {outcome}"));
    assert_eq!(service.metric(COMPARISONS, &[]).await, 1);
}

/// The time until the second look is over.
async fn pass_the_second_look() {
    pause();
    advance(Duration::from_secs(7)).await;
    resume();
}

/// Outcomes of all hours with their counts, then those that were listed with their fields.
async fn stored(service: &Service) -> Vec<String> {
    let sql =
        "select outcome || ' ' || sum(samples) from insurance_replica.comparisons group by outcome
        union all
        select outcome || ' ' || array_to_string(fields, ',') from insurance_replica.differences";
    let mut connection = service.database.connect().await;
    let rows = sqlx::query_scalar(sql).fetch_all(&mut connection).await;
    rows.unwrap()
}

#[tokio::test]
async fn an_answer_that_the_copy_has_too_is_equal() {
    let service = copying(FakeVehicle::healthy().await, &[], AHEAD, &["ABC123"]).await;
    let same =
        "update insurance_replica.vehicles set make = 'Volvo', model = 'XC60', model_year = 2021";
    service.database.execute(same).await;
    service.look_up(PERSON).await;
    assert_compared(&service, "equal").await;
    assert_eq!(stored(&service).await, ["equal 1"]);
}

#[tokio::test]
async fn a_difference_is_counted_by_its_kind_and_listed_by_the_names_of_its_fields() {
    for (age, cars, sql, kind, listed) in [
        (
            AHEAD,
            &["ABC123"][..],
            "model = 'XC60'",
            "different",
            Some("make,modelYear"),
        ),
        (
            AHEAD,
            &["ABC123"],
            "deleted_at = now()",
            "only_live",
            Some(""),
        ),
        (AHEAD, &["ZZZ999"], "version = 2", "only_replica", Some("")),
        // Later than the question: the change may have come after the answer.
        (
            AHEAD,
            &["ABC123"],
            "loaded_at = now() + interval '1 minute'",
            "replica_ahead",
            None,
        ),
        (
            "1 minute",
            &["ABC123"],
            "version = 2",
            "replica_behind",
            None,
        ),
    ] {
        let vehicle = FakeVehicle::healthy().await;
        let service = copying(vehicle, &[], age, cars).await;
        let sql = format!("update insurance_replica.vehicles set {sql}");
        service.database.execute(&sql).await;
        let answer = service.with_cars("197001019999", cars).await;
        assert_eq!(answer.status, StatusCode::OK);
        pass_the_second_look().await;
        assert_compared(&service, kind).await;
        let mut expected = vec![format!("{kind} 1")];
        expected.extend(listed.map(|fields| format!("{kind} {fields}")));
        assert_eq!(stored(&service).await, expected);
    }
}

#[tokio::test]
async fn a_change_that_is_on_its_way_is_no_difference() {
    let service = copying(FakeVehicle::healthy().await, &[], AHEAD, &["ABC123"]).await;
    let mut lock = service.database.lock("insurance_replica.vehicles").await;
    service.look_up(PERSON).await;
    lock.queued(1).await;
    lock.release().await;
    // Behind the first look.
    service.look_up(PERSON).await;
    let same =
        "update insurance_replica.vehicles set make = 'Volvo', model = 'XC60', model_year = 2021";
    service.database.execute(same).await;
    assert_eq!(service.metric(COMPARISONS, &[]).await, 0);
    pass_the_second_look().await;
    assert_compared(&service, "equal").await;
}

#[tokio::test]
async fn one_of_a_hundred_answers_is_compared_and_none_of_a_vehicle_in_trouble() {
    let vehicle = FakeVehicle::start(|_| Reply::status(500)).await;
    let settings = [
        ("VEHICLE_CLIENT__BREAKER__MINIMUM_CALLS", "2"),
        ("VEHICLE_CLIENT__BREAKER__OPEN_FOR", "100ms"),
    ];
    let service = copying(vehicle, &settings, "1 minute", &["DEF456"]).await;
    let same =
        "update insurance_replica.vehicles set make = 'Volvo', model = 'XC60', model_year = 2021";
    service.database.execute(same).await;
    for _ in 0..2 {
        service.look_up(PERSON).await;
    }
    service.vehicle.script(Reply::healthy);
    // A probe: the first answer, which would be one of a hundred.
    let is_enriched = async || {
        let answer = service.look_up(PERSON).await;
        enrichments(&answer)[0]["status"] == "enriched"
    };
    let probed = async { while !is_enriched().await {} };
    timeout(Duration::from_mins(1), probed).await.unwrap();
    let closed = async {
        while !is_closed(&service).await {
            is_enriched().await;
        }
    };
    timeout(Duration::from_mins(1), closed).await.unwrap();
    let before = answered(&service).await;
    assert!((1..100).contains(&before), "{before}");
    for _ in before..100 {
        service.look_up(PERSON).await;
    }
    service.with_cars("197001019999", &["DEF456"]).await;
    assert_compared(&service, "equal").await;
}

/// Live answers so far.
async fn answered(service: &Service) -> i64 {
    let labels = [("status", "enriched"), ("source", "live")];
    service.metric("enrichment_outcomes_total", &labels).await
}

async fn is_closed(service: &Service) -> bool {
    let closed = [("state", "closed")];
    service
        .metric("vehicle_client_breaker_state", &closed)
        .await
        == 1
}

#[tokio::test]
async fn without_a_copy_nothing_is_compared() {
    let service = Service::healthy().await;
    service.look_up(PERSON).await;
    let metrics = service.api.get("/metrics").await.text();
    assert!(!metrics.contains("replica_comparisons"), "{metrics}");
}
