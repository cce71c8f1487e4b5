//! The worker that writes what dates have made of policies.

use std::time::Duration;

use contracts::Day;
use event_log::EventLog;
use http::StatusCode;
use insurance_service::{InsuranceService, Look, NAME, SCHEMA, Worker};
use opentelemetry::metrics::Meter;
use serde_json::Value;
use service_database::{Database, DatabaseSettings};
use service_defaults::{process::Process, service::Service};
use settings::Arguments;
use sqlx::AssertSqlSafe;
use test_support::{FakeVehicle, Remote, TestDatabase, metric};
use tokio::{net::TcpListener, time};

use super::{Desk, desk::day};
use crate::api::service::patient;

fn on(day: &str) -> Day {
    day.parse().unwrap()
}

/// A worker as each process has one.
pub(crate) fn worker_on(settings: &DatabaseSettings, meter: &Meter) -> Worker {
    let database = Database::new(settings).unwrap();
    Worker::new(database, EventLog::new(NAME), meter)
}

pub(super) fn worker(database: &TestDatabase) -> Worker {
    let settings = format!(
        "url = \"{}\"\nuser = \"insurance_service\"\npassword = \"test\"\n\
         max_connections = 1\nacquire_timeout = \"10s\"\nstatement_timeout = \"10s\"",
        database.url()
    );
    let settings = settings::parse("database", &settings).unwrap();
    worker_on(&settings, &opentelemetry::global::meter("test"))
}

/// Policies that end on 2030-01-01, with the numbers 1 to `count`.
async fn ending(count: u32) -> TestDatabase {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let load = format!(
        "insert into insurance.insurances
             (insurance_id, personal_identity_number, product, monthly_cost, valid_until)
         select n, '197001019999', 'pet', 1, '2030-01-01' from generate_series(1, {count}) n"
    );
    database.execute(&load).await;
    database
}

async fn texts(database: &TestDatabase, sql: &str) -> Vec<String> {
    let mut connection = database.connect().await;
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
        .fetch_all(&mut connection)
        .await
        .unwrap()
}

/// How many policies have an end that is written, and how many events say so.
async fn written(database: &TestDatabase) -> Vec<String> {
    let count = "select count(*) || ' ' || count(distinct aggregate_id) || ' ' || (
            select count(*) from insurance.insurances where status in ('expired', 'cancelled'))
        from insurance_events.events
        where event_type in ('policy.expired.v1', 'policy.ended.v1')";
    texts(database, count).await
}

fn done(ended: u64, deleted: u64) -> Look {
    Look::Done {
        ended,
        left: 0,
        deleted,
    }
}

/// Old answers, and one that may still be given again.
async fn keep_answers(database: &TestDatabase, old: u32) {
    let keep = format!(
        "insert into insurance.idempotency_keys (caller, key, fingerprint, status, created_at)
         select 'desk', 'key-of-a-test-' || n, sha256(''), 201,
             now() - case when n = 0 then interval '23 hours' else interval '25 hours' end
         from generate_series(100000, 100000 + {old}) n"
    );
    let keep = keep.replace("n = 0", "n = 100000");
    database.execute(&keep).await;
}

async fn kept(database: &TestDatabase) -> Vec<String> {
    texts(
        database,
        "select count(*)::text from insurance.idempotency_keys",
    )
    .await
}

#[tokio::test]
async fn what_dates_have_made_of_a_policy_is_written_with_its_event_on_its_day() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    database
        .execute(
            "insert into insurance.insurances
                 (insurance_id, personal_identity_number, product, monthly_cost, status,
                  valid_from, valid_until, cancelled_on)
             select row_number() over (), '197001019999', 'pet', 1, status,
                 valid_from::date, valid_until::date, cancelled_on::date
             from (values
                 ('active', '2029-01-01', '2030-01-01', null),
                 ('suspended', '2029-01-01', '2030-01-01', null),
                 ('active', '2029-01-01', '2030-01-01', '2030-01-01'),
                 ('active', '2031-01-01', '2031-01-01', '2030-01-01'),
                 ('active', '2029-01-01', '2030-01-02', null),
                 ('active', '2029-01-01', null, null),
                 ('draft', '2029-01-01', '2030-01-01', null)
             ) as policies (status, valid_from, valid_until, cancelled_on)",
        )
        .await;
    let mut worker = worker(&database);
    let look = worker.look(on("2029-12-31")).await.unwrap();
    assert_eq!(look, done(0, 0));
    let look = worker.look(on("2030-01-01")).await.unwrap();
    assert_eq!(look, done(4, 0));
    let look = worker.look(on("2030-01-01")).await.unwrap();
    assert_eq!(look, done(0, 0));
    let rows = "select insurance_id || ' ' || status || ' ' || insurances.version || ' ' || event_type
             || ' ' || actor || ' ' || coalesce(data ->> 'from', '') || ' ' || coalesce(data ->> 'since', '')
         from insurance.insurances join insurance_events.events
             on aggregate_id = insurance_id::text and events.version = insurances.version
         where insurance_id < 10 and actor like 'worker/%' order by insurance_id";
    let expected = [
        "1 expired 2 policy.expired.v1 worker/expiry active 2030-01-01",
        "2 expired 2 policy.expired.v1 worker/expiry suspended 2030-01-01",
        "3 cancelled 2 policy.ended.v1 worker/expiry active 2030-01-01",
        "4 cancelled 2 policy.ended.v1 worker/expiry active 2030-01-01",
    ];
    assert_eq!(texts(&database, rows).await, expected);
}

/// So answers are right with a worker that is dead, too.
#[tokio::test]
async fn a_look_changes_no_answer_but_the_version() {
    let desk = Desk::open().await;
    desk.0
        .database
        .execute(&format!(
            "insert into insurance.insurances
                 (insurance_id, personal_identity_number, product, monthly_cost, status,
                  valid_from, valid_until, cancelled_on)
             values (1, '197001019999', 'pet', 1, 'active', '{0}', '{1}', null),
                    (2, '197001019999', 'pet', 1, 'suspended', '{0}', '{1}', '{1}'),
                    (3, '197001019999', 'pet', 1, 'active', '{0}', '{2}', null)",
            day(-9),
            day(-5),
            day(5)
        ))
        .await;
    let answers = async || {
        let mut answers = vec![desk.0.look_up("197001019999").await.json()];
        for path in ["?status=active", "?status=suspended", "?status=expired"] {
            answers.push(desk.get(&format!("/api/v1/policies{path}")).await.json());
        }
        for path in ["?status=cancelled", "/1", "/2", "/3"] {
            answers.push(desk.get(&format!("/api/v1/policies{path}")).await.json());
        }
        answers.iter_mut().for_each(without_versions);
        answers
    };
    let before = answers().await;
    assert_eq!(before[0]["insurances"].as_array().unwrap().len(), 1);
    assert_eq!(before[5]["status"], "expired");
    assert_eq!(before[6]["status"], "cancelled");
    let process = &desk.0.process;
    let settings = process.settings();
    let mut worker = worker_on(&settings.service.database, process.meter());
    let look = worker.look(on(&day(0))).await.unwrap();
    assert_eq!(look, done(2, 0));
    assert_eq!(answers().await, before);
    let ended = desk.0.metric("insurance_worker_ended_total", &[]).await;
    assert_eq!(ended, 2);
    let success = "insurance_worker_last_success_seconds";
    assert!(desk.0.metric(success, &[]).await > 1_700_000_000);
}

fn without_versions(value: &mut Value) {
    if let Some(object) = value.as_object_mut() {
        object.remove("version");
        object.values_mut().for_each(without_versions);
    } else if let Some(array) = value.as_array_mut() {
        array.iter_mut().for_each(without_versions);
    }
}

#[tokio::test]
async fn another_one_takes_over_from_one_that_died_in_the_middle() {
    let database = ending(250).await;
    let (mut first, mut second) = (worker(&database), worker(&database));
    // It dies with its third event written and not committed.
    database
        .execute(
            "create function insurance_events.wait() returns trigger language plpgsql as $$
             begin perform pg_advisory_xact_lock(7); return new; end $$;
             create trigger wait before insert on insurance_events.events for each row
             when (new.aggregate_id = '3' and new.version = 2)
             execute function insurance_events.wait()",
        )
        .await;
    let mut hold = database.connect().await;
    sqlx::raw_sql("select pg_advisory_lock(7)")
        .execute(&mut hold)
        .await
        .unwrap();
    let died = tokio::spawn(async move { first.look(on("2030-01-01")).await });
    let end = "select count(pg_terminate_backend(pid, 10000))::text from pg_stat_activity
        where datname = current_database() and wait_event = 'advisory'";
    while texts(&database, end).await != ["1"] {}
    assert!(died.await.unwrap().is_err());
    drop(hold);

    assert_eq!(written(&database).await, ["2 2 2"]);
    let leased = second.look(on("2030-01-01")).await.unwrap();
    assert_eq!(leased, Look::Leased);
    let pass = "update insurance.workers set leased_until = now()";
    database.execute(pass).await;
    let look = second.look(on("2030-01-01")).await.unwrap();
    assert_eq!(look, done(248, 0));
    assert_eq!(written(&database).await, ["250 250 250"]);
}

#[tokio::test]
async fn one_that_was_overtaken_writes_and_deletes_nothing() {
    for due in [0, 3] {
        let database = ending(due).await;
        keep_answers(&database, 3).await;
        let mut frozen = worker(&database);
        let mut lock = database.lock("insurance.insurances").await;
        let goes_on = async {
            lock.queued(1).await;
            // As the next holder does.
            let overtake = "update insurance.workers set fence = fence + 1";
            database.execute(overtake).await;
            lock.release().await;
        };
        let (found, ()) = tokio::join!(frozen.look(on("2030-01-01")), goes_on);
        assert_eq!(found.unwrap(), Look::Leased);
        assert_eq!(written(&database).await, ["0 0 0"], "{due}");
        assert_eq!(kept(&database).await, ["4"], "{due}");
    }
}

#[tokio::test]
async fn two_at_once_write_each_event_once_whoever_has_the_lease() {
    let database = ending(60).await;
    let until_done = async || {
        let (mut worker, mut ended) = (worker(&database), 0);
        // The other one ends its lease all the time.
        loop {
            let pass = "update insurance.workers set leased_until = '-infinity'";
            database.execute(pass).await;
            if let Look::Done { ended: some, .. } = worker.look(on("2030-01-01")).await.unwrap() {
                ended += some;
                if written(&database).await == ["60 60 60"] {
                    return ended;
                }
            }
        }
    };
    let (first, second) = tokio::join!(until_done(), until_done());
    assert!(first + second <= 60, "{first} {second}");
}

#[tokio::test]
async fn one_policy_that_cannot_be_ended_holds_up_no_other() {
    let database = ending(5).await;
    // Somebody tells a version that the row does not have.
    let tell = "insert into insurance_events.events
             (event_id, aggregate_type, aggregate_id, version, event_type, actor, correlation_id, data)
         values (gen_random_uuid(), 'policy', '2', 2, 'policy.changed.v1', 'test', 'none', '{}')";
    let mut telling = database.connect().await;
    sqlx::raw_sql(AssertSqlSafe(format!("begin; {tell}")))
        .execute(&mut telling)
        .await
        .unwrap();
    let mut worker = worker(&database);
    let error = worker.look(on("2030-01-01")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "another transaction holds what this one needs"
    );
    assert_eq!(written(&database).await, ["4 4 4"]);

    sqlx::raw_sql("commit").execute(&mut telling).await.unwrap();
    worker.look(on("2030-01-01")).await.unwrap_err();
    assert_eq!(written(&database).await, ["4 4 4"]);
}

#[tokio::test]
async fn a_policy_that_somebody_is_changing_is_left_for_the_next_look() {
    let database = ending(3).await;
    let mut changing = database.connect().await;
    let change = "begin; select from insurance.insurances where insurance_id = 2 for update";
    sqlx::raw_sql(change).execute(&mut changing).await.unwrap();
    let mut worker = worker(&database);
    let look = worker.look(on("2030-01-01")).await.unwrap();
    let left = Look::Done {
        ended: 2,
        left: 1,
        deleted: 0,
    };
    assert_eq!(look, left);
    sqlx::raw_sql("rollback")
        .execute(&mut changing)
        .await
        .unwrap();
    let look = worker.look(on("2030-01-01")).await.unwrap();
    assert_eq!(look, done(1, 0));
}

#[tokio::test]
async fn answers_that_are_too_old_are_deleted_in_small_steps() {
    let database = ending(0).await;
    keep_answers(&database, 1_200).await;
    let look = worker(&database).look(on("2030-01-01")).await.unwrap();
    assert_eq!(look, done(0, 1_200));
    assert_eq!(kept(&database).await, ["1"]);
}

#[tokio::test]
async fn the_service_runs_a_worker_that_gives_its_lease_back_at_a_stop() {
    let (vehicle, database) = (FakeVehicle::healthy().await, ending(3).await);
    let settings = [
        ("DATABASE__MAX_CONNECTIONS", "1"),
        ("SERVER__DRAIN_DELAY", "0s"),
    ];
    let sources = patient(&database, &vehicle.url(), Arguments::default(), &settings);
    let due = format!(
        "insert into insurance.insurances
             (personal_identity_number, product, monthly_cost, valid_until)
         values ('197001019999', 'pet', 1, '{}')",
        day(-5)
    );
    database.execute(&due).await;
    let process = Process::new(NAME, sources).unwrap();
    let assembled = InsuranceService::build(&process).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = Remote(listener.local_addr().unwrap());
    let shutdown = process.shutdown().clone();
    let serving = tokio::spawn(async move { process.serve(assembled, Some(listener)).await });
    while at.get("/readyz").await.status != StatusCode::OK {}
    time::pause();
    time::advance(Duration::from_secs(30)).await;
    time::resume();
    let idle = async {
        while written(&database).await != ["1 1 1"] {}
        // The connection is free for others.
        let used = [("db_client_connection_state", "used")];
        let connections = "db_client_connection_count";
        while metric(&at.get("/metrics").await.text(), connections, &used) != 0 {}
    };
    time::timeout(Duration::from_secs(20), idle).await.unwrap();
    let held = "select (leased_until > now())::text from insurance.workers
        where worker = 'expiry'";
    assert_eq!(texts(&database, held).await, ["true"]);
    shutdown.begin();
    serving.await.unwrap().unwrap();
    assert_eq!(texts(&database, held).await, ["false"]);
}
