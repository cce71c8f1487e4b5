use std::time::Duration;

use tokio::{task::yield_now, time::timeout};

use super::{Operator, feed, replays::following};

/// Waits until the metrics tell of the copy, or do not.
async fn told(operator: &Operator, expected: bool) {
    let told = async {
        loop {
            let metrics = operator.0.api.get("/metrics").await.text();
            let names = [
                "replica_lag_seconds",
                "replica_lag_events",
                "dead_letters_open",
            ];
            let all = names.map(|name| metrics.lines().any(|line| line.starts_with(name)));
            if all == [expected; 3] {
                return;
            }
            yield_now().await;
        }
    };
    let told = timeout(Duration::from_mins(1), told).await;
    assert!(told.is_ok(), "never {expected}");
}

#[tokio::test]
async fn a_process_that_cannot_look_at_the_copy_says_nothing_of_it() {
    let operator = following(feed::of(1).await, 1).await;
    told(&operator, true).await;
    let mut lock = operator
        .0
        .database
        .lock("insurance_replica.consumers")
        .await;
    told(&operator, false).await;
    let last_look = async || operator.0.metric("replica_last_look_seconds", &[]).await;
    let before = last_look().await;
    lock.release().await;
    told(&operator, true).await;
    // It is written down for the alert that nobody has looked for long.
    assert!(last_look().await > before);
}
