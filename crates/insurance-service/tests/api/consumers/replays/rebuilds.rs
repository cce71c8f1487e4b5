//! Rebuilds: copies that the consumer makes.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{task::yield_now, time::timeout};

use super::{FOLLOWS, REPLAYS, code, following, rebuild};
use crate::api::consumers::{
    feed::{self, LOG},
    operator::CONSUMER,
};

#[tokio::test]
async fn a_rebuild_is_the_consumers_snapshot_with_an_id_to_watch() {
    let operator = following(feed::of(1).await, 3).await;
    operator.execute(FOLLOWS).await;
    // However many vehicles the copy has, it does not count them.
    let mut copy = operator.0.database.lock("insurance_replica.vehicles").await;
    let replay = operator.start(&rebuild()).await;
    copy.release().await;
    let consumer = operator.read(CONSUMER).await;
    assert_eq!(
        (&consumer["mode"], &consumer["control"]["by"]),
        (&json!("snapshot"), &json!("key/operator"))
    );
    let began = "update insurance_replica.consumers
        set mode = 'paused', generations = 2, filling = 2, filled = 2";
    operator.execute(began).await;
    let at_two = async {
        while operator.read(&replay).await["seen"] != 2 {
            yield_now().await;
        }
    };
    timeout(Duration::from_mins(2), at_two).await.unwrap();
    let running = operator.read(&replay).await;
    assert_eq!(
        (&running["status"], &running["expected"]),
        (&json!("running"), &json!(3))
    );
    let swapped = "update insurance_replica.consumers
        set generation = 2, filling = null, filled = 4";
    operator.execute(swapped).await;
    let done = operator.until(&replay, "completed").await;
    assert_eq!(done["seen"], 4);
}

#[tokio::test]
async fn of_a_cancelled_rebuild_nothing_is_left_and_a_needed_one_goes_on() {
    let operator = following(feed::of(1).await, 3).await;
    operator.execute(FOLLOWS).await;
    let filling = "update insurance_replica.consumers
        set filling = generations + 1, generations = generations + 1, snapshot_at = 'C000001'";
    let replay = operator.start(&rebuild()).await;
    operator.execute(filling).await;
    // The copy that is read is of another log, or nothing is known of any.
    for lost in [
        "update insurance_replica.consumers set log_id = gen_random_uuid()",
        "update insurance_replica.consumers set log_id = null, copy_log_id = null",
    ] {
        operator.execute(lost).await;
        assert_eq!(
            code(&operator.cancel(&replay).await),
            (409, "replay_needed".to_owned())
        );
    }
    let back =
        format!("update insurance_replica.consumers set log_id = '{LOG}', copy_log_id = '{LOG}'");
    operator.execute(&back).await;
    let answer = operator.cancel(&replay).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["status"]),
        (202, &json!("cancelled"))
    );
    let consumer = operator.read(CONSUMER).await;
    assert_eq!(
        (&consumer["mode"], &consumer["snapshot"]),
        (&json!("follow"), &Value::Null)
    );
    // One that is told to follow before it has begun is given up.
    let replay = operator.start(&rebuild()).await;
    operator.command("follow").await;
    let failed = operator.until(&replay, "failed").await;
    assert_eq!(failed["failure"], "given_up");
}

#[tokio::test]
async fn a_rebuild_takes_nothing_back_that_another_operator_has_ordered() {
    let operator = following(feed::of(1).await, 3).await;
    for mode in ["paused", "snapshot"] {
        operator.command(mode).await;
        let refused = operator.post(REPLAYS, &rebuild()).await;
        assert_eq!(code(&refused), (409, "consumer_not_following".to_owned()));
        assert_eq!(operator.read(CONSUMER).await["mode"], mode);
    }
    operator.command("follow").await;
    let filling = "update insurance_replica.consumers
        set filling = generations + 1, generations = generations + 1, snapshot_at = 'C000001'";
    operator.execute(filling).await;
    let refused = operator.post(REPLAYS, &rebuild()).await;
    assert_eq!(code(&refused), (409, "consumer_not_following".to_owned()));
    // Whoever pauses it or orders a copy meanwhile finds it so after the end of the rebuild.
    for mode in ["paused", "snapshot"] {
        operator.execute(FOLLOWS).await;
        let replay = operator.start(&rebuild()).await;
        operator.command(mode).await;
        assert_eq!(operator.cancel(&replay).await.status, 202);
        assert_eq!(operator.read(CONSUMER).await["mode"], mode);
    }
}

#[tokio::test]
async fn a_copy_that_is_ordered_while_a_rebuild_is_cancelled_is_made() {
    let operator = following(feed::of(1).await, 3).await;
    operator.execute(FOLLOWS).await;
    let replay = operator.start(&rebuild()).await;
    let began = "update insurance_replica.consumers
        set filling = generations + 1, generations = generations + 1, snapshot_at = 'C000001'";
    operator.execute(began).await;
    // An order for a copy that has its effect while the cancellation is at work.
    let mut order = operator.0.database.connect().await;
    let give = "begin; update insurance_replica.consumers
        set mode = 'snapshot', filling = null, snapshot_at = null, mode_since = clock_timestamp()";
    sqlx::raw_sql(give).execute(&mut order).await.unwrap();
    let commit = async {
        operator.0.blocked().await;
        sqlx::raw_sql("commit").execute(&mut order).await.unwrap();
    };
    let (cancelled, ()) = tokio::join!(operator.cancel(&replay), commit);
    assert_eq!(code(&cancelled), (409, "replay_ended".to_owned()));
    assert_eq!(operator.read(CONSUMER).await["mode"], "snapshot");
}
