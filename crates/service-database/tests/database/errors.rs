use std::time::Duration;

use serde_json::json;
use service_database::{Database, Error};
use sqlx::PgConnection;
use test_support::{TestDatabase, nowhere};
use tokio::net::TcpListener;

use crate::support::{database, refusal, run, session, settings};

async fn sleep(database: &Database) -> Result<(), Error> {
    run(database, "select pg_sleep(60)").await
}

#[tokio::test]
async fn a_statement_over_its_time_timed_out() {
    let changes = json!({"statement_timeout": "10ms", "max_connections": 1});
    let (_place, database) = database(&changes).await;
    let before = session(&database).await;
    let error = sleep(&database).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut), "{error:?}");
    assert_eq!(session(&database).await, before);
}

#[tokio::test]
async fn a_pool_without_a_free_connection_is_busy() {
    let changes = json!({"max_connections": 1, "acquire_timeout": "50ms"});
    let (place, database) = database(&changes).await;
    // The first connection may take longer than that.
    while run(&database, "select 1").await.is_err() {}
    let mut lock = place.lock("vehicle.vehicles").await;
    let one_more = async {
        lock.queued(1).await;
        let error = run(&database, "select 1").await;
        lock.release().await;
        error
    };
    let (held, error) = tokio::join!(run(&database, "select from vehicle.vehicles"), one_more);
    held.unwrap();
    assert!(matches!(error, Err(Error::Busy)), "{error:?}");
}

#[tokio::test]
async fn a_statement_whose_session_is_ended_runs_once_more_and_not_twice() {
    let (place, database) = database(&json!({"max_connections": 1})).await;
    session(&database).await;
    let end = async {
        let mut other = place.connect().await;
        let mut ended = 0;
        while ended < 2 {
            ended += ended_sessions(&mut other).await;
            tokio::task::yield_now().await;
        }
    };
    let (result, ()) = tokio::join!(sleep(&database), end);
    assert!(matches!(result, Err(Error::Unavailable(_))), "{result:?}");
}

async fn ended_sessions(connection: &mut PgConnection) -> i64 {
    let end = "select count(pg_terminate_backend(pid, 60000)) from pg_stat_activity
        where datname = current_database() and wait_event = 'PgSleep'";
    crate::support::number(connection, end).await
}

#[tokio::test]
async fn a_port_where_nobody_answers_is_unavailable() {
    let (_socket, url) = nowhere();
    let settings = settings("vehicle", &url, &json!({"acquire_timeout": "50ms"}));
    let database = Database::new(&settings).unwrap();
    let error = sleep(&database).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://{}/none", silent.local_addr().unwrap());
    let changes = json!({"acquire_timeout": "50ms", "statement_timeout": "10ms"});
    let database = Database::new(&settings("vehicle", &url, &changes)).unwrap();
    let error = tokio::time::timeout(Duration::from_mins(1), sleep(&database))
        .await
        .unwrap();
    assert!(matches!(error, Err(Error::Unavailable(_))), "{error:?}");
}

#[tokio::test]
async fn a_statement_that_is_wrong_is_a_fault_of_ours() {
    let (_place, database) = database(&json!({})).await;
    for sql in ["select nothing", "select 1/0"] {
        let error = run(&database, sql).await;
        assert!(matches!(error, Err(Error::Failed(_))), "{sql}: {error:?}");
    }
}

#[tokio::test]
async fn what_a_server_lacks_for_the_moment_is_unavailable() {
    let (_place, database) = database(&json!({})).await;
    // connection_failure, disk_full, out_of_memory, too_many_connections
    for sql in [
        "do $$ begin raise exception using errcode = '08006'; end $$",
        "do $$ begin raise exception using errcode = '53100'; end $$",
        "do $$ begin raise exception using errcode = '53200'; end $$",
        "do $$ begin raise exception using errcode = '53300'; end $$",
    ] {
        let error = run(&database, sql).await;
        assert!(
            matches!(error, Err(Error::Unavailable(_))),
            "{sql}: {error:?}"
        );
    }
}

#[tokio::test]
async fn what_somebody_else_holds_is_locked() {
    let (_place, database) = database(&json!({})).await;
    // lock_not_available, deadlock_detected
    for sql in [
        "do $$ begin raise exception using errcode = '55P03'; end $$",
        "do $$ begin raise exception using errcode = '40P01'; end $$",
    ] {
        let error = run(&database, sql).await;
        assert!(matches!(error, Err(Error::Locked(_))), "{sql}: {error:?}");
    }
}

#[tokio::test]
async fn a_right_or_a_table_that_is_not_there_is_unavailable() {
    let (_place, database) = database(&json!({})).await;
    for sql in ["truncate vehicle.vehicles", "select from vehicle.cars"] {
        let error = run(&database, sql).await;
        assert!(
            matches!(error, Err(Error::Unavailable(_))),
            "{sql}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_does_not_let_the_service_in_is_unavailable() {
    let place = TestDatabase::new("vehicle", vehicle_service::SCHEMA).await;
    for changes in [
        json!({"password": "wrong"}),
        json!({"user": "nobody"}),
        json!({"url": format!("{}_missing", place.url())}),
    ] {
        let database = Database::new(&settings("vehicle", &place.url(), &changes)).unwrap();
        let error = sleep(&database).await.unwrap_err();
        assert!(
            matches!(error, Error::Unavailable(_)),
            "{changes}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_statement_that_waits_for_a_lock_times_out_too() {
    let (place, database) = database(&json!({"statement_timeout": "10ms"})).await;
    let mut lock = place.connect().await;
    assert_eq!(
        refusal(&mut lock, "begin; lock table vehicle.vehicles").await,
        None
    );
    let error = run(&database, "select * from vehicle.vehicles").await;
    assert!(matches!(error, Err(Error::TimedOut)), "{error:?}");
}
