//! What the platform sees.

use test_support::{FakeVehicle, Reply};

use super::service::{PERSON, Service};

#[tokio::test]
async fn vehicles_troubles_never_make_the_service_unready() {
    let vehicle = FakeVehicle::start(|_| Reply::Close).await;
    let service = Service::with(vehicle, &[]).await;
    service.look_up(PERSON).await;
    let answer = service.api.get("/readyz").await;
    let report = answer.json();
    assert_eq!(
        (answer.status.as_u16(), &report["ready"]),
        (200, &true.into())
    );
    let names: Vec<_> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| (&check["name"], &check["status"]))
        .map(|(name, status)| format!("{} {}", name.as_str().unwrap(), status.as_str().unwrap()))
        .collect();
    assert_eq!(
        names,
        [
            "settings pass",
            "database pass",
            "vehicle_guard pass",
            "event_log pass",
            "lifecycle pass"
        ]
    );
}

#[tokio::test]
async fn readiness_says_how_full_the_guard_is() {
    let vehicle = FakeVehicle::start(|_| Reply::Hang).await;
    let service = Service::with(vehicle, &[]).await;
    let api = service.api.clone();
    let request = tokio::spawn(async move { api.get("/api/v1/insurances/199001011234").await });
    service.vehicle.reached(1).await;
    let report = service.api.get("/readyz").await.text();
    let state = "1 of 5 single calls and 0 of 1 batch calls in flight";
    assert!(report.contains(state), "{report}");
    request.abort();
}
