use insurance_service::NAME;
use test_support::{FakeVehicle, TestDatabase};

use super::binary::binary;

const PERSON: &str = "/api/v1/insurances/199001011234";

#[tokio::test]
async fn check_and_serve_refuse_bad_settings_with_78_and_their_names() {
    let vehicle = FakeVehicle::healthy().await;
    let database = TestDatabase::empty(NAME).await;
    for (setting, value, named) in [
        (
            "VEHICLE_CLIENT__MAX_BATCH_SIZE",
            "501",
            "vehicle_client.max_batch_size",
        ),
        ("VEHICLE_CLIENT__BATCH_SIZE", "50", "batch_size"),
    ] {
        let binary = binary(&database, &vehicle).with(setting, value);
        for command in ["check", "serve", "migrate"] {
            let output = binary.run(command).await;
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(78), "{command} {setting}");
            assert!(said.contains(named), "{command}: {said}");
        }
    }
}

#[tokio::test]
async fn migrate_and_seed_make_an_empty_database_ready() {
    let vehicle = FakeVehicle::healthy().await;
    let binary = binary(&TestDatabase::empty(NAME).await, &vehicle);
    let running = binary.serve().await;
    assert_eq!(running.at.get("/healthz").await.status, 200);
    assert_eq!(running.at.get("/readyz").await.status, 503);
    let seed = binary.run("seed").await;
    assert_eq!(seed.status.code(), Some(1), "there is no table to seed yet");
    // Both may run again.
    for command in ["migrate", "migrate", "seed", "seed"] {
        let output = binary.run(command).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{command}: {said}");
        // Nothing but what was done.
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    // A readiness report may be as old as its reuse allows.
    while running.at.get("/readyz").await.status != 200 {
        tokio::task::yield_now().await;
    }
    let profile = running.at.get(PERSON).await.json();
    assert_eq!(profile["enrichment"], "complete");
    assert_eq!(profile["totalMonthlyCost"], 40.0);
    let ended = running.stop().await.unwrap();
    assert_eq!(ended.code, Some(0));
}
