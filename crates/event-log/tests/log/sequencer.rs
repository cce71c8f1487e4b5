use std::time::Duration;

use event_log::{EventLog, Sequencer, Step};
use futures_util::FutureExt as _;
use service_defaults::metrics::Metrics;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use test_support::{TestDatabase, until};
use tokio::task::JoinHandle;

use crate::support::{
    THINGS, append, connect, drain, fill, insurance, measured, number, sequencer, tamper,
    waiting_for_a_lock,
};

async fn execute(connection: &mut PgConnection, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

async fn run(connection: &mut PgConnection, log: &EventLog, thing: &str) {
    append(log, connection, ("policy", thing), 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_works_at_a_time_and_a_killed_one_is_replaced() {
    const EVENTS: i64 = 400;
    const KILLS: i64 = 40;
    let (database, log) = insurance().await;
    let sequencers: Vec<_> = (0..3)
        .map(|_| tokio::spawn(sequencer(&database, &log).run()))
        .collect();
    let (mut writer, mut administrator) = (database.connect().await, database.connect().await);
    for n in 0..EVENTS {
        run(&mut writer, &log, &n.to_string()).await;
        log.appended();
        if n % (EVENTS / KILLS) == 0 {
            kill_one(&mut administrator).await;
        }
    }
    log.placed_after(EVENTS - 1).await;
    sequencers.iter().for_each(JoinHandle::abort);
    let once = "select count(distinct event_id) from insurance_events.log where position <= 400";
    assert_eq!(number(&mut writer, once).await, EVENTS);
    let all = "select position from insurance_events.head";
    assert_eq!(number(&mut writer, all).await, EVENTS);
}

/// Ends a session of a sequencer, as soon as there is one.
async fn kill_one(administrator: &mut PgConnection) {
    let kill = "select count(*) from (
        select pg_terminate_backend(pid, 5000) as done from (
            select pid from pg_stat_activity where datname = current_database()
                and usename = 'insurance_service' order by random() limit 1) one) done where done";
    until(async || (number(administrator, kill).await > 0).then_some(())).await;
}

#[tokio::test]
async fn what_waits_is_measured_and_so_is_each_failure() {
    let (database, log) = insurance().await;
    let metrics = Metrics::new("insurance").unwrap();
    let mut sequencer = Sequencer::new(log.clone(), connect(&database, 1), metrics.meter());
    let figures = || {
        ["unplaced", "placed_total", "failures_total"]
            .map(|name| measured(&metrics, &format!("event_log_sequencer_{name}")).to_string())
    };
    let age = || measured(&metrics, "event_log_sequencer_oldest_unplaced_seconds");
    fill(&database, 3, THINGS).await;
    let mut connection = database.connect().await;
    let mut other = connection.begin().await.unwrap();
    execute(&mut other, "select from insurance_events.head for update").await;
    assert_eq!(sequencer.step().await.unwrap(), Step::Busy);
    assert_eq!(figures(), ["3", "0", "0"]);
    let before = age();
    assert_eq!(sequencer.step().await.unwrap(), Step::Busy);
    assert!(
        0.0 < before && before < age(),
        "{before} s, then {} s",
        age()
    );
    other.rollback().await.unwrap();

    assert_eq!(drain(&mut sequencer).await, 3);
    assert_eq!(figures(), ["0", "3", "0"]);
    assert_eq!(age().to_string(), "0");
    assert_eq!(measured(&metrics, "event_log_position").to_string(), "3");

    fill(&database, 1, &THINGS.replace("n::text", "'next'")).await;
    let change = "update insurance_events.head set edge = ''";
    database.execute(change).await;
    sequencer.step().await.unwrap_err();
    assert_eq!(figures(), ["1", "3", "1"]);
}

#[tokio::test]
async fn while_another_one_places_it_does_not() {
    let (database, log) = insurance().await;
    let mut sequencer = sequencer(&database, &log);
    let mut connection = database.connect().await;
    run(&mut connection, &log, "A").await;
    let mut other = connection.begin().await.unwrap();
    execute(&mut other, "select from insurance_events.head for update").await;
    assert_eq!(sequencer.step().await.unwrap(), Step::Busy);
    other.rollback().await.unwrap();
    assert_eq!(drain(&mut sequencer).await, 1);
}

/// Waits until the floor is there, for which transactions of other tests have to end.
async fn rise(sequencer: &mut Sequencer, floor: i64) {
    until(async || {
        sequencer.step().await.unwrap();
        (sequencer.floor() >= floor).then_some(())
    })
    .await;
}

/// A trigger that waits for [`LOCK`] at this place, where the event is of the thing `slow`.
fn stopping_trigger(before_the_sequence: &str, after_it: &str) -> String {
    format!(
        "create or replace function insurance_events.take_a_sequence() returns trigger
         language plpgsql security definer set search_path = '' as $$
         declare
             slow boolean := new.aggregate_id = 'slow';
         begin
             {before_the_sequence}
             new.sequence := nextval('insurance_events.sequences');
             new.occurred_at := clock_timestamp();
             {after_it}
             return new;
         end $$"
    )
}

const TAKE_AN_ID: &str = "perform pg_current_xact_id();";
const WAIT: &str = "if slow then perform pg_advisory_xact_lock_shared(7); end if;";

/// A writer who stands in the trigger until [`Stopped::go_on`].
struct Stopped {
    gate: PgConnection,
    writer: JoinHandle<()>,
}

impl Stopped {
    async fn new(database: &TestDatabase, log: &EventLog) -> Self {
        let mut gate = database.connect().await;
        execute(&mut gate, "select pg_advisory_lock(7)").await;
        let (mut connection, log) = (database.connect().await, log.clone());
        let writer = tokio::spawn(async move { run(&mut connection, &log, "slow").await });
        waiting_for_a_lock(&mut gate).await;
        Self { gate, writer }
    }

    async fn go_on(mut self) {
        execute(&mut self.gate, "select pg_advisory_unlock(7)").await;
        self.writer.await.unwrap();
    }
}

#[tokio::test]
async fn a_writer_who_stops_before_its_first_write_is_placed_and_never_below_the_floor() {
    for trigger in [
        stopping_trigger(&format!("{TAKE_AN_ID} {WAIT}"), ""),
        stopping_trigger(TAKE_AN_ID, WAIT),
    ] {
        let (database, log) = insurance().await;
        database.execute(&trigger).await;
        let mut sequencer = sequencer(&database, &log);
        let mut connection = database.connect().await;
        run(&mut connection, &log, "before").await;
        assert_eq!(drain(&mut sequencer).await, 1);
        let stopped = Stopped::new(&database, &log).await;
        for n in 0..5 {
            run(&mut connection, &log, &n.to_string()).await;
            assert_eq!(drain(&mut sequencer).await, 1);
        }
        stopped.go_on().await;
        // `drain` looks that nothing was found below the floor.
        assert_eq!(drain(&mut sequencer).await, 1, "{trigger}");
        run(&mut connection, &log, "after").await;
        drain(&mut sequencer).await;
        let slow = "select sequence from insurance_events.events where aggregate_id = 'slow'";
        let slow = number(&mut connection, slow).await;
        rise(&mut sequencer, slow + 1).await;
    }
}

/// With the calls of the trigger the wrong way round.
#[tokio::test]
async fn what_the_floor_has_passed_is_found_and_told() {
    let (database, log) = insurance().await;
    database.execute(&stopping_trigger("", WAIT)).await;
    let mut sequencer = sequencer(&database, &log);
    let mut connection = database.connect().await;
    run(&mut connection, &log, "before").await;
    assert_eq!(drain(&mut sequencer).await, 1);
    let stopped = Stopped::new(&database, &log).await;
    for n in 0..3 {
        run(&mut connection, &log, &n.to_string()).await;
        assert_eq!(drain(&mut sequencer).await, 1);
    }
    rise(&mut sequencer, 4).await;
    stopped.go_on().await;
    assert_eq!(sequencer.step().await.unwrap(), Step::Idle);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(10)).await;
    tokio::time::resume();
    let found = Step::Placed {
        events: 1,
        below_floor: 1,
        full: false,
    };
    assert_eq!(sequencer.step().await.unwrap(), found);
}

#[tokio::test]
async fn a_long_write_transaction_elsewhere_delays_no_event() {
    let (database, log) = insurance().await;
    let elsewhere = TestDatabase::empty("insurance").await;
    let mut sequencer = sequencer(&database, &log);
    let (mut connection, mut other) = (database.connect().await, elsewhere.connect().await);
    let mut unending = other.begin().await.unwrap();
    execute(&mut unending, "select pg_current_xact_id()").await;
    for n in 0..3 {
        run(&mut connection, &log, &n.to_string()).await;
        assert_eq!(drain(&mut sequencer).await, 1);
        assert_eq!(sequencer.floor(), 0, "it waits for whoever may be writing");
    }
    unending.rollback().await.unwrap();
    run(&mut connection, &log, "last").await;
    drain(&mut sequencer).await;
    rise(&mut sequencer, 3).await;
}

#[tokio::test]
async fn dead_rows_that_a_snapshot_holds_cost_nothing() {
    const ROWS: i64 = 300_000;
    let (database, log) = insurance().await;
    let mut sequencer = sequencer(&database, &log);
    let (mut connection, mut reader) = (database.connect().await, database.connect().await);
    let mut reader = reader.begin().await.unwrap();
    let snapshot =
        "set transaction isolation level repeatable read; select from insurance_events.head";
    execute(&mut reader, snapshot).await;
    // As so many events leave that were placed since.
    let fill = format!(
        "insert into insurance_events.unplaced
         select n, gen_random_uuid() from generate_series(1, {ROWS}) n;
         select setval('insurance_events.sequences', {ROWS})"
    );
    database.execute(&fill).await;
    execute(&mut connection, "delete from insurance_events.unplaced").await;
    run(&mut connection, &log, "before").await;
    assert_eq!(drain(&mut sequencer).await, 1);
    rise(&mut sequencer, ROWS).await;
    run(&mut connection, &log, "next").await;
    assert_eq!(drain(&mut sequencer).await, 1);
    // One look in ten seconds is below the floor: not one in both of two seconds.
    let mut costs = Vec::new();
    let mut before = told(&mut sequencer, &mut connection, (0, 0)).await;
    for _ in 0..2 {
        let after = told(&mut sequencer, &mut connection, before).await;
        costs.push((after.1 - before.1) / (after.0 - before.0));
        before = after;
    }
    assert!(costs.iter().any(|rows| *rows < 10), "{costs:?} rows a look");
    let dead = pages_of_all(&mut connection).await;
    assert!(dead > 1_000, "{dead} pages of rows that are kept");
    reader.rollback().await.unwrap();
}

/// Looks at the waiting events until the server tells anew how many looks there were and how many
/// rows they read, which a session says about once a second.
async fn told(
    sequencer: &mut Sequencer,
    connection: &mut PgConnection,
    before: (i64, i64),
) -> (i64, i64) {
    let told = "select idx_scan, idx_tup_read from pg_stat_user_indexes
        where schemaname = 'insurance_events' and indexrelname = 'unplaced_pkey'";
    let mut known = before;
    until(async || {
        assert_eq!(sequencer.step().await.unwrap(), Step::Idle);
        let now = sqlx::query_as(told)
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        let is_told = known != (0, 0) && now != known;
        known = now;
        is_told.then_some(now)
    })
    .await
}

/// How many pages a look for waiting events reads that begins with the first one ever.
async fn pages_of_all(connection: &mut PgConnection) -> u32 {
    let explain = "explain (analyze, buffers) select sequence from insurance_events.unplaced
         where sequence >= 0 order by sequence limit 500";
    let plan: Vec<String> = sqlx::query_scalar(explain)
        .fetch_all(connection)
        .await
        .unwrap();
    let pages = plan
        .iter()
        .find(|line| line.contains("Buffers: shared"))
        .unwrap();
    let numbers = pages
        .split(['=', ' '])
        .filter_map(|it| it.parse::<u32>().ok());
    numbers.sum()
}

#[tokio::test]
async fn tiles_are_kept_of_all_complete_subtrees() {
    let (database, log) = insurance().await;
    let mut sequencer = sequencer(&database, &log);
    let mut connection = database.connect().await;
    for count in [255, 1, 700, 400] {
        fill(
            &database,
            count,
            "'policy', gen_random_uuid()::text, 1, 'policy.drafted.v1', 'key/desk', 'none'",
        )
        .await;
        drain(&mut sequencer).await;
    }
    let right = "select count(*) from insurance_events.event_tiles where level = 0 and hashes =
        (select string_agg(leaf_hash, '' order by position) from insurance_events.log
         where position > tile * 256 and position <= tile * 256 + 256)";
    assert_eq!(number(&mut connection, right).await, 1_356 / 256);
    let tiles = "select count(*) from insurance_events.event_tiles";
    assert_eq!(number(&mut connection, tiles).await, 1_356 / 256);
}

#[tokio::test]
async fn an_event_that_is_missing_is_an_error_and_no_idleness() {
    let (database, log) = insurance().await;
    let mut sequencer = sequencer(&database, &log);
    fill(&database, 2, THINGS).await;
    let lose = "delete from insurance_events.events where sequence = 1";
    tamper(&database, lose).await;
    let error = sequencer.step().await.unwrap_err();
    assert_eq!(error.to_string(), "the event of the sequence 1 is missing");
}

#[tokio::test]
async fn a_log_that_was_restored_from_a_backup_goes_on() {
    let (database, log) = insurance().await;
    let mut sequencer = sequencer(&database, &log);
    let mut connection = database.connect().await;
    fill(&database, 20, THINGS).await;
    assert_eq!(drain(&mut sequencer).await, 20);
    rise(&mut sequencer, 20).await;
    log.placed_after(19).await;
    let restore = "delete from insurance_events.log; delete from insurance_events.events;
        update insurance_events.head set position = 0, edge = '';
        select setval('insurance_events.sequences', 3)";
    tamper(&database, restore).await;
    run(&mut connection, &log, "after").await;
    assert_eq!(sequencer.step().await.unwrap(), Step::Idle, "it notices");
    let waits = log.placed_after(1);
    assert_eq!(drain(&mut sequencer).await, 1);
    assert!(
        waits.now_or_never().is_none(),
        "the position follows the head"
    );
}

#[tokio::test]
async fn no_writer_names_the_time_of_an_event() {
    let (database, log) = insurance().await;
    let mut sequencer = sequencer(&database, &log);
    for (id, time) in [("A", "infinity"), ("B", "20000-01-01")] {
        let insert = format!(
            "insert into insurance_events.events (event_id, aggregate_type, aggregate_id, version,
                 event_type, actor, correlation_id, data, occurred_at)
             values (gen_random_uuid(), 'policy', '{id}', 1, 'a.b.v1', 'key/desk', 'none', '{{}}', '{time}')"
        );
        database.execute(&insert).await;
    }
    assert_eq!(drain(&mut sequencer).await, 2);
}

/// A look below the floor reads every dead row, which may take longer than it may.
#[tokio::test]
async fn a_look_below_the_floor_that_takes_too_long_is_followed_by_one_from_the_floor() {
    let (database, log) = insurance().await;
    let mut sequencer = sequencer(&database, &log);
    let mut connection = database.connect().await;
    fill(&database, 5, THINGS).await;
    assert_eq!(drain(&mut sequencer).await, 5);
    rise(&mut sequencer, 5).await;
    let slow = "create function insurance_events.slow(n bigint) returns boolean
            language plpgsql volatile as $$ begin
                if n < 5 then raise exception 'slow' using errcode = 'query_canceled'; end if;
                return true;
            end $$;
        alter table insurance_events.unplaced rename to rows;
        create view insurance_events.unplaced as
            select * from insurance_events.rows where insurance_events.slow(sequence);
        grant select, delete on insurance_events.unplaced to insurance_service;
        create or replace function insurance_events.await_a_place() returns trigger
            language plpgsql security definer set search_path = '' as $$
            begin
                insert into insurance_events.rows values (new.sequence, new.event_id);
                return null;
            end $$;
        insert into insurance_events.rows values (1, gen_random_uuid())";
    execute(&mut connection, slow).await;
    run(&mut connection, &log, "next").await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(10)).await;
    tokio::time::resume();
    let error = sequencer.step().await.unwrap_err();
    assert_eq!(error.to_string(), "the statement took too long");
    assert_eq!(drain(&mut sequencer).await, 1);
}
