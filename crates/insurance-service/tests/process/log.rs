use test_support::FakeVehicle;

use crate::binary::seeded;

const PERSON: &str = "199001011234";

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
