//! What Vehicle sees of a call.

use std::time::Duration;

use test_support::{FakeVehicle, Reply, Request};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};
use vehicle_client::{Options, Strategy};

use crate::setup::{TRACEPARENT, client, found, patient, unhurried, within};

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
        "x-deadline-ms",
        "x-request-id",
    ];
    assert_eq!(names(&requests[0]), expected);
    expected.extend(["content-length", "content-type"]);
    expected.sort_unstable();
    assert_eq!(names(&requests[1]), expected);
    assert_eq!(requests[1].path, "/api/v1/vehicles/batch");
    assert_eq!(requests[1].body, r#"{"registrationNumbers":["ABC123"]}"#);
}

fn deadline_ms(request: &Request) -> u128 {
    let text = request.header("x-deadline-ms").unwrap();
    assert!(text.bytes().all(|byte| byte.is_ascii_digit()), "{text}");
    text.parse().unwrap()
}

#[tokio::test]
async fn a_call_says_how_long_it_is_waited_for() {
    let fake = FakeVehicle::healthy().await;
    let options = Options {
        attempt_timeout: Duration::from_secs(7),
        ..patient(&fake)
    };
    for strategy in [Strategy::Single, Strategy::Batch] {
        // However little time the caller has: the call is waited for when the caller is gone.
        for time in [30, 2] {
            let context = within(Duration::from_secs(time));
            client(&options).all(&["ABC123"], strategy, &context).await;
            let sent = deadline_ms(fake.requests().last().unwrap());
            assert!((5_000..7_000).contains(&sent), "{sent}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_idle_for_its_time_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut request).await.unwrap();
        }
        let volvo = Reply::vehicle("ABC123").to_string();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", volvo.len());
        let answer = [head, volvo].concat();
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.read_buf(&mut request).await.unwrap()
    });
    let options = Options {
        base_url: base_url.parse().unwrap(),
        idle_connection_timeout: Duration::from_millis(50),
        ..patient(&FakeVehicle::healthy().await)
    };
    let client = client(&options);
    found(&client.one("ABC123", &unhurried()).await);
    let read = timeout(Duration::from_secs(20), serving).await;
    assert_eq!(read.expect("it is closed").unwrap(), 0);
}

#[tokio::test]
async fn a_retry_is_given_the_time_of_its_own() {
    let fake = FakeVehicle::start(|request| match request.number {
        0 => Reply::status(503).after(Duration::from_secs(1)),
        _ => Reply::healthy(request),
    })
    .await;
    let context = within(Duration::from_secs(15));
    found(&client(&patient(&fake)).one("ABC123", &context).await);
    let sent: Vec<_> = fake.requests().iter().map(deadline_ms).collect();
    assert!(sent[0] < 10_000 && sent[1] < 10_000, "{sent:?}");
    assert!(
        sent[1] > 9_000,
        "the first attempt's second is not its own: {sent:?}"
    );
}

#[tokio::test]
async fn an_idle_connection_is_kept_as_long_as_its_setting_says() {
    let fake = FakeVehicle::healthy().await;
    let mut options = patient(&fake);
    let keeps = client(&options);
    for _ in 0..3 {
        keeps.one("ABC123", &unhurried()).await;
    }
    assert_eq!(fake.connections(), 1);
    options.idle_connection_timeout = Duration::from_millis(1);
    let forgets = client(&options);
    for connections in 2..4 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        forgets.one("ABC123", &unhurried()).await;
        assert_eq!(fake.connections(), connections);
    }
}
