use std::time::Duration;

use test_support::metric;
use tokio::time::sleep;

use super::{Pair, within};
use crate::api::real_vehicle::insurance_on;

#[tokio::test]
async fn the_service_keeps_a_copy_and_says_how_old_it_is() {
    let pair = Pair::new().await;
    let settings = [("REPLICA__ENABLED", "true")];
    let api = insurance_on(&pair.insurance, &pair.url, &settings);
    within(async { while !pair.is_caught_up().await {} }).await;
    pair.vehicle
        .execute("update vehicle.vehicles set model = 'new'")
        .await;
    within(async { while !pair.is_caught_up().await {} }).await;
    pair.assert_equal().await;
    let pass = "{\"name\":\"replica\",\"status\":\"pass\",\"detail\":null}";
    within(async {
        while !api.get("/readyz").await.text().contains(pass) {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let metrics = api.get("/metrics").await.text();
    assert!(metric(&metrics, "feed_events_total", &[("outcome", "applied")]) > 0);
    assert_eq!(metric(&metrics, "replica_lag_events", &[]), 0);
    let lag = metrics
        .lines()
        .find(|line| line.starts_with("replica_lag_seconds"));
    let (_, seconds) = lag.unwrap().rsplit_once(' ').unwrap();
    assert!(seconds.parse::<f64>().unwrap() < 60.0, "{seconds}");
    let none = [("consumer", "vehicle_replica"), ("reason", "contract")];
    assert_eq!(metric(&metrics, "dead_letters_open", &none), 0);
    assert_eq!(metric(&metrics, "consumer_restarts_total", &none[..1]), 0);
}
