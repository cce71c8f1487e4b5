//! Vehicle in every kind of trouble: the profile is answered all the same, and says why it is not
//! whole.

use std::time::Duration;

use test_support::{FakeVehicle, Gate, Reply};
use tokio::net::TcpListener;
use tracing_subscriber::filter::LevelFilter;

use super::{
    capture::Capture,
    service::{PERSON, Service, enriched, enrichments, unavailable},
};

/// Enough of a hurry that an answer that hangs does not hold the test up.
const HURRY: [(&str, &str); 2] = [
    ("VEHICLE_CLIENT__CONNECT_TIMEOUT", "100ms"),
    ("VEHICLE_CLIENT__ATTEMPT_TIMEOUT", "100ms"),
];

fn text(status: u16, body: &str) -> Reply {
    Reply::Answer(status, Vec::new(), body.to_owned())
}

/// To each of these replies the route gives 200 and this cause, by single and by batch calls.
async fn assert_told(
    replies: impl IntoIterator<Item = Reply>,
    settings: &[(&str, &str)],
    cause: &str,
    after: Option<u64>,
) {
    let replies: Vec<_> = replies.into_iter().collect();
    for batch in ["false", "true"] {
        let mut settings = settings.to_vec();
        settings.push(("FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL", batch));
        let service = Service::with(FakeVehicle::healthy().await, &settings).await;
        for reply in &replies {
            let sent = reply.clone();
            service.vehicle.script(move |_| sent.clone());
            let answer = service.look_up(PERSON).await;
            let told = &enrichments(&answer)[0];
            assert_eq!(*told, unavailable(cause, after), "{reply:?}");
            assert_eq!(answer.json()["enrichment"], "none");
            assert_eq!(answer.json()["totalMonthlyCost"], 40.0);
        }
    }
}

#[tokio::test]
async fn each_status_has_its_cause() {
    for (statuses, cause, after) in [
        (&[302, 400, 409, 413][..], "contract_violation", None),
        (&[401, 403], "unauthorized", None),
        (&[408], "timeout", Some(1)),
        (&[429], "rate_limited", Some(1)),
        (&[500, 501, 502, 503, 504], "server_error", Some(1)),
    ] {
        let replies = statuses.iter().map(|status| Reply::status(*status));
        assert_told(replies, &[], cause, after).await;
    }
}

#[tokio::test]
async fn vehicles_wish_to_be_left_alone_is_passed_on() {
    for (status, cause) in [(429, "rate_limited"), (503, "server_error")] {
        let reply = Reply::with_header(status, "retry-after", "55");
        assert_told([reply], &[], cause, Some(55)).await;
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_a_timeout() {
    let dribble = Reply::Dribble(Duration::from_millis(40), " ".repeat(1000));
    assert_told([Reply::Hang, dribble], &HURRY, "timeout", Some(1)).await;
}

#[tokio::test]
async fn a_connection_that_breaks_is_told() {
    assert_told([Reply::Close], &[], "connection", Some(1)).await;
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", unused.local_addr().unwrap());
    drop(unused);
    let settings = [("VEHICLE_CLIENT__BASE_URL", url.as_str())];
    let service = Service::with(FakeVehicle::healthy().await, &settings).await;
    let answer = service.look_up(PERSON).await;
    assert_eq!(enrichments(&answer)[0], unavailable("connection", Some(1)));
}

#[tokio::test]
async fn the_deadline_of_all_lookups_ends_them_and_keeps_what_is_there() {
    let vehicle = FakeVehicle::start(|request| match request.path.rsplit('/').next() {
        Some("HANGS1") => Reply::Hang,
        // In time for an attempt, but past the deadline, because the attempt has to wait.
        Some("SLOW22") => Reply::healthy(request).after(Duration::from_millis(600)),
        _ => Reply::healthy(request),
    })
    .await;
    let settings = [
        ("ENRICHMENT__DEADLINE", "1s"),
        ("VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_SINGLE", "1"),
        ("VEHICLE_CLIENT__MAX_RETRIES", "0"),
        ("VEHICLE_CLIENT__QUEUE_WAIT", "100ms"),
        ("VEHICLE_CLIENT__CONNECT_TIMEOUT", "900ms"),
        ("VEHICLE_CLIENT__ATTEMPT_TIMEOUT", "900ms"),
    ];
    let service = Service::with(vehicle, &settings).await;
    let answer = service
        .with_cars("197001019999", &["SLOW22", "HANGS1", "ABC123"])
        .await;
    let timeout = unavailable("timeout", Some(1));
    let expected = [timeout.clone(), timeout, enriched("live")];
    assert_eq!(enrichments(&answer), expected);
    assert_eq!(answer.json()["enrichment"], "partial");
    service.vehicle.idle().await;
}

#[tokio::test]
async fn a_caller_in_a_hurry_gets_what_is_there_in_its_time() {
    let vehicle = FakeVehicle::start(|_| Reply::Hang).await;
    let service = Service::with(vehicle, &[]).await;
    let path = format!("/api/v1/insurances/{PERSON}");
    let hurry = [("x-deadline-ms", "2000")];
    let answer = service.api.get_with(&path, &hurry).await;
    assert_eq!(enrichments(&answer)[0], unavailable("timeout", Some(1)));
}

#[tokio::test]
async fn a_call_that_finds_no_place_is_overloaded_and_worth_another_try() {
    let (capture, _guard) = Capture::start(LevelFilter::WARN);
    let gate = Gate::closed();
    let held = gate.clone();
    let vehicle = FakeVehicle::start(move |request| Reply::healthy(request).held(&held)).await;
    let settings = [
        ("VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_SINGLE", "1"),
        ("VEHICLE_CLIENT__QUEUE_LENGTH", "0"),
        // Before a call that waits all the same is shed, the attempt ahead of it ends.
        ("VEHICLE_CLIENT__CONNECT_TIMEOUT", "3s"),
        ("VEHICLE_CLIENT__ATTEMPT_TIMEOUT", "3s"),
    ];
    let service = Service::with(vehicle, &settings).await;
    let first = async {
        let answer = service.look_up(PERSON).await;
        assert_eq!(answer.json()["enrichment"], "complete");
    };
    let second = async {
        service.vehicle.reached(1).await;
        let answer = service.with_cars("197001019999", &["DEF456"]).await;
        assert_eq!(enrichments(&answer)[0], unavailable("overloaded", Some(1)));
        gate.open();
        answer.header("x-request-id").to_owned()
    };
    let ((), request_id) = tokio::join!(first, second);
    assert_eq!(service.vehicle.calls(), 1);
    let told = [
        "a call to Vehicle failed",
        "overloaded",
        "single",
        &request_id,
    ];
    assert_eq!(capture.lines_with(&told), 1, "{}", capture.text());
}

#[tokio::test]
async fn a_number_that_a_batch_leaves_out_is_told_and_logged() {
    let (capture, _guard) = Capture::start(LevelFilter::WARN);
    let body = r#"{"vehicles":[],"notFound":[],"invalid":[]}"#;
    let vehicle = FakeVehicle::start(|_| text(200, body)).await;
    let batch = [("FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL", "true")];
    let service = Service::with(vehicle, &batch).await;
    let answer = service.look_up(PERSON).await;
    let violation = unavailable("contract_violation", None);
    assert_eq!(enrichments(&answer)[0], violation);
    let request_id = answer.header("x-request-id");
    let told = [
        "a call to Vehicle failed",
        "contract_violation",
        "batch",
        request_id,
    ];
    assert_eq!(capture.lines_with(&told), 1, "{}", capture.text());
}

#[tokio::test]
async fn a_number_that_a_good_batch_leaves_out_is_told_and_logged() {
    let (capture, _guard) = Capture::start(LevelFilter::WARN);
    let body = r#"{"vehicles":[],"notFound":["DEF456"],"invalid":[]}"#;
    let vehicle = FakeVehicle::start(|_| text(200, body)).await;
    let batch = [("FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL", "true")];
    let service = Service::with(vehicle, &batch).await;
    let answer = service
        .with_cars("197001019999", &["ABC123", "DEF456"])
        .await;
    let violation = unavailable("contract_violation", None);
    let of = |car: usize| enrichments(&answer)[car].clone();
    assert!([of(0), of(1)].contains(&violation), "{}", answer.text());
    assert_eq!(answer.json()["enrichment"], "partial");
    let told = ["a call to Vehicle failed", "contract_violation"];
    assert_eq!(capture.lines_with(&told), 1, "{}", capture.text());
}

#[tokio::test]
async fn a_wrong_key_at_vehicle_is_loud_but_not_for_every_call() {
    let (capture, _guard) = Capture::start(LevelFilter::INFO);
    let vehicle = FakeVehicle::start(|_| Reply::status(401)).await;
    let service = Service::with(vehicle, &[]).await;
    for _ in 0..3 {
        let answer = service.look_up(PERSON).await;
        assert_eq!(enrichments(&answer)[0], unavailable("unauthorized", None));
    }
    let loud = [
        "\"level\":\"ERROR\"",
        "Vehicle refuses our key",
        "unauthorized",
    ];
    assert_eq!(capture.lines_with(&loud), 1, "{}", capture.text());
    let refused = [("outcome", "unauthorized")];
    assert_eq!(
        service
            .metric("vehicle_client_attempts_total", &refused)
            .await,
        3
    );
}

#[tokio::test]
async fn each_change_of_the_breaker_is_a_log_line() {
    let (capture, _guard) = Capture::start(LevelFilter::INFO);
    let vehicle = FakeVehicle::start(|_| Reply::status(500)).await;
    let settings = [
        ("VEHICLE_CLIENT__BREAKER__MINIMUM_CALLS", "2"),
        ("VEHICLE_CLIENT__BREAKER__OPEN_FOR", "100ms"),
    ];
    let service = Service::with(vehicle, &settings).await;
    for _ in 0..2 {
        service.look_up(PERSON).await;
    }
    let opened = [
        "breaker opened",
        r#""rule":"failures_in_row""#,
        r#""failures":2"#,
    ];
    assert_eq!(capture.lines_with(&opened), 1, "{}", capture.text());
    service.vehicle.script(Reply::healthy);
    let closed =
        async { while service.look_up(PERSON).await.json()["enrichment"] != "complete" {} };
    tokio::time::timeout(Duration::from_mins(1), closed)
        .await
        .expect("a probe is good");
    for _ in 0..2 {
        service.look_up(PERSON).await;
    }
    for line in ["breaker half-open", "breaker closed"] {
        assert_eq!(capture.lines_with(&[line]), 1, "{}", capture.text());
    }
}
