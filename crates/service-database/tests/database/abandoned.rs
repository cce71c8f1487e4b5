//! A query that nobody waits for any more: the server stops working on it, and nobody else notices.

use std::time::Duration;

use futures_util::{FutureExt, future::BoxFuture};
use serde_json::json;
use service_database::{Database, Error};
use test_support::{Relay, TableLock, TestDatabase};

use crate::support::{database, pass, run, session, settings};

const TABLE: &str = "vehicle.vehicles";
const ROLE: &str = "vehicle_service";
/// Longer than an abandoned statement has to end by itself.
const GRACE: Duration = Duration::from_millis(200);

/// Begins a query that waits for the lock, as the only one or as one more.
async fn wait<'a>(
    lock: &mut TableLock,
    database: &'a Database,
    queued: i64,
) -> BoxFuture<'a, Result<(), Error>> {
    let mut query = run(database, "select from vehicle.vehicles").boxed();
    tokio::select! {
        biased;
        () = lock.queued(queued) => {}
        result = &mut query => panic!("{result:?}"),
    }
    query
}

#[tokio::test]
async fn the_server_ends_the_statement_and_the_pool_has_a_place_again() {
    let changes = json!({"max_connections": 1, "statement_timeout": "60s"});
    let (place, database) = database(&changes).await;
    let mut lock = place.lock(TABLE).await;
    drop(wait(&mut lock, &database, 1).await);
    lock.queued(0).await;
    run(&database, "select 1").await.unwrap();
}

#[tokio::test]
async fn a_query_that_is_done_keeps_its_connection() {
    let (_place, database) = database(&json!({"max_connections": 1})).await;
    let before = session(&database).await;
    for _ in 0..20 {
        assert_eq!(session(&database).await, before);
    }
}

#[tokio::test]
async fn a_short_statement_ends_by_itself_and_keeps_its_connection() {
    let (_place, database) = database(&json!({"max_connections": 1})).await;
    let before = session(&database).await;
    let mut left = 0;
    for _ in 0..20 {
        // On a busy machine the server may answer before the first look.
        let answer = run(&database, "select pg_sleep(0.005)").now_or_never();
        left += u32::from(answer.is_none());
        assert_eq!(session(&database).await, before);
    }
    assert!(left > 0);
}

#[tokio::test]
async fn a_connection_that_was_closed_is_opened_again_behind() {
    let place = TestDatabase::new("vehicle", vehicle_service::SCHEMA).await;
    let relay = Relay::open(&place).await;
    let changes = json!({"max_connections": 1, "statement_timeout": "60s"});
    let database = Database::new(&settings("vehicle", &relay.url, &changes)).unwrap();
    let before = session(&database).await;
    let mut lock = place.lock(TABLE).await;
    drop(wait(&mut lock, &database, 1).await);
    while relay.opened() < 2 {
        tokio::task::yield_now().await;
    }
    assert_ne!(session(&database).await, before);
    assert_eq!(relay.opened(), 2);
}

#[tokio::test]
async fn whoever_leaves_while_a_connection_is_opened_leaves_it_to_the_others() {
    let place = TestDatabase::new("vehicle", vehicle_service::SCHEMA).await;
    let relay = Relay::open(&place).await;
    // However busy the machine is, no statement of somebody who left costs a connection.
    let mut settings = settings("vehicle", &relay.url, &json!({"max_connections": 4}));
    settings.abandoned_grace = Duration::from_mins(1);
    let database = Database::new(&settings).unwrap();
    let mut left = 0;
    for _ in 0..20 {
        for _ in 0..4 {
            left += u32::from(
                run(&database, "select pg_sleep(0.001)")
                    .now_or_never()
                    .is_none(),
            );
        }
        session(&database).await;
    }
    assert!(left > 0);
    assert!(relay.opened() <= 4, "{}", relay.opened());
}

#[tokio::test]
async fn whoever_only_waited_for_a_connection_costs_none() {
    let (place, database) = database(&json!({"max_connections": 1})).await;
    let before = session(&database).await;
    let mut lock = place.lock(TABLE).await;
    let holding = wait(&mut lock, &database, 1).await;
    // Asked once, it waits for the connection; then it is dropped.
    assert!(run(&database, "select 1").now_or_never().is_none());
    lock.release().await;
    holding.await.unwrap();
    assert_eq!(session(&database).await, before);
}

#[tokio::test]
async fn the_queries_of_others_run_on() {
    let changes = json!({"max_connections": 2, "statement_timeout": "60s"});
    let (place, database) = database(&changes).await;
    let mut lock = place.lock(TABLE).await;
    let kept = wait(&mut lock, &database, 1).await;
    let dropped = wait(&mut lock, &database, 2).await;
    drop(dropped);
    lock.sessions(ROLE, 1).await;
    lock.release().await;
    kept.await.unwrap();
    run(&database, "select 1").await.unwrap();
}

#[tokio::test]
async fn callers_in_a_hurry_do_not_heap_sessions_up() {
    let place = TestDatabase::new("vehicle", vehicle_service::SCHEMA).await;
    let relay = Relay::open(&place).await;
    let mut settings = settings(
        "vehicle",
        &relay.url,
        &json!({"max_connections": 4, "acquire_timeout": "100ms", "statement_timeout": "60s"}),
    );
    // The server looks too late for this test.
    settings.client_connection_check_interval = Duration::from_secs(10);
    let database = Database::new(&settings).unwrap();
    while run(&database, "select 1").await.is_err() || relay.opened() < 4 {}
    let mut lock = place.lock(TABLE).await;
    for waiting in 1..=2 {
        drop(wait(&mut lock, &database, waiting).await);
        pass(GRACE).await;
        // Those beside them serve, while there is time to open others.
        for _ in 0..20 {
            session(&database).await;
        }
    }
    for waiting in 3..=4 {
        drop(wait(&mut lock, &database, waiting).await);
    }
    pass(GRACE).await;
    let refused = run(&database, "select 1").await;
    assert!(refused.is_err());
    lock.sessions(ROLE, 4).await;
    assert_eq!(relay.opened(), 4);

    lock.release().await;
    pass(Duration::from_secs(11)).await;
    while run(&database, "select 1").await.is_err() {}
    lock.sessions(ROLE, 4).await;
}
