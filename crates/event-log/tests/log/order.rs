//! The order in which readers see events, beside the one that numbers of the writers give.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use event_log::{Event, EventLog, Wanted};
use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use test_support::TestDatabase;
use tokio::{sync::watch, time::sleep};
use uuid::Uuid;

use crate::support::{append, drain, insurance, number, sequencer};

const WRITERS: usize = 16;
const CHANGES: usize = 40;
const THINGS: i64 = 24;

/// Changes things at random, late now and then, and rolls some back. Gives what it committed.
async fn write(database: &TestDatabase, log: &EventLog) -> Vec<Uuid> {
    let mut connection = database.connect_as("insurance_service").await;
    let mut committed = Vec::new();
    for _ in 0..CHANGES {
        let thing = rand::random_range(0..THINGS);
        let mut change = connection.begin().await.unwrap();
        // As the lock on the row of the thing.
        let lock = format!("select pg_advisory_xact_lock({thing})");
        sqlx::query(AssertSqlSafe(lock))
            .execute(&mut *change)
            .await
            .unwrap();
        let next = format!(
            "select count(*) + 1 from insurance_events.events where aggregate_id = '{thing}'"
        );
        let version = number(&mut change, &next).await;
        let thing = ("policy", &*thing.to_string());
        let id = append(log, &mut change, thing, version).await.unwrap();
        // Nothing is waited for: this is how long a transaction takes that does more.
        let late = if rand::random_bool(0.05) { 30 } else { 3 };
        sleep(Duration::from_millis(rand::random_range(0..late))).await;
        if rand::random_bool(0.05) {
            change.rollback().await.unwrap();
        } else {
            change.commit().await.unwrap();
            log.appended();
            committed.push(id);
        }
    }
    committed
}

/// Commits only when the naive reader has gone past it, as a slow writer may.
async fn write_late(
    database: &TestDatabase,
    log: &EventLog,
    mut naive: watch::Receiver<i64>,
) -> Vec<Uuid> {
    let mut connection = database.connect_as("insurance_service").await;
    let mut change = connection.begin().await.unwrap();
    let id = append(log, &mut change, ("policy", "late"), 1)
        .await
        .unwrap();
    let own = "select sequence from insurance_events.events where aggregate_id = 'late'";
    let own = number(&mut change, own).await;
    naive.wait_for(|last| *last > own).await.unwrap();
    change.commit().await.unwrap();
    log.appended();
    vec![id]
}

/// What a reader sees who asks for numbers above the last one.
async fn read_naively(
    connection: &mut PgConnection,
    last: &watch::Sender<i64>,
    seen: &mut HashSet<Uuid>,
) {
    let rows: Vec<(i64, Uuid)> = sqlx::query_as(
        "select sequence, event_id from insurance_events.events where sequence > $1 order by sequence",
    )
    .bind(*last.borrow())
    .fetch_all(connection)
    .await
    .unwrap();
    for (sequence, id) in rows {
        seen.insert(id);
        last.send_replace(sequence);
    }
}

/// Follows the log as the feed does.
async fn follow(database: TestDatabase, log: EventLog, seen: watch::Sender<Vec<Event>>) {
    let mut connection = database.connect_as("insurance_service").await;
    let mut wanted = Wanted {
        after: 0,
        limit: 50,
        types: vec![],
        subject: None,
    };
    loop {
        let page = log.page(&mut connection, &wanted).await.unwrap();
        match page.last {
            Some((last, _)) => wanted.after = last,
            None => log.placed_after(wanted.after).await,
        }
        seen.send_modify(|seen| seen.extend(page.events));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_writers_lose_events_by_numbers_of_their_own_and_none_by_positions() {
    let (database, log) = insurance().await;
    let mut tasks: Vec<_> = (0..2)
        .map(|_| tokio::spawn(sequencer(&database, &log).run()))
        .collect();
    let (send, mut followed) = watch::channel(Vec::new());
    let mut connection = database.connect().await;

    let (read_to, position) = watch::channel(0);
    let mut seen = HashSet::new();
    let writers = join_all((0..WRITERS).map(|_| write(&database, &log)));
    let late = write_late(&database, &log, position);
    let reader = async {
        loop {
            read_naively(&mut connection, &read_to, &mut seen).await;
            // As often as such a reader asks, and not as often as it can.
            sleep(Duration::from_millis(2)).await;
        }
    };
    let (mut committed, late) = tokio::select! {
        written = async { tokio::join!(writers, late) } => written,
        never = reader => never,
    };
    committed.push(late);
    let committed: HashSet<Uuid> = committed.into_iter().flatten().collect();
    read_naively(&mut connection, &read_to, &mut seen).await;
    let lost = committed.difference(&seen).count();
    assert!(
        lost > 0,
        "this order is known to lose events, so the writers wrote too tamely"
    );

    tasks.push(tokio::spawn(async {
        follow(database, log, send).await;
        unreachable!()
    }));
    let seen = followed
        .wait_for(|seen| seen.len() >= committed.len())
        .await
        .unwrap()
        .clone();
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    let ids: HashSet<Uuid> = seen.iter().map(|event| event.event_id).collect();
    assert_eq!((seen.len(), &ids), (committed.len(), &committed));
    assert!(
        seen.iter()
            .map(|it| it.position)
            .eq(1..=i64::try_from(seen.len()).unwrap())
    );
    let mut versions: HashMap<&str, i64> = HashMap::new();
    for event in &seen {
        let version = versions.entry(&event.aggregate_id).or_default();
        *version += 1;
        assert_eq!(event.version, *version, "{event:?}");
    }
}

/// The order of transaction ids is none: the first statement of a transaction may be another one.
#[tokio::test]
async fn versions_keep_their_order_where_a_transaction_began_to_write_before_its_predecessor() {
    let (database, log) = insurance().await;
    let mut sequencer = sequencer(&database, &log);
    let (mut one, mut other) = (database.connect().await, database.connect().await);
    let mut first = one.begin().await.unwrap();
    sqlx::query("select pg_current_xact_id()")
        .execute(&mut *first)
        .await
        .unwrap();
    append(&log, &mut other, ("policy", "A"), 1).await.unwrap();
    append(&log, &mut first, ("policy", "A"), 2).await.unwrap();
    first.commit().await.unwrap();
    drain(&mut sequencer).await;
    let versions: Vec<i64> = sqlx::query_scalar(
        "select version from insurance_events.events join insurance_events.log using (event_id) order by position",
    )
    .fetch_all(&mut one)
    .await
    .unwrap();
    assert_eq!(versions, [1, 2]);
}

#[tokio::test]
async fn the_time_of_a_place_never_falls() {
    let (database, log) = insurance().await;
    let mut sequencer = sequencer(&database, &log);
    let mut connection = database.connect_as("insurance_service").await;
    append(&log, &mut connection, ("policy", "A"), 1)
        .await
        .unwrap();
    // As after a clock was set back.
    database
        .execute("update insurance_events.head set placed_at = '2100-01-01'")
        .await;
    drain(&mut sequencer).await;
    append(&log, &mut connection, ("policy", "A"), 2)
        .await
        .unwrap();
    drain(&mut sequencer).await;
    let fallen = "select count(*) from insurance_events.log where placed_at < '2100-01-01'";
    assert_eq!(number(&mut connection, fallen).await, 0);
}
