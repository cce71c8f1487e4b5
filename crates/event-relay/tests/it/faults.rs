use service_defaults::metrics::Metrics;
use test_support::until;

use crate::support::{Bed, relay, relay_settings, until_measured};

#[tokio::test]
async fn a_full_stream_is_waited_for_and_deletes_nothing() {
    let Some(mut bed) = Bed::new().await else {
        return;
    };
    // Some hundred bytes an event.
    bed.make_stream(64 << 10).await;
    bed.place();
    bed.relay();
    bed.append(300).await;
    bed.until("waiting").await;
    until(async || {
        let lag = bed.measured("relay_lag_events", &[("relay", "nats")]);
        (lag > 0).then_some(())
    })
    .await;
    bed.make_stream(-1).await;
    bed.assert_complete(300).await;
    bed.until("publishing").await;
}

#[tokio::test]
async fn a_broker_that_stands_still_or_goes_away_is_waited_for() {
    let Some(mut bed) = Bed::publishing(10).await else {
        return;
    };
    bed.nats.freeze(true);
    bed.append(10).await;
    bed.until("waiting").await;
    bed.nats.freeze(false);
    bed.assert_complete(20).await;
    bed.until("publishing").await;
    bed.nats.kill();
    bed.append(10).await;
    bed.until("waiting").await;
    assert!(bed.measured("relay_failures_total", &[("relay", "nats")]) >= 2);
    bed.nats.start_again();
    bed.assert_complete(30).await;
}

#[tokio::test]
async fn one_process_publishes_and_the_others_stand_by() {
    let Some(mut bed) = Bed::publishing(10).await else {
        return;
    };
    // A second process, with metrics of its own.
    let metrics = Metrics::new("insurance").unwrap();
    let (url, settings) = (bed.database.url(), relay_settings(&bed.nats.url()));
    let mut other = relay(&bed.log, &url, settings, metrics.meter());
    let other = tokio::spawn(async move { other.run().await });
    until_measured(&metrics, "relay_state", &[("state", "standby")], 1).await;
    bed.append(10).await;
    bed.assert_complete(20).await;
    until_measured(&metrics, "relay_published_total", &[], 0).await;
    // The first one dies, and its lease is over.
    bed.cut().await;
    bed.place();
    bed.append(10).await;
    bed.assert_complete(30).await;
    until_measured(&metrics, "relay_published_total", &[], 10).await;
    other.abort();
}

#[tokio::test]
async fn a_new_log_is_behind_by_all_its_events_until_its_stream_has_them() {
    let Some(mut bed) = Bed::publishing(10).await else {
        return;
    };
    bed.cut().await;
    // One that begins notes at once how far the stream is.
    bed.relay();
    let noted = "select position from insurance_events.relays";
    until(async || (bed.number(noted).await == 10).then_some(())).await;
    bed.cut().await;
    bed.nats.kill();
    bed.renew().await;
    bed.relay();
    bed.until_measured("relay_lag_events", &[("relay", "nats")], 10)
        .await;
}
