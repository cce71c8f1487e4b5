//! A Vehicle that does not answer costs nobody more than the deadline.

use std::time::Duration;

use test_support::{FakeVehicle, Reply};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
};

use super::{
    load::closely,
    service::{Service, WITHOUT_BREAKER, binary},
};

/// The documented deadline of an enrichment.
const DEADLINE: Duration = Duration::from_secs(2);
const PERSONS: usize = 4;
const ROUNDS: usize = 4;
/// So many that the calls of one request take longer than the deadline, one after the other.
const CARS_EACH: usize = 60;

#[tokio::test]
async fn a_vehicle_that_sleeps_delays_no_answer_past_the_deadline() {
    let vehicle =
        FakeVehicle::start(|request| Reply::healthy(request).after(Duration::from_secs(30))).await;
    nobody_waits_longer(&vehicle.url(), "timeout").await;
}

#[tokio::test]
async fn a_vehicle_that_takes_no_connection_delays_no_answer_past_the_deadline() {
    let full = FullListener::start().await;
    // `connection`, because the time to connect is less than an attempt's.
    let url = format!("http://{}", full.listener.local_addr().unwrap());
    nobody_waits_longer(&url, "connection").await;
}

/// With the breaker, and with nothing but the deadline.
async fn nobody_waits_longer(vehicle: &str, cause: &str) {
    let binary = binary(vehicle, PERSONS, CARS_EACH).await;
    let switched_off = ("FEATURE_TOGGLES__ENABLE_VEHICLE_ENRICHMENT", "false");
    let idle = binary.clone().with_all(&[switched_off]);
    let idle = Service::serve(&idle, CARS_EACH).await;
    for settings in [&[][..], &WITHOUT_BREAKER] {
        let service = Service::serve(&binary.clone().with_all(settings), CARS_EACH).await;
        let mut rounds = Vec::new();
        // A late answer must be late again: the machine may have been busy with something else.
        for _ in 0..ROUNDS {
            rounds.push(lateness(&service, &idle).await);
            let (late, usual) = rounds[rounds.len() - 1];
            if late <= usual + Duration::from_millis(100) {
                break;
            }
        }
        assert!(rounds.len() < ROUNDS, "{rounds:?}");
        let longest = service.computed("longest_answer").await;
        let (late, usual) = rounds[rounds.len() - 1];
        assert!((DEADLINE + late.saturating_sub(usual)).as_secs_f64() <= longest);
        let ended = [("outcome", cause)];
        assert_ne!(
            service
                .metric("vehicle_client_attempts_total", &ended)
                .await,
            0
        );
    }
}

/// How much later than the deadline the last answer came, and how much this machine adds to a
/// timer and to a request that does not call Vehicle.
async fn lateness(service: &Service, idle: &Service) -> (Duration, Duration) {
    tokio::join!(service.warm_up(), idle.warm_up());
    let asked = Instant::now();
    let late = || asked.elapsed().saturating_sub(DEADLINE);
    let answers = closely(PERSONS, 0..PERSONS, async |person| {
        let policies = service.policies(person).await;
        assert!(
            policies
                .iter()
                .all(|policy| policy.status() == "unavailable")
        );
        late()
    });
    let timers = closely(PERSONS, 0..PERSONS, async |person| {
        sleep(DEADLINE).await;
        idle.policies(person).await;
        late()
    });
    let (answers, timers) = tokio::join!(answers, timers);
    (
        answers.into_iter().max().unwrap(),
        timers.into_iter().max().unwrap(),
    )
}

/// A listener whose queue is full: whoever connects gets no answer to the first packet.
struct FullListener {
    listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl FullListener {
    async fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) =
            timeout(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            queued.push(stream.unwrap());
        }
        Self {
            listener,
            _queued: queued,
        }
    }
}
