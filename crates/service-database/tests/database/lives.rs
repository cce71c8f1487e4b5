//! Connections that die without a sign, or grow old.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use serde_json::json;
use service_database::{Database, Error};
use service_defaults::metrics::Metrics;
use test_support::{Relay, TestDatabase, metric};

use crate::support::{pass, run, session, sessions, settings};

const CONNECTIONS: usize = 4;
const LONGEST_LIFE: Duration = Duration::from_mins(36);
const LONGEST_REST: Duration = Duration::from_secs(31);

/// As many connections as may be open, through a relay that lets no others in.
async fn filled() -> (TestDatabase, Relay, Database) {
    let place = TestDatabase::new("vehicle", vehicle_service::SCHEMA).await;
    let relay = Relay::allowing(&place, CONNECTIONS).await;
    let changes = json!({"max_connections": CONNECTIONS, "statement_timeout": "500ms"});
    let database = Database::new(&settings("vehicle", &relay.url, &changes)).unwrap();
    sessions(&database, CONNECTIONS).await;
    (place, relay, database)
}

#[tokio::test]
async fn connections_that_died_without_a_sign_fail_one_request_together() {
    let (_place, relay, database) = filled().await;
    relay.fall_silent();
    relay.allow(CONNECTIONS);
    let failed = run(&database, "select 1").await;
    assert!(matches!(failed, Err(Error::TimedOut)), "{failed:?}");
    for _ in 0..2 * CONNECTIONS {
        run(&database, "select 1").await.unwrap();
    }
}

#[tokio::test]
async fn a_transaction_finds_dead_connections_out_for_all() {
    let (_place, relay, database) = filled().await;
    relay.fall_silent();
    relay.allow(CONNECTIONS);
    // Longer than any statement may take.
    let limit = Duration::from_millis(800);
    let failed = database.transaction(limit, &(), |_, ()| Box::pin(async { Ok(()) }));
    let failed: Result<(), Error> = failed.await;
    assert!(matches!(failed, Err(Error::TimedOut)), "{failed:?}");
    // The rollback gets no answer either, and all are replaced.
    while relay.opened() < 2 * CONNECTIONS {
        tokio::task::yield_now().await;
    }
    for _ in 0..2 * CONNECTIONS {
        run(&database, "select 1").await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_is_slow_to_open_costs_the_idle_ones_nothing() {
    let (place, _relay, database) = filled().await;
    let ended = session(&database).await;
    let end = format!("select pg_terminate_backend({ended}, 60000)");
    place.execute(&end).await;
    // It is the next one again, and its replacement is not let in.
    let failed = run(&database, "select 1").await;
    assert!(matches!(failed, Err(Error::TimedOut)), "{failed:?}");
    for _ in 0..2 * CONNECTIONS {
        run(&database, "select 1").await.unwrap();
    }
}

#[tokio::test]
async fn no_request_waits_for_the_replacement_of_an_old_connection() {
    let (_place, relay, database) = filled().await;
    pass(LONGEST_LIFE).await;
    let together = || join_all((1..CONNECTIONS).map(|_| run(&database, "select 1")));
    for _ in 0..10 {
        for result in together().await {
            result.unwrap();
        }
    }
    relay.allow(CONNECTIONS);
    while relay.opened() < 2 * CONNECTIONS {
        for result in together().await {
            result.unwrap();
        }
    }
}

#[tokio::test]
async fn the_connection_that_was_used_last_is_used_next_while_the_others_do_not_rest_too_long() {
    let (_place, _relay, database) = filled().await;
    let used = session(&database).await;
    for _ in 0..CONNECTIONS {
        assert_eq!(session(&database).await, used);
    }
    pass(LONGEST_REST).await;
    let mut rested = BTreeSet::new();
    for _ in 0..CONNECTIONS {
        rested.insert(session(&database).await);
    }
    assert_eq!(rested.len(), CONNECTIONS);
}

#[tokio::test]
async fn connections_that_are_never_idle_are_replaced_a_life_later() {
    let (_place, relay, database) = filled().await;
    pass(2 * LONGEST_LIFE).await;
    relay.allow(CONNECTIONS);
    while relay.opened() < 2 * CONNECTIONS {
        let together = (0..CONNECTIONS).map(|_| run(&database, "select pg_sleep(0.01)"));
        for result in join_all(together).await {
            result.unwrap();
        }
    }
}

#[tokio::test]
async fn the_only_connection_is_replaced_too() {
    let place = TestDatabase::new("vehicle", vehicle_service::SCHEMA).await;
    let relay = Relay::open(&place).await;
    let settings = settings("vehicle", &relay.url, &json!({"max_connections": 1}));
    let database = Database::new(&settings).unwrap();
    let before = session(&database).await;
    pass(LONGEST_LIFE).await;
    assert_eq!(session(&database).await, before);
    assert_ne!(session(&database).await, before);
}

#[tokio::test]
async fn the_idle_and_the_used_connections_are_told_apart() {
    let (place, _relay, database) = filled().await;
    let metrics = Metrics::new("test").unwrap();
    database.observe(metrics.meter());
    let counted = |state| {
        let labels = [("db_client_connection_state", state)];
        metric(
            &metrics.render().unwrap(),
            "db_client_connection_count",
            &labels,
        )
    };
    assert_eq!([counted("idle"), counted("used")], [4, 0]);
    let mut lock = place.lock("vehicle.vehicles").await;
    let one_in_use = async {
        lock.queued(1).await;
        let counted = [counted("idle"), counted("used")];
        lock.release().await;
        counted
    };
    let (_, counted) = tokio::join!(run(&database, "select from vehicle.vehicles"), one_in_use);
    assert_eq!(counted, [3, 1]);
}
