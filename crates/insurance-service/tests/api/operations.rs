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
async fn policies_that_may_change_without_an_event_are_a_warning() {
    let service = Service::healthy().await;
    let disarm = "alter table insurance.insurances disable trigger demand_an_event;
        alter table insurance.insurances disable trigger never_truncated;
        alter table insurance.covers enable trigger never_truncated";
    service.database.execute(disarm).await;
    let answer = service.api.get("/readyz").await;
    assert_eq!(answer.status, 200);
    let check = &answer.json()["checks"][3];
    assert_eq!(check["status"], "warn");
    let named = "not protected: insurance.covers.never_truncated, \
                 insurance.insurances.demand_an_event, insurance.insurances.never_truncated";
    assert_eq!(check["detail"], named);
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
