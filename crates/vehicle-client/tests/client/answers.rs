//! Every answer that Vehicle may give, and every one that it should not.

use std::time::Duration;

use contracts::Source;
use serde_json::json;
use test_support::{FakeVehicle, Reply};
use tokio::net::TcpListener;
use vehicle_client::{FailureKind, Lookup};

use crate::setup::{client, found, kind, patient, retry_after, unhurried};

/// Asks once, with this reply to every call: the lookup and how many calls there were.
async fn ask(reply: Reply) -> (Lookup, usize) {
    let fake = FakeVehicle::start(move |_| reply.clone()).await;
    let lookup = client(&patient(&fake)).one("ABC123", &unhurried()).await;
    (lookup, fake.calls())
}

/// Asks once, with so little time for an attempt that this reply does not make it.
async fn ask_in_a_hurry(reply: Reply) -> (Lookup, usize) {
    let fake = FakeVehicle::start(move |_| reply.clone()).await;
    let mut options = patient(&fake);
    options.attempt_timeout = Duration::from_millis(250);
    let lookup = client(&options).one("ABC123", &unhurried()).await;
    (lookup, fake.calls())
}

fn text(status: u16, body: &str) -> Reply {
    Reply::Answer(status, Vec::new(), body.to_owned())
}

#[tokio::test]
async fn a_vehicle_is_found_live_and_brand_new() {
    let (lookup, calls) = ask(Reply::json(200, &Reply::vehicle("ABC123"))).await;
    let Lookup::Found {
        vehicle,
        source,
        age,
    } = lookup
    else {
        panic!("{lookup:?}");
    };
    assert_eq!(vehicle.make.as_deref(), Some("Volvo"));
    assert_eq!((source, age, calls), (Source::Live, Duration::ZERO, 1));
}

#[tokio::test]
async fn a_404_of_vehicle_means_that_there_is_no_such_vehicle() {
    let reply = Reply::json(404, &json!({ "code": "vehicle_not_found" }));
    let not_found = Lookup::NotFound {
        source: Source::Live,
    };
    assert_eq!(ask(reply).await, (not_found, 1));
}

#[tokio::test]
async fn a_404_that_is_about_something_else_is_no_missing_vehicle() {
    for reply in [
        Reply::json(404, &json!({ "code": "route_not_found" })),
        Reply::json(404, &json!({ "title": "Not Found" })),
        Reply::status(404),
        text(404, "<html>no such page</html>"),
    ] {
        let (lookup, calls) = ask(reply).await;
        assert_eq!((kind(&lookup), calls), (FailureKind::ContractViolation, 1));
    }
}

#[tokio::test]
async fn each_status_has_its_cause_and_its_number_of_calls() {
    for (status, expected, expected_calls) in [
        (204, FailureKind::ContractViolation, 1),
        (206, FailureKind::ContractViolation, 1),
        (304, FailureKind::ContractViolation, 1),
        (400, FailureKind::ContractViolation, 1),
        (401, FailureKind::Unauthorized, 1),
        (403, FailureKind::Unauthorized, 1),
        (408, FailureKind::Timeout, 2),
        (409, FailureKind::ContractViolation, 1),
        (429, FailureKind::RateLimited, 2),
        (500, FailureKind::ServerError, 1),
        (501, FailureKind::ServerError, 1),
        (502, FailureKind::ServerError, 2),
        (503, FailureKind::ServerError, 2),
        (504, FailureKind::ServerError, 2),
    ] {
        let (lookup, calls) = ask(Reply::status(status)).await;
        assert_eq!(
            (kind(&lookup), calls),
            (expected, expected_calls),
            "{status}"
        );
        assert_eq!(retry_after(&lookup), None, "{status}");
    }
}

#[tokio::test]
async fn a_retry_after_that_does_not_fit_is_passed_on_and_not_waited_for() {
    for (status, expected) in [
        (408, FailureKind::Timeout),
        (429, FailureKind::RateLimited),
        (500, FailureKind::ServerError),
        (503, FailureKind::ServerError),
    ] {
        let (lookup, calls) = ask(Reply::with_header(status, "retry-after", "40")).await;
        assert_eq!((kind(&lookup), calls), (expected, 1), "{status}");
        assert_eq!(retry_after(&lookup), Some(40), "{status}");
    }
}

#[tokio::test]
async fn a_retry_after_of_now_allows_the_retry() {
    let (lookup, calls) = ask(Reply::with_header(429, "retry-after", "0")).await;
    assert_eq!((kind(&lookup), calls), (FailureKind::RateLimited, 2));
    assert_eq!(retry_after(&lookup), Some(0));
}

#[tokio::test]
async fn a_body_that_is_no_vehicle_is_a_violation_and_asked_for_once() {
    let volvo = Reply::vehicle("ABC123").to_string();
    let doubled = volvo.replacen('{', "{\"make\":\"Ford\",", 1);
    let truncated = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", volvo.len());
    for reply in [
        text(200, ""),
        text(200, "null"),
        text(200, "{}"),
        text(200, "[]"),
        text(200, "<html>welcome</html>"),
        text(200, &format!("[{volvo}]")),
        text(200, &format!("{volvo}{volvo}")),
        text(200, &doubled),
        text(200, &volvo.replace("\"make\"", "\"Make\"")),
        text(200, &volvo.replace("2021", "\"2021\"")),
        Reply::json(200, &Reply::vehicle("GHI789")),
        Reply::Raw(format!("{truncated}{}", &volvo[..20]).into_bytes()),
    ] {
        let (lookup, calls) = ask(reply.clone()).await;
        assert_eq!(
            (kind(&lookup), calls),
            (FailureKind::ContractViolation, 1),
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_may_be_as_large_as_the_cap_and_not_a_byte_larger() {
    let volvo = Reply::vehicle("ABC123").to_string();
    let padded = |bytes: usize| text(200, &(" ".repeat(bytes - volvo.len()) + &volvo));
    let (lookup, _) = ask(padded(1024 * 1024)).await;
    assert_eq!(found(&lookup), Source::Live);
    let (lookup, calls) = ask(padded(1024 * 1024 + 1)).await;
    assert_eq!((kind(&lookup), calls), (FailureKind::ContractViolation, 1));
}

#[tokio::test]
async fn a_body_without_end_is_cut_at_the_cap() {
    let (lookup, calls) = ask(Reply::Endless).await;
    assert_eq!((kind(&lookup), calls), (FailureKind::ContractViolation, 1));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let fake = FakeVehicle::start(|request| match request.number {
        0 => Reply::with_header(307, "location", "/api/v1/vehicles/ABC123"),
        _ => Reply::healthy(request),
    })
    .await;
    let lookup = client(&patient(&fake)).one("ABC123", &unhurried()).await;
    assert_eq!(
        (kind(&lookup), fake.calls()),
        (FailureKind::ContractViolation, 1)
    );
}

#[tokio::test]
async fn a_connection_that_breaks_before_an_answer_is_tried_twice() {
    for reply in [Reply::Close, Reply::Raw(b"HTTP/1.1 20".to_vec())] {
        let (lookup, calls) = ask(reply).await;
        assert_eq!((kind(&lookup), calls), (FailureKind::Connection, 2));
    }
}

#[tokio::test]
async fn a_refused_connection_is_told_apart_from_an_answer() {
    let fake = FakeVehicle::healthy().await;
    let mut options = patient(&fake);
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    options.base_url = format!("http://{}", unused.local_addr().unwrap())
        .parse()
        .unwrap();
    drop(unused);
    let lookup = client(&options).one("ABC123", &unhurried()).await;
    assert_eq!(kind(&lookup), FailureKind::Connection);
}

#[tokio::test]
async fn an_answer_that_takes_longer_than_an_attempt_may_is_a_timeout() {
    let volvo = Reply::vehicle("ABC123");
    for reply in [
        Reply::Hang,
        Reply::json(200, &volvo).after(Duration::from_secs(20)),
        Reply::Dribble(Duration::from_millis(20), volvo.to_string()),
    ] {
        let (lookup, calls) = ask_in_a_hurry(reply.clone()).await;
        assert_eq!(
            (kind(&lookup), calls),
            (FailureKind::Timeout, 2),
            "{reply:?}"
        );
    }
}
