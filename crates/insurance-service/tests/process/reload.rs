use std::fs;

use test_support::FakeVehicle;
use tokio::task::spawn_blocking;

use crate::binary::seeded;

#[tokio::test]
async fn a_running_service_takes_up_its_changed_toggles() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("insurance.toml");
    let write = |enrichment: bool| {
        let toggles = format!("[feature_toggles]\nenable_vehicle_enrichment = {enrichment}\n");
        fs::write(&file, toggles).unwrap();
    };
    write(true);
    let vehicle = FakeVehicle::healthy().await;
    let mut running = seeded(&vehicle)
        .await
        .with_argument("--config")
        .with_argument(file.to_str().unwrap())
        .serve()
        .await;
    let path = "/api/v1/insurances/199001011234";
    assert_eq!(running.at.get(path).await.json()["enrichment"], "complete");
    write(false);
    let running = spawn_blocking(move || {
        running.wait_for("settings reloaded");
        running
    })
    .await
    .unwrap();
    assert_eq!(running.at.get(path).await.json()["enrichment"], "disabled");
    assert_eq!(vehicle.calls(), 1);
    assert_eq!(running.stop().await.unwrap().code, Some(0));
}
