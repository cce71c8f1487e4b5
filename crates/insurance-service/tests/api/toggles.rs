//! Toggles that are switched while a request is on its way.

use std::{fs, path::Path, time::Duration};

use settings::Arguments;
use tempfile::TempDir;
use test_support::FakeVehicle;
use tokio::time::{sleep, timeout};

use super::service::{PERSON, Service, enriched, enrichments};

#[tokio::test]
async fn a_request_keeps_the_toggles_that_it_came_with() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("insurance.toml");
    let write = |enrichment: bool| {
        let toggles = format!("[feature_toggles]\nenable_vehicle_enrichment = {enrichment}\n");
        fs::write(&file, toggles).unwrap();
    };
    write(false);
    let arguments = Arguments {
        config: Some(file.clone()),
        ..Arguments::default()
    };
    let service = Service::from_files(FakeVehicle::healthy().await, arguments, &[]).await;
    tokio::spawn(service.process.follow_settings());
    let mut lock = service.database.lock("insurance.insurances").await;
    let toggles = || service.process.settings().service.feature_toggles;
    let switched = async {
        lock.queued(1).await;
        write(true);
        while !toggles().enable_vehicle_enrichment {
            sleep(Duration::from_millis(5)).await;
        }
        lock.release().await;
    };
    let switched = timeout(Duration::from_mins(1), switched);
    let (answer, switched) = tokio::join!(service.look_up(PERSON), switched);
    switched.expect("the new contents are taken");
    assert_eq!(answer.json()["enrichment"], "disabled");
    assert_eq!(service.vehicle.calls(), 0);
    let answer = service.look_up(PERSON).await;
    assert_eq!(answer.json()["enrichment"], "complete");
}

/// Switches by a file, and waits until its contents are taken.
async fn switched(service: &Service, file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    let reloads = [("result", "success")];
    let before = service.metric("settings_reloads_total", &reloads).await;
    let taken = async {
        while service.metric("settings_reloads_total", &reloads).await == before {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let taken = timeout(Duration::from_mins(1), taken).await;
    taken.expect("the new contents are taken");
}

#[tokio::test]
async fn a_strategy_is_switched_while_the_service_runs_but_not_to_a_copy_that_nobody_keeps() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("insurance.toml");
    fs::write(&file, "[enrichment]\n").unwrap();
    let arguments = Arguments {
        config: Some(file.clone()),
        ..Arguments::default()
    };
    let service = Service::from_files(FakeVehicle::healthy().await, arguments, &[]).await;
    tokio::spawn(service.process.follow_settings());
    let source = async || enrichments(&service.look_up(PERSON).await).remove(0);
    assert_eq!(source().await, enriched("live"));
    switched(&service, &file, "[enrichment]\nstrategy = \"batch\"\n").await;
    assert_eq!(source().await, enriched("batch"));
    // The copy begins with the next start, and until then the toggle decides.
    let both = "enrichment.strategy = \"replica\"\nreplica.enabled = true\n";
    switched(&service, &file, both).await;
    assert_eq!(source().await, enriched("live"));
    assert_eq!(service.process.live().awaiting_restart(), ["replica"]);
}
