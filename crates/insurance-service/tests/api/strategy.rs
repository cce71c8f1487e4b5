//! Which calls a request makes: none, single ones or batches.

use futures_util::future::join_all;
use test_support::{FakeVehicle, Gate, Reply};

use crate::service::{PERSON, Service, enriched, enrichments, without_vehicle};

const ANOTHER: &str = "197001019999";
const BATCH: (&str, &str) = ("FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL", "true");
const KILLED: (&str, &str) = ("FEATURE_TOGGLES__ENABLE_VEHICLE_ENRICHMENT", "false");

#[tokio::test]
async fn three_policies_for_two_cars_make_two_single_calls() {
    let service = Service::healthy().await;
    let answer = service
        .with_cars(ANOTHER, &["ABC123", "DEF456", "ABC123"])
        .await;
    assert_eq!(enrichments(&answer), vec![enriched("live"); 3]);
    let mut paths: Vec<_> = service
        .vehicle
        .requests()
        .into_iter()
        .map(|it| it.path)
        .collect();
    paths.sort();
    let of = |number| format!("/api/v1/vehicles/{number}");
    assert_eq!(paths, [of("ABC123"), of("DEF456")]);
}

#[tokio::test]
async fn three_policies_for_two_cars_make_one_batch_call_of_two() {
    let service = Service::with(FakeVehicle::healthy().await, &[BATCH]).await;
    let answer = service
        .with_cars(ANOTHER, &["ABC123", "DEF456", "ABC123"])
        .await;
    assert_eq!(enrichments(&answer), vec![enriched("batch"); 3]);
    let requests = service.vehicle.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].numbers(), ["ABC123", "DEF456"]);
}

#[tokio::test]
async fn the_kill_switch_means_not_one_call() {
    for settings in [&[KILLED][..], &[KILLED, BATCH]] {
        let service = Service::with(FakeVehicle::healthy().await, settings).await;
        let answer = service.with_cars(ANOTHER, &["ABC123", "ABC123"]).await;
        let disabled = without_vehicle("disabled", None);
        assert_eq!(enrichments(&answer), [disabled.clone(), disabled]);
        assert_eq!(answer.json()["enrichment"], "disabled");
        service.look_up(PERSON).await;
        assert_eq!(service.vehicle.calls(), 0);
    }
}

#[tokio::test]
async fn many_requests_together_never_have_more_calls_in_flight_than_allowed() {
    let vehicle = FakeVehicle::start(|request| {
        Reply::healthy(request).after(std::time::Duration::from_millis(1))
    })
    .await;
    let service = Service::with(vehicle, &[("DATABASE__MAX_CONNECTIONS", "4")]).await;
    let persons: Vec<_> = (0..50)
        .map(|index| format!("1970010100{index:02}"))
        .collect();
    for (index, person) in persons.iter().enumerate() {
        let cars: Vec<_> = (0..10).map(|car| format!("C{index:02}{car:02}")).collect();
        let policies: Vec<_> = cars
            .iter()
            .map(|car| ("car", "289.90", Some(&**car)))
            .collect();
        service.insure(person, &policies).await;
    }
    let answers = join_all(persons.iter().map(|person| service.look_up(person))).await;
    for answer in answers {
        assert_eq!(enrichments(&answer), vec![enriched("live"); 10]);
    }
    assert_eq!(service.vehicle.most_in_flight(), 5);
    assert_eq!(service.vehicle.calls(), 500);
}

#[tokio::test]
async fn the_calls_of_a_caller_who_goes_away_run_on() {
    let gate = Gate::closed();
    let held = gate.clone();
    let vehicle = FakeVehicle::start(move |request| Reply::healthy(request).held(&held)).await;
    let service = Service::with(vehicle, &[]).await;
    service
        .insure(
            ANOTHER,
            &["AAA111", "BBB222", "CCC333"].map(|car| ("car", "289.90", Some(car))),
        )
        .await;
    let api = service.api.clone();
    let path = format!("/api/v1/insurances/{ANOTHER}");
    let request = tokio::spawn(async move { api.get(&path).await });
    service.vehicle.reached(3).await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    assert_eq!(service.metric("vehicle_client_in_flight", &[]).await, 3);
    gate.open();
    let abandoned = [("outcome", "answered"), ("awaited", "false")];
    let attempts = "vehicle_client_attempts_total";
    while service.metric(attempts, &abandoned).await < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(service.vehicle.calls(), 3);
    let cancelled = [("error_type", "cancelled")];
    let ended = "http_server_request_duration_seconds_count";
    assert_eq!(service.metric(ended, &cancelled).await, 1);
}

#[tokio::test]
async fn the_request_and_its_trace_are_named_to_vehicle() {
    let service = Service::healthy().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let headers = [
        ("x-request-id", "core-42"),
        ("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01")),
        ("authorization", "Bearer of-the-caller"),
        ("cookie", "of=the-caller"),
        ("prefer", "handling=strict"),
    ];
    let path = format!("/api/v1/insurances/{PERSON}");
    let answer = service.api.get_with(&path, &headers).await;
    assert_eq!(answer.header("x-request-id"), "core-42");
    let request = &service.vehicle.requests()[0];
    assert_eq!(request.header("x-request-id"), Some("core-42"));
    assert_eq!(
        request.header("traceparent"),
        Some(answer.header("traceparent"))
    );
    assert!(answer.header("traceparent").contains(trace));
    for foreign in ["authorization", "cookie", "prefer"] {
        assert_eq!(request.header(foreign), None);
    }
}
