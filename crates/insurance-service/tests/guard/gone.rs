//! A caller who hangs up takes along what waits for its turn, and nothing that is out.

use test_support::{FakeVehicle, Gate, Reply};

use super::service::{Policy, Service, UNHURRIED};

const CARS_EACH: usize = 8;
/// The documented cap.
const OUT: usize = 5;

#[tokio::test]
async fn the_calls_of_a_caller_who_hangs_up_run_on_and_no_more_go_out() {
    let gate = Gate::closed();
    let held = gate.clone();
    let vehicle = FakeVehicle::start(move |request| Reply::healthy(request).held(&held)).await;
    // The one who stays shows that the places come back.
    let (gone, staying) = (0, 1);
    let service = Service::with_cars(&vehicle, 2, CARS_EACH, &UNHURRIED).await;
    tokio::select! {
        answer = service.answer(gone) => panic!("{answer:?}"),
        () = vehicle.reached(OUT) => {}
    }
    service.gave_up(CARS_EACH).await;
    assert_eq!(service.metric("vehicle_client_in_flight", &[]).await, 5);
    assert_eq!(service.metric("vehicle_client_queue_length", &[]).await, 0);
    let (policies, ()) = tokio::join!(service.policies(staying), async {
        service.measures("vehicle_client_queue_length", 5).await;
        assert_eq!(vehicle.calls(), OUT);
        gate.open();
    });
    assert!(policies.iter().all(Policy::is_enriched));
    assert_eq!(vehicle.calls(), OUT + CARS_EACH);
    let attempts = "vehicle_client_attempts_total";
    let abandoned = [("outcome", "answered"), ("awaited", "false")];
    assert_eq!(service.metric(attempts, &abandoned).await, 5);
    // And what they brought is kept.
    let policies = service.policies(gone).await;
    let kept = policies.iter().filter(|policy| policy.source() == "cache");
    assert_eq!((kept.count(), vehicle.calls()), (OUT, 2 * CARS_EACH));
}
