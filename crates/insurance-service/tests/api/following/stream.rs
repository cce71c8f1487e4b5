//! The copy that follows the stream of Vehicle's relay, with the real broker.

use std::time::Duration;

use event_relay::StreamReader;
use insurance_service::{Consumer, Turn};
use test_support::{Nats, Remote, metric};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Pair, texts, within};

const CHANGE: &str = "update vehicle.vehicles set model = coalesce(model, '') || '+'";

/// Lets a consumer go on until it has everything, whatever fails meanwhile.
async fn caught_up(pair: &Pair, consumer: &mut Consumer) {
    let told = CancellationToken::new();
    within(Box::pin(async {
        while !pair.is_caught_up().await {
            // Vehicle's connections may have been cut.
            drop(Box::pin(consumer.turn(&told)).await);
        }
    }))
    .await;
    pair.assert_equal().await;
}

/// A consumer that has everything and reads the stream.
async fn streaming(pair: &Pair) -> Consumer {
    within(Box::pin(async {
        loop {
            pair.end_lease().await;
            let mut consumer = pair.consumer();
            caught_up(pair, &mut consumer).await;
            // One without a page that is new, as those of before may have been of the feed.
            let told = CancellationToken::new();
            let turn = Box::pin(consumer.turn(&told)).await;
            if matches!(turn, Ok(Turn::Followed { .. })) && consumer.reads_stream() {
                return consumer;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }))
    .await
}

/// Waits until the relay has published Vehicle's log.
async fn published(pair: &Pair) {
    let settings = format!("url = \"{}\"", pair.broker);
    let settings = settings::parse("replica.nats", &settings).unwrap();
    let mut reader = StreamReader::new(settings, "test", "vehicle");
    let head = "select log_id || ' ' || position from vehicle_events.head
        where not exists (select from vehicle_events.unplaced)";
    within(Box::pin(async {
        loop {
            let head = texts(&pair.vehicle, head).await;
            if let Some((log, position)) = head.first().and_then(|it| it.split_once(' ')) {
                let (log, wait) = (log.parse().unwrap(), Duration::from_millis(50));
                let events = reader.events(log, None, 1_000, wait).await;
                let last = events.ok().and_then(|it| it.last().map(|it| it.position));
                if last.is_some_and(|it| it.to_string() == position) {
                    break;
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    }))
    .await;
}

#[tokio::test]
async fn the_copy_follows_the_stream_and_the_feed_while_the_broker_is_away() {
    let Some(mut nats) = Nats::start() else {
        return;
    };
    let pair = Pair::beside(nats.url()).await;
    let mut consumer = streaming(&pair).await;
    let delete = "delete from vehicle.vehicles where registration_number = 'ABC123'";
    for change in [CHANGE, delete, CHANGE] {
        pair.vehicle.execute(change).await;
        caught_up(&pair, &mut consumer).await;
        assert!(consumer.reads_stream());
    }
    nats.kill();
    pair.vehicle.execute(CHANGE).await;
    caught_up(&pair, &mut consumer).await;
    assert!(!consumer.reads_stream());
    nats.start_again();
    pair.vehicle.execute(CHANGE).await;
    let mut consumer = streaming(&pair).await;
    // Wiped: it is filled again.
    nats.start_empty();
    pair.vehicle.execute(CHANGE).await;
    caught_up(&pair, &mut consumer).await;
    streaming(&pair).await;
    assert_eq!(pair.state("generation").await, "1");
}

/// The relay's lease is another process's, which publishes nothing.
#[tokio::test]
async fn what_is_not_in_the_stream_yet_is_read_from_the_feed() {
    let Some(nats) = Nats::start() else {
        return;
    };
    let pair = Pair::beside(nats.url()).await;
    let mut consumer = streaming(&pair).await;
    let lease = "update vehicle_events.relays set fence = fence + 1, leased_until = 'infinity'";
    pair.vehicle.execute(lease).await;
    let vehicle = Remote(pair.url.trim_start_matches("http://").parse().unwrap());
    within(async {
        loop {
            let text = vehicle.get("/metrics").await.text();
            if metric(&text, "relay_state", &[("state", "standby")]) == 1 {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    pair.vehicle.execute(CHANGE).await;
    caught_up(&pair, &mut consumer).await;
    assert_eq!(pair.state("generation").await, "1");
}

#[tokio::test]
async fn what_only_the_stream_has_is_not_believed() {
    let Some(nats) = Nats::start() else {
        return;
    };
    let pair = Pair::beside(nats.url()).await;
    let mut consumer = streaming(&pair).await;
    // A failover that loses events and keeps the log's id.
    let backup = pair.vehicle.copy().await;
    let lost = "update vehicle.vehicles set model = 'lost'";
    pair.vehicle.execute(lost).await;
    published(&pair).await;
    pair.vehicle.restore(&backup).await;
    let told = CancellationToken::new();
    within(Box::pin(async {
        // Some may fail, as Vehicle's connections were cut.
        for _ in 0..100 {
            let turn = Box::pin(consumer.turn(&told)).await;
            assert!(!matches!(turn, Ok(Turn::Lost)));
            if !consumer.reads_stream() {
                return;
            }
        }
        panic!("it stays at the stream");
    }))
    .await;
    caught_up(&pair, &mut consumer).await;
    // Other events have their places now.
    pair.vehicle.execute(CHANGE).await;
    pair.end_lease().await;
    let mut consumer = pair.consumer();
    caught_up(&pair, &mut consumer).await;
    assert!(!consumer.reads_stream());
    assert_eq!(pair.state("generation").await, "1");
}

#[tokio::test]
async fn another_log_is_copied_and_its_own_stream_is_followed() {
    let Some(nats) = Nats::start() else {
        return;
    };
    let pair = Pair::beside(nats.url()).await;
    let mut consumer = streaming(&pair).await;
    // Restored, and `new-log`.
    let renew = "insert into vehicle_events.former_logs
            select log_id, position, 'restored' from vehicle_events.head;
        update vehicle_events.head set log_id = gen_random_uuid()";
    pair.vehicle.execute(renew).await;
    let told = CancellationToken::new();
    within(Box::pin(async {
        while !matches!(Box::pin(consumer.turn(&told)).await, Ok(Turn::Lost)) {}
    }))
    .await;
    pair.vehicle.execute(CHANGE).await;
    caught_up(&pair, &mut consumer).await;
    assert_eq!(pair.state("generation").await, "2");
    streaming(&pair).await;
}
