//! Toggles that are switched while a request is on its way.

use std::{fs, time::Duration};

use settings::Arguments;
use tempfile::TempDir;
use test_support::FakeVehicle;
use tokio::time::{sleep, timeout};

use super::service::{PERSON, Service};

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
