//! Several statements that take effect together or not at all.

use std::time::Duration;

use futures_util::{FutureExt, future::BoxFuture};
use serde_json::json;
use service_database::{Database, Error, Work};
use sqlx::{Connection, PgConnection};
use test_support::TestDatabase;

use crate::support::{database, end_sessions, number, run, session, sessions};

const LIMIT: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(100);

/// A service that may write, on one connection.
async fn writing_service() -> (TestDatabase, Database) {
    let (place, database) = database(&json!({"max_connections": 1})).await;
    place
        .execute(
            "create table vehicle.notes (id int primary key deferrable initially deferred);
             grant select, insert on vehicle.notes to vehicle_service",
        )
        .await;
    (place, database)
}

/// Two notes, the second after this statement.
async fn write<T: Send>(
    database: &Database,
    limit: Duration,
    between: &'static str,
    then: Work<&'static str, T, Error>,
) -> Result<T, Error> {
    database.transaction(limit, &between, then).await
}

async fn execute(connection: &mut PgConnection, sql: &'static str) -> Result<(), Error> {
    sqlx::query(sql).execute(connection).await?;
    Ok(())
}

fn two_notes<'a>(
    connection: &'a mut PgConnection,
    between: &'a &'static str,
) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move {
        execute(connection, "insert into vehicle.notes values (1)").await?;
        execute(connection, between).await?;
        execute(connection, "insert into vehicle.notes values (2)").await
    })
}

async fn notes(place: &TestDatabase) -> i64 {
    number(
        &mut place.connect().await,
        "select count(*) from vehicle.notes",
    )
    .await
}

const SLEEPING: &str = "select count(*) from pg_stat_activity
    where datname = current_database() and wait_event = 'PgSleep'";

/// Begins to write and leaves while the statement between, which sleeps, runs.
async fn leave_during(place: &TestDatabase, database: &Database, between: &'static str) {
    let mut watching = place.connect().await;
    let sleeps = async { while number(&mut watching, SLEEPING).await == 0 {} };
    tokio::select! {
        biased;
        () = sleeps => {}
        done = write(database, LIMIT, between, two_notes) => panic!("{done:?}"),
    }
}

/// The same notes can be written now: nothing was kept, no lock and no transaction is left.
async fn nothing_is_left(place: &TestDatabase, database: &Database) {
    assert_eq!(notes(place).await, 0);
    write(database, LIMIT, "select", two_notes).await.unwrap();
    assert_eq!(notes(place).await, 2);
}

#[tokio::test]
async fn what_is_done_is_committed_and_the_connection_stays() {
    let (place, database) = writing_service().await;
    let before = session(&database).await;
    write(&database, LIMIT, "select", two_notes).await.unwrap();
    assert_eq!(notes(&place).await, 2);
    assert_eq!(session(&database).await, before);
}

#[tokio::test]
async fn an_error_rolls_back_and_the_connection_stays() {
    let (place, database) = writing_service().await;
    let before = session(&database).await;
    let error = write(&database, LIMIT, "select 1/0", two_notes).await;
    assert!(matches!(error, Err(Error::Failed(_))), "{error:?}");
    assert_eq!(session(&database).await, before);
    nothing_is_left(&place, &database).await;
}

#[tokio::test]
async fn what_the_caller_refuses_is_rolled_back() {
    let (place, database) = writing_service().await;
    let refused = write(&database, LIMIT, "select", |connection, between| {
        Box::pin(async move {
            two_notes(connection, between).await?;
            Err::<(), _>(Error::Busy)
        })
    });
    assert!(matches!(refused.await, Err(Error::Busy)));
    nothing_is_left(&place, &database).await;
}

#[tokio::test]
async fn a_commit_that_is_refused_is_told_and_the_connection_stays() {
    let (place, database) = writing_service().await;
    let before = session(&database).await;
    let twice = "insert into vehicle.notes values (1)";
    let error = write(&database, LIMIT, twice, two_notes).await;
    assert!(matches!(error, Err(Error::Failed(_))), "{error:?}");
    assert_eq!(session(&database).await, before);
    nothing_is_left(&place, &database).await;
}

#[tokio::test]
async fn an_error_that_the_work_keeps_to_itself_is_told() {
    let (place, database) = writing_service().await;
    let kept_back = write(&database, LIMIT, "select 1/0", |connection, between| {
        Box::pin(async move {
            let _ = two_notes(connection, between).await;
            Ok(())
        })
    });
    assert!(matches!(kept_back.await, Err(Error::Failed(_))));
    nothing_is_left(&place, &database).await;
}

#[tokio::test]
async fn over_its_limit_it_is_rolled_back() {
    let (place, database) = writing_service().await;
    let error = write(&database, SHORT, "select pg_sleep(60)", two_notes).await;
    assert!(matches!(error, Err(Error::TimedOut)), "{error:?}");
    nothing_is_left(&place, &database).await;
}

#[tokio::test]
async fn several_short_statements_are_not_over_the_limit_one_by_one() {
    let (place, database) = writing_service().await;
    let error = write(&database, SHORT, "select", |connection, between| {
        Box::pin(async move {
            two_notes(connection, between).await?;
            for _ in 0..100 {
                execute(connection, "select pg_sleep(0.01)").await?;
            }
            Ok(())
        })
    });
    assert!(matches!(error.await, Err(Error::TimedOut)));
    nothing_is_left(&place, &database).await;
}

#[tokio::test]
async fn whoever_leaves_has_written_nothing_and_costs_no_connection() {
    let (place, database) = writing_service().await;
    let before = session(&database).await;
    for _ in 0..5 {
        leave_during(&place, &database, "select pg_sleep(0.02)").await;
        assert_eq!(session(&database).await, before);
    }
    nothing_is_left(&place, &database).await;
}

#[tokio::test]
async fn the_server_ends_the_long_statement_of_whoever_leaves() {
    let (place, database) = writing_service().await;
    leave_during(&place, &database, "select pg_sleep(60)").await;
    nothing_is_left(&place, &database).await;
}

#[tokio::test]
async fn an_error_of_a_statement_that_was_left_reaches_nobody_else() {
    let (place, database) = writing_service().await;
    let fails = "do $$ begin perform pg_sleep(0.02); raise exception 'no'; end $$";
    leave_during(&place, &database, fails).await;
    nothing_is_left(&place, &database).await;
}

#[tokio::test]
async fn it_begins_on_a_fresh_connection_where_the_idle_one_is_dead() {
    let (place, database) = writing_service().await;
    session(&database).await;
    end_sessions(&place).await;
    write(&database, LIMIT, "select", two_notes).await.unwrap();
    assert_eq!(notes(&place).await, 2);
}

#[tokio::test]
async fn the_server_ends_it_where_the_client_falls_silent() {
    let (_place, database) = writing_service().await;
    let bound = write(&database, LIMIT, "", |connection, _| {
        Box::pin(async move {
            let sql = "show idle_in_transaction_session_timeout";
            Ok(sqlx::query_scalar::<_, String>(sql)
                .fetch_one(connection)
                .await?)
        })
    });
    assert_eq!(bound.await.unwrap(), "10s");
}

/// Writes the first note, and the second one in a transaction inside.
async fn one_inside(connection: &mut PgConnection, commits: bool) -> Result<(), Error> {
    execute(connection, "insert into vehicle.notes values (1)").await?;
    let mut inside = connection.begin().await?;
    execute(&mut inside, "insert into vehicle.notes values (2)").await?;
    if commits {
        inside.commit().await?;
    } else {
        inside.rollback().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_commit_inside_keeps_nothing_of_a_transaction_that_fails() {
    let (place, database) = writing_service().await;
    let refused = write(&database, LIMIT, "", |connection, _| {
        Box::pin(async move {
            one_inside(connection, true).await?;
            Err::<(), _>(Error::Busy)
        })
    });
    assert!(matches!(refused.await, Err(Error::Busy)));
    nothing_is_left(&place, &database).await;
}

#[tokio::test]
async fn a_commit_inside_is_kept_with_the_rest() {
    let (place, database) = writing_service().await;
    let done = write(&database, LIMIT, "", |connection, _| {
        Box::pin(one_inside(connection, true))
    });
    done.await.unwrap();
    assert_eq!(notes(&place).await, 2);
}

#[tokio::test]
async fn a_rollback_inside_leaves_the_rest() {
    let (place, database) = writing_service().await;
    let done = write(&database, LIMIT, "", |connection, _| {
        Box::pin(one_inside(connection, false))
    });
    done.await.unwrap();
    assert_eq!(notes(&place).await, 1);
}

#[tokio::test]
async fn a_transaction_that_the_work_itself_ends_is_told() {
    let (place, database) = writing_service().await;
    let error = write(&database, LIMIT, "rollback", |connection, rollback| {
        Box::pin(async move {
            execute(connection, "insert into vehicle.notes values (1)").await?;
            execute(connection, rollback).await
        })
    });
    assert!(matches!(error.await, Err(Error::Failed(_))));
    nothing_is_left(&place, &database).await;
}

#[tokio::test]
async fn whoever_leaves_while_it_begins_leaves_no_transaction() {
    let (place, database) = writing_service().await;
    session(&database).await;
    // A server that answers each statement at once must not let it end.
    let mut lock = place.lock("vehicle.notes").await;
    let left = write(&database, LIMIT, "select", two_notes).now_or_never();
    assert!(left.is_none());
    lock.release().await;
    run(&database, "select 1").await.unwrap();
    let open = "select count(*) from pg_stat_activity
        where datname = current_database() and state like 'idle in transaction%'";
    assert_eq!(number(&mut place.connect().await, open).await, 0);
}

#[tokio::test]
async fn without_a_free_connection_it_is_busy_within_its_limit() {
    let (_place, database) = writing_service().await;
    session(&database).await;
    let mut busy = run(&database, "select pg_sleep(60)").boxed();
    assert!((&mut busy).now_or_never().is_none());
    let error = write(&database, SHORT, "select", two_notes).await;
    assert!(matches!(error, Err(Error::Busy)), "{error:?}");
}

#[tokio::test]
async fn a_statement_that_runs_over_the_limit_costs_the_idle_connections_nothing() {
    let (place, database) = database(&json!({})).await;
    let before = sessions(&database, 2).await;
    let error = write(
        &database,
        SHORT,
        "select pg_sleep(60)",
        |connection, sql| Box::pin(execute(connection, sql)),
    );
    assert!(matches!(error.await, Err(Error::TimedOut)));
    let mut watching = place.connect().await;
    while number(&mut watching, SLEEPING).await > 0 {}
    let after = sessions(&database, 2).await;
    assert!(!after.is_disjoint(&before));
}
