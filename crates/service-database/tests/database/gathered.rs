//! Lookups of many callers in one statement.

use std::time::Duration;

use futures_util::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use serde_json::{Value, json};
use service_database::{Database, Error, Gathered};
use sqlx::{Connection, FromRow, PgConnection};
use test_support::{Relay, TestDatabase};

use crate::support::{database, end_sessions, number, pass, run, session, settings};

const CALLERS: i32 = 64;
/// Longer than a statement goes on that nobody waits for.
const GRACE: Duration = Duration::from_millis(200);
/// Longer than a statement takes that is not slow.
const SLOW: Duration = Duration::from_millis(50);

/// Counts statements, on the server.
const STATEMENTS: &str = "create sequence vehicle.statements;
    grant usage on sequence vehicle.statements to vehicle_service";

/// What the server says of a statement.
#[derive(Clone, Debug, FromRow)]
struct Served {
    key: i32,
    /// Counted by the server.
    statement: i64,
    keys: i32,
}

type Lookups = Gathered<i32, Served>;

/// Waits for the lock of each key; fails for 0.
fn look_up<'a>(
    connection: &'a mut PgConnection,
    keys: &'a Vec<i32>,
) -> BoxFuture<'a, sqlx::Result<Vec<Served>>> {
    let sql = "with statement as materialized (select nextval('vehicle.statements') as number)
               select key + 0 / key as key, number as statement, cardinality($1) as keys,
                   pg_advisory_xact_lock_shared(key)
               from statement, unnest($1) with ordinality as asked (key, place) order by place";
    Box::pin(sqlx::query_as(sql).bind(keys).fetch_all(connection))
}

async fn lookups(changes: &Value) -> (TestDatabase, Database, Lookups) {
    let (place, database) = database(changes).await;
    place.execute(STATEMENTS).await;
    let lookups = Gathered::new(database.clone(), look_up);
    (place, database, lookups)
}

/// A lookup that was begun.
fn begin(lookups: &Lookups, key: i32) -> Lookup {
    let lookups = lookups.clone();
    let mut lookup = async move { lookups.get(key).await }.boxed();
    assert!((&mut lookup).now_or_never().is_none());
    lookup
}

type Lookup = BoxFuture<'static, Result<Served, Error>>;

/// Holds the locks of some keys until it is dropped.
struct Held {
    holder: PgConnection,
    watcher: PgConnection,
}

impl Held {
    async fn new(place: &TestDatabase, keys: &[i32]) -> Self {
        let mut holder = place.connect().await;
        let watcher = place.connect().await;
        for key in keys {
            number(
                &mut holder,
                &format!("select 1::bigint from (select pg_advisory_lock({key})) it"),
            )
            .await;
        }
        Self { holder, watcher }
    }

    /// Waits until so many statements wait for the lock of this key.
    async fn queued(&mut self, key: i32, statements: i64) {
        let waiting = format!(
            "select count(*) from pg_locks join pg_database on pg_database.oid = database
             where not granted and locktype = 'advisory' and objid = {key}
                 and datname = current_database()"
        );
        while number(&mut self.watcher, &waiting).await != statements {
            tokio::task::yield_now().await;
        }
    }

    async fn release(self) {
        self.holder.close().await.unwrap();
    }
}

/// Two statements that wait for their locks, as many as the service has connections.
async fn occupied(place: &TestDatabase, lookups: &Lookups) -> (Held, [Lookup; 2]) {
    let mut held = Held::new(place, &[1, 2]).await;
    let mut both = [begin(lookups, 1), begin(lookups, 2)];
    let [one, two] = &mut both;
    let queued = async {
        held.queued(1, 1).await;
        held.queued(2, 1).await;
    };
    tokio::select! {
        biased;
        () = queued => {}
        it = one => panic!("{it:?}"),
        it = two => panic!("{it:?}"),
    }
    (held, both)
}

#[tokio::test]
async fn what_is_asked_for_meanwhile_shares_one_statement_each_key_once() {
    let (place, _database, lookups) = lookups(&json!({})).await;
    let (held, first) = occupied(&place, &lookups).await;
    let others = (0..CALLERS).map(|caller| begin(&lookups, 3 + caller % 7));
    let others: Vec<_> = others.collect();
    held.release().await;
    for answer in join_all(first).await {
        assert_eq!(answer.unwrap().keys, 1);
    }
    for (caller, answer) in (0..).zip(join_all(others).await) {
        let served = answer.unwrap();
        let expected = (3 + caller % 7, 3, 7);
        assert_eq!((served.key, served.statement, served.keys), expected);
    }
}

#[tokio::test]
async fn a_statement_has_so_many_keys_and_the_others_follow() {
    let (place, _database, lookups) = lookups(&json!({})).await;
    let (held, first) = occupied(&place, &lookups).await;
    let others: Vec<_> = (3..303).map(|key| begin(&lookups, key)).collect();
    held.release().await;
    join_all(first).await;
    let mut keys = Vec::new();
    for answer in join_all(others).await {
        keys.push(answer.unwrap().keys);
    }
    keys.dedup();
    assert_eq!(keys, [128, 44]);
}

#[tokio::test]
async fn whoever_comes_alone_has_a_statement_at_once() {
    let (_place, _database, lookups) = lookups(&json!({})).await;
    for key in 1..20 {
        let served = lookups.get(key).await.unwrap();
        let expected = (key, i64::from(key), 1);
        assert_eq!((served.key, served.statement, served.keys), expected);
    }
}

#[tokio::test]
async fn a_statement_is_prepared_and_planned_once_for_a_connection() {
    let (_place, database, lookups) = lookups(&json!({"max_connections": 1})).await;
    for key in 1..20 {
        lookups.get(key).await.unwrap();
    }
    let plans: (i64, i64, i64) = database
        .read((), |connection, ()| {
            let sql = "select generic_plans, custom_plans, count(*) over ()
                from pg_prepared_statements where statement like '%unnest%'
                    and statement not like '%pg_prepared_statements%'";
            Box::pin(sqlx::query_as(sql).fetch_one(connection))
        })
        .await
        .unwrap();
    assert_eq!(plans, (19, 0, 1));
}

#[tokio::test]
async fn a_turn_that_does_not_come_in_time_is_busy() {
    let (place, database, lookups) = lookups(&json!({"acquire_timeout": "1s"})).await;
    while run(&database, "select 1").await.is_err() {}
    let (held, first) = occupied(&place, &lookups).await;
    let late = lookups.get(3).await;
    assert!(matches!(late, Err(Error::Busy)), "{late:?}");
    held.release().await;
    for answer in join_all(first).await {
        answer.unwrap();
    }
    assert_eq!(lookups.get(3).await.unwrap().keys, 1);
}

#[tokio::test]
async fn whoever_comes_while_others_wait_in_vain_has_a_wait_of_its_own() {
    let changes = json!({"max_connections": 1, "statement_timeout": "60s"});
    let (place, database, lookups) = lookups(&changes).await;
    session(&database).await;
    let mut held = Held::new(&place, &[1]).await;
    let ask = |key| {
        let lookups = lookups.clone();
        tokio::spawn(async move { lookups.get(key).await })
    };
    let first = ask(1);
    let in_vain = [ask(2), ask(3)];
    held.queued(1, 1).await;
    // They wait for ten seconds, and so does the one who then serves the others.
    pass(Duration::from_secs(11)).await;
    held.queued(1, 1).await;
    pass(Duration::from_secs(5)).await;
    let later = ask(4);
    held.queued(1, 1).await;
    pass(Duration::from_secs(6)).await;
    held.queued(1, 1).await;
    held.release().await;
    for answer in join_all(in_vain).await {
        assert!(matches!(answer.unwrap(), Err(Error::Busy)));
    }
    first.await.unwrap().unwrap();
    assert_eq!(later.await.unwrap().unwrap().key, 4);
}

#[tokio::test]
async fn while_statements_are_slow_more_begin() {
    let (place, _database, lookups) = lookups(&json!({"max_connections": 4})).await;
    let (mut held, first) = occupied(&place, &lookups).await;
    let mut others = Vec::new();
    // Each waits for a lock, too, and the last one for a connection.
    for (another, queued) in [(1, 2), (1, 3), (1, 3)] {
        tokio::time::sleep(SLOW).await;
        others.push(begin(&lookups, another));
        let mut answers = join_all(&mut others);
        tokio::select! {
            biased;
            () = held.queued(1, queued) => {}
            it = &mut answers => panic!("{it:?}"),
        }
    }
    held.release().await;
    for answer in join_all(first.into_iter().chain(others)).await {
        answer.unwrap();
    }
}

#[tokio::test]
async fn a_statement_ends_with_the_last_one_who_waits_for_it_and_not_before() {
    let (place, database, lookups) = lookups(&json!({"statement_timeout": "60s"})).await;
    let (held, first) = occupied(&place, &lookups).await;
    let (leaves, stays) = (begin(&lookups, 3), begin(&lookups, 4));
    let (also_leaves, leaves_last) = (begin(&lookups, 3), begin(&lookups, 5));
    let mut blocked = Held::new(&place, &[4]).await;
    held.release().await;
    join_all(first).await;
    blocked.queued(4, 1).await;
    drop((leaves, also_leaves, leaves_last));
    for _ in 0..3 {
        pass(GRACE).await;
        blocked.queued(4, 1).await;
    }
    blocked.release().await;
    let served = stays.await.unwrap();
    assert_eq!((served.key, served.keys), (4, 3));

    let (held, first) = occupied(&place, &lookups).await;
    let both = [begin(&lookups, 3), begin(&lookups, 4)];
    let mut blocked = Held::new(&place, &[4]).await;
    held.release().await;
    join_all(first).await;
    blocked.queued(4, 1).await;
    drop(both);
    blocked.queued(4, 0).await;
    for _ in 0..3 {
        run(&database, "select 1").await.unwrap();
    }
}

#[tokio::test]
async fn a_statement_has_its_grace_from_when_the_last_one_leaves() {
    let place = TestDatabase::new("vehicle", vehicle_service::SCHEMA).await;
    place.execute(STATEMENTS).await;
    let changes = json!({"max_connections": 1, "statement_timeout": "60s"});
    let mut settings = settings("vehicle", &place.url(), &changes);
    settings.abandoned_grace = Duration::from_secs(20);
    let database = Database::new(&settings).unwrap();
    let lookups: Lookups = Gathered::new(database.clone(), look_up);
    let before = session(&database).await;
    let held = Held::new(&place, &[1]).await;
    let mut blocked = Held::new(&place, &[3]).await;
    let first = [begin(&lookups, 1), begin(&lookups, 2)];
    let left = begin(&lookups, 3);
    held.release().await;
    join_all(first).await;
    blocked.queued(3, 1).await;
    pass(Duration::from_secs(19)).await;
    drop(left);
    pass(Duration::from_secs(19)).await;
    blocked.release().await;
    assert_eq!(session(&database).await, before);
}

#[tokio::test]
async fn whoever_left_before_its_turn_is_not_asked_for() {
    let (place, _database, lookups) = lookups(&json!({})).await;
    let (held, first) = occupied(&place, &lookups).await;
    let (leaves, stays) = (begin(&lookups, 3), begin(&lookups, 4));
    drop(leaves);
    held.release().await;
    join_all(first).await;
    let served = stays.await.unwrap();
    assert_eq!((served.key, served.keys), (4, 1));
}

#[tokio::test]
async fn a_statement_that_fails_fails_those_who_wait_for_it_and_nobody_else() {
    let (place, _database, lookups) = lookups(&json!({})).await;
    let (held, first) = occupied(&place, &lookups).await;
    let together = [0, 3, 4].map(|key| begin(&lookups, key));
    held.release().await;
    for answer in join_all(first).await {
        answer.unwrap();
    }
    for answer in join_all(together).await {
        assert!(matches!(answer, Err(Error::Failed(_))), "{answer:?}");
    }
    assert_eq!(lookups.get(3).await.unwrap().key, 3);
}

#[tokio::test]
async fn connections_that_died_fail_nobody() {
    let (place, _database, lookups) = lookups(&json!({"max_connections": 4})).await;
    for _ in 0..3 {
        let served = join_all((1..=CALLERS).map(|key| lookups.get(key))).await;
        for (key, served) in (1..).zip(served) {
            assert_eq!(served.unwrap().key, key);
        }
        end_sessions(&place).await;
    }
}

#[tokio::test]
async fn callers_in_a_hurry_do_not_heap_sessions_up() {
    let place = TestDatabase::new("vehicle", vehicle_service::SCHEMA).await;
    place.execute(STATEMENTS).await;
    let relay = Relay::open(&place).await;
    let changes =
        json!({"max_connections": 4, "acquire_timeout": "100ms", "statement_timeout": "60s"});
    let mut settings = settings("vehicle", &relay.url, &changes);
    // The server looks too late for this test.
    settings.client_connection_check_interval = Duration::from_secs(10);
    let database = Database::new(&settings).unwrap();
    let lookups: Lookups = Gathered::new(database, look_up);
    while lookups.get(1).await.is_err() || relay.opened() < 4 {}
    let held = Held::new(&place, &[2]).await;
    for _ in 0..10 {
        let hurried: Vec<_> = (0..CALLERS).map(|_| begin(&lookups, 2)).collect();
        // Time for the statements to get there.
        tokio::time::sleep(SLOW).await;
        drop(hurried);
        pass(GRACE).await;
    }
    assert_eq!(relay.opened(), 4);
    held.release().await;
    pass(Duration::from_secs(11)).await;
    while lookups.get(1).await.is_err() {}
}
