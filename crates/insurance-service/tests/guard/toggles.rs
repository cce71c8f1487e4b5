//! Toggles that are switched under load.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use test_support::{FakeVehicle, Gate, Reply};

use super::{
    load::closely,
    service::{PATIENT, Policy, Service, UNHURRIED, WITHOUT_CACHE, binary},
};

/// Writes the settings file as a whole.
fn switch(file: &Path, enrichment: bool, batch: bool) {
    let toggles = format!(
        "[feature_toggles]\nenable_vehicle_enrichment = {enrichment}\n\
         enable_batch_vehicle_call = {batch}\n"
    );
    let new = file.with_extension("new");
    fs::write(&new, toggles).unwrap();
    fs::rename(new, file).unwrap();
}

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
    let write = |(enrichment, batch, _)| switch(&file, enrichment, batch);
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
            // What was kept back by the kill switch says so.
            let looked_up = policies.iter().filter(|it| !it.met_an_open_breaker());
            let sources: BTreeSet<_> = looked_up.map(Policy::source).collect();
            assert!(sources.len() <= 1, "{policies:?}");
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

#[tokio::test]
async fn the_kill_switch_lets_what_is_out_end_and_nothing_more_go_out() {
    // More than may be out at once.
    const CARS: usize = 8;
    const OUT: usize = 5;
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("insurance.toml");
    switch(&file, true, false);
    let gate = Gate::closed();
    let held = gate.clone();
    let vehicle = FakeVehicle::start(move |request| Reply::healthy(request).held(&held)).await;
    let binary = binary(&vehicle.url(), 2, CARS)
        .await
        .with_all(&UNHURRIED)
        .with_argument("--config")
        .with_argument(file.to_str().unwrap());
    let service = Service::serve(&binary, CARS).await;
    // The caller stays, with three cars for which no call is out yet.
    let (policies, ()) = tokio::join!(service.policies(0), async {
        vehicle.reached(OUT).await;
        switch(&file, false, false);
        service.measures("settings_reloads_total", 1).await;
        gate.open();
    });
    let enriched = policies.iter().filter(|policy| policy.is_enriched());
    assert_eq!(enriched.count(), OUT);
    let kept_back = policies.iter().filter(|it| it.met_an_open_breaker());
    assert_eq!(kept_back.count(), CARS - OUT);
    let policies = service.policies(1).await;
    assert!(policies.iter().all(|policy| policy.status() == "disabled"));
    assert_eq!(vehicle.calls(), OUT);
}
