//! Vehicle is down: the retries must not add to it, and the breaker must keep everybody off.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use test_support::{FakeVehicle, Reply, Request};
use tokio::time::{Instant, sleep};

use super::{
    load::{amplification, lookups, ratio, steadily},
    service::{Policy, Service, WITHOUT_CACHE},
};

/// Outages of each kind, so that the jitter of the retries evens out.
const OUTAGES: usize = 6;

/// How long the breaker stays open between outages: it matters only after it was open.
const OPEN_FOR: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_full_outage_is_hardly_amplified_before_the_breaker_opens() {
    let kinds = [Reply::status(503), Reply::Close];
    let outages = join_all(kinds.map(outages)).await.concat();
    let calls: usize = outages.iter().map(Vec::len).sum();
    let lookups: usize = outages.iter().map(|calls| lookups(calls)).sum();
    let amplification = ratio(calls, lookups);
    assert!(amplification <= 1.05, "{amplification}");
}

/// The calls of each of some outages of this kind that begin in a warm state.
async fn outages(reply: Reply) -> Vec<Vec<Request>> {
    const PERSONS: usize = 2_000;
    let vehicle = FakeVehicle::healthy().await;
    let settings = [("VEHICLE_CLIENT__BREAKER__OPEN_FOR", "300ms")];
    let service = Service::start(&vehicle, PERSONS, &settings).await;
    let mut persons = 0..PERSONS;
    let mut outages = Vec::new();
    for _ in 0..OUTAGES {
        // The first of these close the breaker, all of them fill the budget.
        let mut good = 0;
        while good < 50 {
            match service.policy(persons.next().unwrap()).await {
                policy if policy.is_enriched() => good += 1,
                _ => sleep(OPEN_FOR / 10).await,
            }
        }
        let before = vehicle.calls();
        let down = reply.clone();
        vehicle.script(move |_| down.clone());
        let opened = AtomicBool::new(false);
        steadily(50, persons.start..persons.start + 40, async |person| {
            if !opened.load(Ordering::SeqCst) {
                let policy = service.policy(person).await;
                opened.fetch_or(policy.met_an_open_breaker(), Ordering::SeqCst);
            }
        })
        .await;
        assert!(opened.into_inner(), "the breaker did not open");
        persons.start += 40;
        outages.push(vehicle.requests().split_off(before));
        vehicle.script(Reply::healthy);
    }
    outages
}

#[tokio::test]
async fn while_the_breaker_is_open_there_is_next_to_no_call() {
    const CARS_EACH: usize = 20;
    let vehicle = FakeVehicle::start(|_| Reply::status(503)).await;
    let settings = [("VEHICLE_CLIENT__BREAKER__OPEN_FOR", "1s")];
    let settings = [&settings[..], &WITHOUT_CACHE].concat();
    let service = Service::with_cars(&vehicle, 52, CARS_EACH, &settings).await;
    // Two persons' cars are enough to open it.
    for person in 0..2 {
        service.policies(person).await;
    }
    assert_eq!(service.breaker_became("open").await, 1);
    let before = vehicle.calls();
    // For longer than it stays open the first time, so that there is a probe.
    let answers = steadily(20, 2..52, async |person| service.policies(person).await).await;
    let policies = answers.concat();
    let calls = vehicle.calls() - before;
    assert!(policies.iter().all(|policy| !policy.is_enriched()));
    assert!(policies.len() >= 1_000);
    assert!(ratio(calls, policies.len()) <= 0.02, "{calls}");
    assert!(calls >= 1, "there was no probe");
}

#[tokio::test]
async fn a_vehicle_that_comes_and_goes_each_second_is_hardly_amplified() {
    let vehicle = FakeVehicle::healthy().await;
    let service = Service::start(&vehicle, 600, &[]).await;
    let begun = Instant::now();
    vehicle.script(move |request| match begun.elapsed().as_secs() % 2 {
        0 => Reply::healthy(request),
        _ => Reply::status(503),
    });
    let policies = steadily(100, 0..600, async |person| service.policy(person).await).await;
    assert!(service.breaker_became("open").await >= 1);
    assert!(policies.iter().any(Policy::is_enriched));
    let calls = vehicle.requests();
    let amplification = amplification(&calls);
    assert!(amplification <= 1.1, "{amplification}");
}
