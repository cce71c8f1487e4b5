//! What opens the breaker, how soon, and what never does.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::json;
use test_support::{FakeVehicle, Gate, Reply};

use super::{
    load::{closely, steadily},
    service::{PATIENT, Service},
};

/// The breaker was not met open yet.
const CLOSED: i64 = -1;

#[tokio::test]
async fn nineteen_failures_leave_it_closed_and_the_twentieth_opens_it() {
    let vehicle = FakeVehicle::start(|_| Reply::status(503)).await;
    let settings = [("VEHICLE_CLIENT__MAX_RETRIES", "0")];
    let service = Service::start(&vehicle, 21, &settings).await;
    for person in 0..20 {
        assert_eq!(service.breaker_became("open").await, 0, "{person} failures");
        assert_eq!(service.policy(person).await.cause(), "server_error");
    }
    assert_eq!(service.breaker_became("open").await, 1);
    assert!(service.policy(20).await.met_an_open_breaker());
    assert_eq!(vehicle.calls(), 20);
}

#[tokio::test]
async fn fifty_lookups_in_a_second_open_it_whatever_went_well_before() {
    let vehicle = FakeVehicle::healthy().await;
    let service = Service::start(&vehicle, 250, &[]).await;
    closely(5, 0..200, async |person| service.policy(person).await).await;
    vehicle.script(|_| Reply::status(503));
    let policies = steadily(50, 200..250, async |person| service.policy(person).await).await;
    assert!(policies[49].met_an_open_breaker());
    assert_eq!(service.breaker_became("open").await, 1);
    // Those that were on their way when the twentieth failed, and those that took their places.
    assert!(vehicle.calls() - 200 < 30, "{}", vehicle.calls() - 200);
}

#[tokio::test]
async fn calls_that_are_only_slow_open_it_before_the_first_of_them_ends() {
    let gate = Gate::closed();
    let held = gate.clone();
    let vehicle = FakeVehicle::start(move |request| Reply::healthy(request).held(&held)).await;
    let settings = [("VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_SINGLE", "220")];
    let service = Service::start(&vehicle, 220, &[&PATIENT[..], &settings].concat()).await;
    let ended = AtomicI64::new(CLOSED);
    // Twenty of them are slow, after 3.2 s, well before the first is given up after 4 s.
    let policies = steadily(50, 0..220, async |person| {
        if ended.load(Ordering::SeqCst) != CLOSED {
            return None;
        }
        let policy = service.policy(person).await;
        if policy.met_an_open_breaker() {
            let attempts = service.metric("vehicle_client_attempts_total", &[]).await;
            let order = Ordering::SeqCst;
            if ended
                .compare_exchange(CLOSED, attempts, order, order)
                .is_ok()
            {
                gate.open();
            }
        }
        Some(policy)
    });
    let policies: Vec<_> = policies.await.into_iter().flatten().collect();
    assert_eq!(ended.into_inner(), 0, "calls that ended before it opened");
    // Slow they were, and good: that it opened ended none of them.
    let enriched = policies.iter().filter(|policy| policy.is_enriched());
    assert!(enriched.count() * 2 > vehicle.calls());
}

#[tokio::test]
async fn a_hundred_refusals_and_callers_who_hang_up_never_open_it() {
    let vehicle = FakeVehicle::healthy().await;
    let service = Service::start(&vehicle, 301, &PATIENT).await;
    vehicle.script(|_| Reply::json(404, &json!({ "code": "vehicle_not_found" })));
    let missing = closely(5, 0..100, async |person| service.policy(person).await).await;
    assert!(missing.iter().all(|policy| policy.status() == "not_found"));
    vehicle.script(|_| Reply::json(400, &json!({ "code": "invalid_registration_number" })));
    let refused = closely(5, 100..200, async |person| service.policy(person).await).await;
    assert!(
        refused
            .iter()
            .all(|policy| policy.cause() == "contract_violation")
    );
    let pause = Duration::from_millis(50);
    vehicle.script(move |request| Reply::healthy(request).after(pause));
    for first in (200..300).step_by(5) {
        let callers = join_all((first..first + 5).map(|person| service.policy(person)));
        tokio::select! {
            policies = callers => panic!("{policies:?}"),
            () = vehicle.reached(first + 5) => {}
        }
        vehicle.idle().await;
    }
    assert_eq!(service.breaker_became("open").await, 0);
    assert!(service.policy(300).await.is_enriched());
    assert_eq!(vehicle.calls(), 301);
}
