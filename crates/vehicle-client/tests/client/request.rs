//! What Vehicle sees of a call.

use test_support::{FakeVehicle, Request};
use vehicle_client::Strategy;

use crate::setup::{TRACEPARENT, client, patient, unhurried};

fn names(request: &Request) -> Vec<&str> {
    let mut names: Vec<_> = request
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_plate_is_percent_encoded_in_the_path() {
    let fake = FakeVehicle::healthy().await;
    client(&patient(&fake)).one("åäö 12", &unhurried()).await;
    assert_eq!(
        fake.requests()[0].path,
        "/api/v1/vehicles/%C3%85%C3%84%C3%9612"
    );
}

#[tokio::test]
async fn the_path_of_the_base_url_stays() {
    for prefix in ["/legacy", "/legacy/"] {
        let fake = FakeVehicle::healthy().await;
        let mut options = patient(&fake);
        options.base_url = format!("{}{prefix}", fake.url()).parse().unwrap();
        client(&options).one("ABC123", &unhurried()).await;
        assert_eq!(fake.requests()[0].path, "/legacy/api/v1/vehicles/ABC123");
    }
}

#[tokio::test]
async fn a_call_says_who_calls_for_which_request_and_nothing_else() {
    let fake = FakeVehicle::healthy().await;
    let client = client(&patient(&fake));
    client.one("ABC123", &unhurried()).await;
    client.all(&["ABC123"], Strategy::Batch, &unhurried()).await;
    let requests = fake.requests();
    for request in &requests {
        assert_eq!(request.header("x-api-key"), Some("key-for-vehicle"));
        assert_eq!(request.header("x-request-id"), Some("request-1"));
        assert_eq!(request.header("traceparent"), Some(TRACEPARENT));
        assert_eq!(request.header("user-agent"), Some("threadpilot-test/1"));
        assert_eq!(request.header("accept"), Some("application/json"));
    }
    let mut expected = vec![
        "accept",
        "host",
        "traceparent",
        "user-agent",
        "x-api-key",
        "x-request-id",
    ];
    assert_eq!(names(&requests[0]), expected);
    expected.extend(["content-length", "content-type"]);
    expected.sort_unstable();
    assert_eq!(names(&requests[1]), expected);
    assert_eq!(requests[1].path, "/api/v1/vehicles/batch");
    assert_eq!(requests[1].body, r#"{"registrationNumbers":["ABC123"]}"#);
}
