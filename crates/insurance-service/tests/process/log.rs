use axum::body::Body;
use http::Request;
use serde_json::Value;
use test_support::FakeVehicle;

use crate::binary::seeded;

const PERSON: &str = "199001011234";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn every_line_is_json_and_names_no_person_even_at_trace_level() {
    let vehicle = FakeVehicle::healthy().await;
    let running = seeded(&vehicle)
        .await
        .with("LOG__FILTER", "trace")
        .serve()
        .await;
    let path = format!("/api/v1/insurances/{PERSON}");
    let headers = [("x-request-id", "core-42")];
    assert_eq!(running.at.get_with(&path, &headers).await.status, 200);
    assert_eq!(
        running.at.get("/api/v1/persons/19900101-1234").await.status,
        404
    );
    // `Ended` has parsed every line.
    let ended = running.stop().await.unwrap();
    assert_eq!(ended.code, Some(0));
    let closing: Vec<_> = ended
        .lines
        .iter()
        .filter(|line| line["message"] == "request ended")
        .collect();
    assert_eq!(closing.len(), 2);
    assert_eq!(closing[0]["request_id"], "core-42");
    assert_eq!(closing[0]["status"], 200);
    assert_eq!(closing[0]["key_id"], "test");
    assert_eq!(
        closing[0]["route"],
        "/api/v1/insurances/{personalIdentityNumber}"
    );
    let text = serde_json::to_string(&ended.lines).unwrap();
    for form in [
        PERSON,
        "19900101-1234",
        "9001011234",
        "900101-1234",
        "ABC123",
    ] {
        assert!(!text.contains(form), "{form}");
    }
    assert!(ended.lines.iter().any(|line| line["message"] == "stopped"));
}

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
