//! The relay in the running service.

use rustix::process::Signal;
use test_support::{Nats, TestDatabase, metric};
use tokio::{net::TcpListener, time::sleep};
use vehicle_service::{NAME, SCHEMA};

use super::{
    binary::Serving,
    caller::{Caller, within},
};

async fn measured(caller: &mut Caller, name: &str, labels: &[(&str, &str)]) -> i64 {
    let (head, text) = caller.get("/metrics").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    metric(&text, name, labels)
}

async fn until(caller: &mut Caller, name: &str, labels: &[(&str, &str)], value: i64) {
    within(async {
        while measured(caller, name, labels).await != value {
            sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_events_of_the_service_are_published_and_a_stop_gives_the_lease_back() {
    let Some(nats) = Nats::start() else { return };
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let url = ("RELAY__NATS__URL", &*nats.url());
    let serving = Serving::start(&database, &[url]).await;
    let mut caller = Caller::connect(serving.address).await;
    // Those of the sample data.
    until(&mut caller, "relay_published_total", &[], 3).await;
    drop(caller);
    serving.signal(Signal::TERM);
    assert_eq!(serving.end().await.0, Some(0));
    let select = "select leased_until = '-infinity' from vehicle_events.relays";
    let mut connection = database.connect().await;
    let ended = sqlx::query_scalar::<_, bool>(select).fetch_one(&mut connection);
    assert!(ended.await.unwrap());
}

/// One that is not there, and one that takes connections and says nothing.
#[tokio::test]
async fn a_broker_that_is_away_or_silent_touches_no_request_and_no_stop() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let nowhere = test_support::nowhere();
    let away = nowhere
        .1
        .trim_start_matches("postgres://")
        .trim_end_matches("/none");
    for broker in [format!("nats://{away}"), format!("nats://{address}")] {
        let settings = [
            ("RELAY__NATS__URL", &*broker),
            ("SERVER__DRAIN_DELAY", "0s"),
        ];
        let serving = Serving::start(&database, &settings).await;
        let mut caller = Caller::connect(serving.address).await;
        let waiting = [("state", "waiting")];
        until(&mut caller, "relay_state", &waiting, 1).await;
        until(&mut caller, "relay_lag_events", &[], 3).await;
        for path in ["/api/v1/vehicles/ABC123", "/readyz"] {
            let (head, body) = caller.get(path).await;
            assert!(head.starts_with("http/1.1 200 "), "{head} {body}");
        }
        drop(caller);
        serving.signal(Signal::TERM);
        let (code, log) = serving.end().await;
        let said = |text| log.iter().filter(|line| line.contains(text)).count();
        // Once, however often it fails.
        assert_eq!(said("events are not published to the broker"), 1, "{log:?}");
        assert_eq!((code, said("was cut at the stop")), (Some(0), 0), "{log:?}");
    }
}
