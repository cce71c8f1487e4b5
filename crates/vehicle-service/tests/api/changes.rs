//! Changes by SQL: every one is told in the log, whoever makes it.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use test_support::{TestDatabase, until};
use vehicle_service::{NAME, SCHEMA};

/// An event: its type, its plate, its version and what it says.
type Told = (String, String, i64, Value);

async fn database() -> TestDatabase {
    TestDatabase::new(NAME, SCHEMA).await
}

async fn told(connection: &mut PgConnection) -> Vec<Told> {
    let rows: Vec<(String, String, i64, String)> = sqlx::query_as(
        "select event_type, aggregate_id, version, data::text from vehicle_events.events
         where version > 3 order by sequence",
    )
    .fetch_all(connection)
    .await
    .unwrap();
    rows.into_iter()
        .map(|(kind, plate, version, data)| {
            (kind, plate, version, serde_json::from_str(&data).unwrap())
        })
        .collect()
}

fn event(kind: &str, plate: &str, version: i64, make: Option<&str>) -> Told {
    let data = make.map_or(Value::Null, |make| {
        json!({"registrationNumber": plate, "make": make, "model": null, "modelYear": null,
               "version": version})
    });
    (
        format!("vehicle.{kind}.v1"),
        plate.to_owned(),
        version,
        data,
    )
}

async fn run(connection: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(connection).await.map(drop)
}

/// The role of the apply worker of a logical replication, in which ordinary triggers are silent.
const REPLICA: &str = "set session_replication_role = replica";

#[tokio::test]
async fn every_change_by_sql_is_told_with_the_whole_vehicle() {
    for role in ["reset session_replication_role", REPLICA] {
        let database = database().await;
        let mut connection = database.connect().await;
        run(&mut connection, role).await.unwrap();
        for sql in [
            "insert into vehicle.vehicles (registration_number, make) values ('NEW123', 'Saab')",
            "update vehicle.vehicles set make = 'Volvo' where registration_number = 'NEW123'",
            // A key that changes is a vehicle that goes and one that comes.
            "update vehicle.vehicles set registration_number = 'NEW456' where registration_number = 'NEW123'",
            "delete from vehicle.vehicles where registration_number = 'NEW456'",
        ] {
            run(&mut connection, sql).await.unwrap();
        }
        let expected = [
            event("registered", "NEW123", 4, Some("Saab")),
            event("changed", "NEW123", 5, Some("Volvo")),
            event("deregistered", "NEW123", 6, None),
            event("registered", "NEW456", 7, Some("Volvo")),
            event("deregistered", "NEW456", 8, None),
        ];
        assert_eq!(told(&mut connection).await, expected, "{role}");
    }
}

#[tokio::test]
async fn a_version_is_never_the_writers() {
    let database = database().await;
    let mut connection = database.connect().await;
    for (role, make) in [
        ("reset session_replication_role", "Saab"),
        (REPLICA, "Volvo"),
    ] {
        run(&mut connection, role).await.unwrap();
        let sql = format!(
            "update vehicle.vehicles set version = 1, make = '{make}'
             where registration_number = 'ABC123'"
        );
        run(&mut connection, &sql).await.unwrap();
    }
    let insert = "insert into vehicle.vehicles (registration_number, version) values ('NEW123', 1)";
    run(&mut connection, insert).await.unwrap();
    let versions: Vec<i64> = sqlx::query_scalar(
        "select version from vehicle.vehicles where registration_number in ('ABC123', 'NEW123')
         order by version",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(versions, [5, 6]);
}

/// Whoever follows the events takes the highest version of each plate for what it is now.
async fn assert_followers_see_the_table(connection: &mut PgConnection, sql: &str) {
    let differing: Vec<String> = sqlx::query_scalar(
        "select coalesce(latest.aggregate_id, vehicles.registration_number)
         from (select distinct on (aggregate_id) * from vehicle_events.events
               where version > 3 order by aggregate_id, version desc) latest
         full join (select * from vehicle.vehicles where version > 3) vehicles
             on registration_number = aggregate_id
         where latest.version is distinct from vehicles.version
             and event_type is distinct from 'vehicle.deregistered.v1'
             or event_type = 'vehicle.deregistered.v1' and registration_number is not null",
    )
    .fetch_all(connection)
    .await
    .unwrap();
    assert_eq!(differing, [""; 0], "{sql}");
}

#[tokio::test]
async fn a_plate_that_goes_and_comes_in_one_statement_is_there_for_whoever_follows() {
    for sql in [
        "with gone as (delete from vehicle.vehicles where registration_number = 'AAA111' returning *)
         insert into vehicle.vehicles (registration_number, make) select registration_number, 'Back' from gone",
        // In the order of the rows: BBB222 makes room for AAA111.
        "update vehicle.vehicles set registration_number = case registration_number
             when 'BBB222' then 'CCC333' else 'BBB222' end
         where registration_number in ('AAA111', 'BBB222')",
    ] {
        let database = database().await;
        let mut connection = database.connect().await;
        for plate in ["BBB222", "AAA111"] {
            let insert = format!("insert into vehicle.vehicles (registration_number) values ('{plate}')");
            run(&mut connection, &insert).await.unwrap();
        }
        run(&mut connection, "set enable_indexscan = off; set enable_bitmapscan = off")
            .await
            .unwrap();
        run(&mut connection, sql).await.unwrap();
        assert_followers_see_the_table(&mut connection, sql).await;
    }
}

#[tokio::test]
async fn an_update_that_changes_nothing_keeps_the_version_and_is_not_told() {
    let database = database().await;
    let mut connection = database.connect().await;
    let same = "update vehicle.vehicles set make = make, version = version + 1";
    run(&mut connection, same).await.unwrap();
    assert_eq!(told(&mut connection).await, []);
    let raised: i64 = sqlx::query_scalar("select count(*) from vehicle.vehicles where version > 3")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(raised, 0);
}

#[tokio::test]
async fn the_service_writes_no_event_by_itself_and_no_other_columns() {
    let database = database().await;
    let mut connection = database.connect_as("vehicle_service").await;
    for sql in [
        "insert into vehicle_events.events select * from vehicle_events.events",
        "update vehicle.vehicles set version = 1",
        "update vehicle.vehicles set registration_number = 'NEW123'",
        "select vehicle.tell('vehicle.changed.v1', null, 'A', 1, 'null')",
    ] {
        let error = run(&mut connection, sql).await.unwrap_err();
        let code = error.as_database_error().unwrap().code();
        assert_eq!(code.as_deref(), Some("42501"), "{sql}");
    }
}

#[tokio::test]
async fn whoever_changes_a_vehicle_by_hand_is_named() {
    let database = database().await;
    let mut connection = database.connect_as("vehicle_service").await;
    let sql = "update vehicle.vehicles set make = 'Saab' where registration_number = 'ABC123'";
    run(&mut connection, sql).await.unwrap();
    let (actor, correlation): (String, String) =
        sqlx::query_as("select actor, correlation_id from vehicle_events.events where version > 3")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(actor, "database/vehicle_service");
    assert_eq!(correlation, "none");
}

#[tokio::test]
async fn a_change_that_is_rolled_back_leaves_no_event() {
    let database = database().await;
    let mut connection = database.connect().await;
    let sql = "begin; delete from vehicle.vehicles; rollback";
    run(&mut connection, sql).await.unwrap();
    assert_eq!(told(&mut connection).await, []);
}

#[tokio::test]
async fn vehicles_are_not_truncated() {
    let database = database().await;
    let mut connection = database.connect().await;
    for role in ["set role vehicle_migrator", "reset role", REPLICA] {
        run(&mut connection, role).await.unwrap();
        let refused = run(&mut connection, "truncate vehicle.vehicles").await;
        let error = refused.unwrap_err();
        let code = error.as_database_error().unwrap().code();
        assert_eq!(code.as_deref(), Some("23001"), "{role}");
    }
}

#[tokio::test]
async fn whatever_tells_of_changes_is_armed_against_a_replication() {
    let database = database().await;
    let mut connection = database.connect().await;
    let armed: Vec<String> = sqlx::query_scalar(
        "select tgname::text from pg_trigger where tgrelid = 'vehicle.vehicles'::regclass
         and tgenabled = 'A' order by 1",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(
        armed,
        ["never_truncated", "raise_version", "tell_the_change"]
    );
}

/// Somebody deletes all vehicles in one statement; while it runs, four are registered again.
async fn assert_registered_again_while_many_go(rows: usize) {
    let database = database().await;
    let mut connection = database.connect().await;
    // As if from before the log, which is quicker.
    let fill = format!(
        "alter table vehicle.vehicles disable trigger tell_the_change;
         insert into vehicle.vehicles (registration_number)
         select 'A' || lpad(number::text, 6, '0') from generate_series(1, {rows}) number;
         alter table vehicle.vehicles enable always trigger tell_the_change"
    );
    run(&mut connection, &fill).await.unwrap();
    // The last row that the deletion comes to: the others are gone by then, but not committed.
    let last = format!("A{rows:06}");
    let held = format!(
        "begin; select from vehicle.vehicles where registration_number = '{last}' for update"
    );
    run(&mut connection, &held).await.unwrap();

    // Not the one above: a transaction sees the same statistics until its end.
    let mut watcher = database.connect().await;
    let (mut goes, mut comes) = (database.connect().await, Vec::new());
    let deletion = tokio::spawn(async move {
        run(
            &mut goes,
            "delete from vehicle.vehicles where registration_number like 'A______'",
        )
        .await
        .unwrap();
    });
    waiting(&mut watcher, 1).await;
    for plate in ["A000001", "A000002", "A000003", "A000004"] {
        let mut another = database.connect().await;
        comes.push(tokio::spawn(async move {
            let insert = format!(
                "insert into vehicle.vehicles (registration_number, make) values ('{plate}', 'Back')"
            );
            run(&mut another, &insert).await.unwrap();
        }));
    }
    waiting(&mut watcher, 5).await;
    run(&mut connection, "rollback").await.unwrap();
    deletion.await.unwrap();
    for registration in comes {
        registration.await.unwrap();
    }
    let latest: Vec<(String, String)> = sqlx::query_as(
        "select distinct on (aggregate_id) aggregate_id, event_type from vehicle_events.events
         where aggregate_id like 'A00000_' order by aggregate_id, version desc limit 5",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    for (plate, kind) in &latest[..4] {
        assert_eq!(kind, "vehicle.registered.v1", "{plate}");
    }
    assert_eq!(latest[4].1, "vehicle.deregistered.v1");
    let told: i64 = sqlx::query_scalar(
        "select count(*) from vehicle_events.events where event_type = 'vehicle.deregistered.v1'",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(usize::try_from(told), Ok(rows));
    connection.close().await.unwrap();
}

/// Returns when as many sessions of this database wait for a lock.
async fn waiting(connection: &mut PgConnection, sessions: i64) {
    until(async || {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock'",
        )
        .fetch_one(&mut *connection)
        .await
        .unwrap();
        (waiting == sessions).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_vehicle_that_is_registered_while_it_is_deleted_stays_registered() {
    assert_registered_again_while_many_go(2_000).await;
}

/// The lock table of the server has no room for a lock for each.
#[tokio::test]
#[ignore = "takes half a minute; `.ci/run simulation` runs it"]
async fn a_hundred_thousand_deletions_and_registrations_at_once_leave_none_deleted() {
    assert_registered_again_while_many_go(100_000).await;
}
