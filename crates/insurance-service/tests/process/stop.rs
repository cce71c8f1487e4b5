use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use test_support::{FakeVehicle, Gate, Reply};

use super::binary::seeded;

const PATH: &str = "/api/v1/insurances/199001011234";

#[tokio::test]
async fn no_request_fails_while_the_service_stops_under_load() {
    let vehicle = FakeVehicle::healthy().await;
    let running = seeded(&vehicle).await.serve().await;
    let at = running.at;
    let (answered, stopping) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let callers = (0..8).map(|_| {
        let (answered, stopping) = (answered.clone(), stopping.clone());
        tokio::spawn(async move {
            // Until the service is told to stop; what was begun by then must be answered.
            while !stopping.load(Ordering::SeqCst) {
                let answer = at.get(PATH).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                answered.fetch_add(1, Ordering::SeqCst);
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    while answered.load(Ordering::SeqCst) < 50 {
        tokio::task::yield_now().await;
    }
    let stop = running.stop();
    // The stop has begun once readiness says so; new requests are served during the drain delay.
    while at.get("/readyz").await.status == 200 {}
    stopping.store(true, Ordering::SeqCst);
    for caller in join_all(callers).await {
        caller.unwrap();
    }
    let ended = stop.await.unwrap();
    assert_eq!(ended.code, Some(0));
    let served = ended
        .lines
        .iter()
        .filter(|line| line["message"] == "request ended" && line["route"] != "/readyz")
        .count();
    assert_eq!(served, answered.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_end() {
    let gate = Gate::closed();
    let held = gate.clone();
    let vehicle = FakeVehicle::start(move |request| Reply::healthy(request).held(&held)).await;
    let running = seeded(&vehicle)
        .await
        .with("SERVER__DRAIN_DELAY", "0s")
        .serve()
        .await;
    let at = running.at;
    let request = tokio::spawn(async move { at.get(PATH).await });
    vehicle.reached(1).await;
    let stop = running.stop();
    // Refused connections show that the service takes no more.
    while tokio::net::TcpStream::connect(at.0).await.is_ok() {
        tokio::task::yield_now().await;
    }
    gate.open();
    let answer = request.await.unwrap();
    assert_eq!(answer.json()["enrichment"], "complete");
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(stop.await.unwrap().code, Some(0));
}

#[tokio::test]
async fn a_call_whose_caller_hung_up_delays_no_stop_and_ends_with_it() {
    let vehicle = FakeVehicle::start(|_| Reply::Hang).await;
    let binary = seeded(&vehicle).await.with_all(&[
        ("VEHICLE_CLIENT__MAX_RETRIES", "0"),
        ("VEHICLE_CLIENT__ATTEMPT_TIMEOUT", "8s"),
        ("VEHICLE_CLIENT__QUEUE_WAIT", "500ms"),
    ]);
    let running = binary.serve().await;
    let at = running.at;
    let request = tokio::spawn(async move { at.get(PATH).await });
    vehicle.reached(1).await;
    request.abort();
    let told = Instant::now();
    assert_eq!(running.stop().await.unwrap().code, Some(0));
    assert!(
        told.elapsed() < Duration::from_secs(6),
        "{:?}",
        told.elapsed()
    );
    vehicle.idle().await;
    assert_eq!(vehicle.calls(), 1);
}
