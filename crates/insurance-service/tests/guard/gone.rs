//! A caller who hangs up takes the calls along.

use std::time::Duration;

use test_support::{FakeVehicle, Reply};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::Instant};

use crate::service::Service;

const ROUNDS: usize = 20;
const CARS_EACH: usize = 5;

#[tokio::test]
async fn the_calls_of_a_caller_who_hangs_up_end_within_a_tenth_of_a_second() {
    let vehicle = FakeVehicle::start(|_| Reply::Hang).await;
    let service = Service::with_cars(&vehicle, ROUNDS, CARS_EACH, &[]).await;
    let (mut slowest, mut allowed) = (Duration::ZERO, Duration::ZERO);
    for person in 0..ROUNDS {
        // What this machine takes to show Vehicle that a neighbour has hung up.
        let before = vehicle.calls();
        let mut neighbour = TcpStream::connect(vehicle.address()).await.unwrap();
        neighbour
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        vehicle.reached(before + 1).await;
        let gone = Instant::now();
        drop(neighbour);
        vehicle.idle().await;
        allowed = allowed.max(gone.elapsed());

        let before = vehicle.calls();
        tokio::select! {
            answer = service.answer(person) => panic!("{answer:?}"),
            () = vehicle.reached(before + CARS_EACH) => {}
        }
        let gone = Instant::now();
        vehicle.idle().await;
        slowest = slowest.max(gone.elapsed());
    }
    assert!(
        slowest <= allowed + Duration::from_millis(100),
        "{slowest:?}"
    );
    for level in ["vehicle_client_in_flight", "vehicle_client_queue_length"] {
        assert_eq!(service.metric(level, &[]).await, 0, "{level}");
    }
    let calls = i64::try_from(ROUNDS * CARS_EACH).unwrap();
    for (count, label) in [
        ("vehicle_client_attempts_total", ("outcome", "cancelled")),
        ("vehicle_client_lookups_total", ("result", "cancelled")),
    ] {
        assert_eq!(service.metric(count, &[label]).await, calls, "{count}");
    }
}
