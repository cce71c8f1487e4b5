use axum::body::Body;
use http::Request;
use serde_json::Value;
use test_support::FakeVehicle;

use super::binary::seeded;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// What the process says of itself.
const OF_THE_PROCESS: [&str; 3] = [
    "listening",
    "stopping; a second signal ends at once",
    "stopped",
];

#[tokio::test]
async fn a_change_by_hand_is_logged_whatever_the_filter_says() {
    let vehicle = FakeVehicle::healthy().await;
    let running = seeded(&vehicle)
        .await
        // Without the line that it listens, nobody would know where.
        .with(
            "LOG__FILTER",
            "off,audit=off,service_defaults::process=info",
        )
        .with("API_KEYS__OPERATOR__KEY", "operator-key-0123456789")
        .with("API_KEYS__OPERATOR__SCOPES", "operations")
        .serve()
        .await;
    let order = r#"{"mode":"isolated","reason":"r","owner":"o","expiresInSeconds":60}"#;
    let request = Request::put("/api/v1/operations/vehicle-guard")
        .header("x-api-key", "operator-key-0123456789")
        .header("content-type", "application/json")
        .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"))
        .body(Body::from(order));
    let answer = running.at.send(request.unwrap()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let ended = running.stop().await.unwrap();
    assert_eq!(ended.code, Some(0));
    let of_the_process = |line: &&Value| {
        let message = line["message"].as_str();
        message.is_some_and(|it| OF_THE_PROCESS.contains(&it))
    };
    let audited: Vec<_> = ended
        .lines
        .iter()
        .filter(|it| !of_the_process(it))
        .collect();
    let [line] = *audited else {
        panic!("{audited:?}");
    };
    assert_eq!(
        line["message"],
        "the guard around Vehicle is controlled by hand"
    );
    assert_eq!(line["trace_id"], TRACE);
}
