//! Toggles that are switched under load.

use std::{
    collections::BTreeSet,
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use test_support::FakeVehicle;

use crate::{
    load::closely,
    service::{PATIENT, Policy, Service, WITHOUT_CACHE, binary},
};

const CALLERS: usize = 4;
const CARS_EACH: usize = 5;

/// Values of the two toggles, and the source of every policy while they hold.
const SETTINGS: [(bool, bool, &str); 5] = [
    (true, false, "live"),
    (true, true, "batch"),
    (false, false, ""),
    (true, true, "batch"),
    (true, false, "live"),
];

#[tokio::test]
async fn no_request_mixes_two_settings_of_the_toggles() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("insurance.toml");
    let write = |(enrichment, batch, _): (bool, bool, &str)| {
        let toggles = format!(
            "[feature_toggles]\nenable_vehicle_enrichment = {enrichment}\n\
             enable_batch_vehicle_call = {batch}\n"
        );
        let new = file.with_extension("new");
        fs::write(&new, toggles).unwrap();
        fs::rename(new, &file).unwrap();
    };
    write(SETTINGS[0]);
    let vehicle = FakeVehicle::healthy().await;
    let binary = binary(&vehicle.url(), CALLERS, CARS_EACH)
        .await
        .with_all(&[&PATIENT[..], &WITHOUT_CACHE].concat())
        .with_argument("--config")
        .with_argument(file.to_str().unwrap());
    let service = Service::serve(&binary, CARS_EACH).await;
    let (reached, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    closely(CALLERS, 0..CALLERS, async |person| {
        while !over.load(Ordering::SeqCst) {
            let policies = service.policies(person).await;
            let sources: BTreeSet<_> = policies.iter().map(Policy::source).collect();
            assert_eq!(sources.len(), 1, "{policies:?}");
            let now = reached.load(Ordering::SeqCst);
            // Whoever sees the newest settings at work brings the next; nobody waits in between.
            if sources.contains(SETTINGS[now].2) {
                match SETTINGS.get(now + 1) {
                    Some(next) => {
                        write(*next);
                        reached.store(now + 1, Ordering::SeqCst);
                    }
                    None => over.store(true, Ordering::SeqCst),
                }
            }
        }
    })
    .await;
}
