//! Why an answer is as it is: at debug level, each lookup says which layers decided what.

use test_support::{FakeVehicle, Reply};
use tracing_subscriber::filter::LevelFilter;

use super::{
    capture::Capture,
    service::{PERSON, Service, enriched, enrichments},
};

const EXPLAINED: &str = "a lookup explained";

#[tokio::test]
async fn a_lookup_is_explained_by_request_id_and_without_numbers() {
    let (capture, _guard) = Capture::start(LevelFilter::DEBUG);
    let vehicle = FakeVehicle::start(|request| match request.number {
        1 => Reply::status(503),
        _ => Reply::healthy(request),
    })
    .await;
    let service = Service::with(vehicle, &[("VEHICLE_CLIENT__CACHE__ENABLED", "true")]).await;
    // Earns the retry.
    service.with_cars("197001019999", &["DEF456"]).await;
    let path = format!("/api/v1/insurances/{PERSON}");
    for (id, source) in [("explain-1", "live"), ("explain-2", "cache")] {
        let answer = service.api.get_with(&path, &[("x-request-id", id)]).await;
        assert_eq!(enrichments(&answer)[0], enriched(source));
    }
    let text = capture.text();
    let told = |id: &str| {
        let mut lines = text
            .lines()
            .filter(|line| line.contains(EXPLAINED) && line.contains(id));
        let line = lines.next().unwrap_or_else(|| panic!("{id}: {text}"));
        assert_eq!(lines.next(), None, "one line for one car");
        line.to_owned()
    };
    let mut rest = &*told("explain-1");
    for step in [
        "cache miss",
        "begins a call",
        "has a place",
        "breaker closed",
        "first attempt: server_error",
        "retry after a pause",
        "retry attempt: answered",
    ] {
        let found = rest.find(step).unwrap_or_else(|| panic!("{step}: {rest}"));
        rest = &rest[found..];
    }
    assert!(told("explain-2").contains("cache fresh"));
    for number in ["ABC123", PERSON] {
        assert!(!told("explain-1").contains(number));
    }
}

#[tokio::test]
async fn nothing_is_explained_at_the_usual_level() {
    let (capture, _guard) = Capture::start(LevelFilter::INFO);
    let service = Service::healthy().await;
    service.look_up(PERSON).await;
    assert_eq!(capture.lines_with(&[EXPLAINED]), 0);
}
