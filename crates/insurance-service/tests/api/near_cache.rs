//! What a process has read of the copy is told from memory, and never after the copy says otherwise.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use test_support::FakeVehicle;

use super::{
    replica::copying,
    service::{PERSON, Service, enrichments, unavailable, without_vehicle},
};

const ANOTHER: &str = "197001019999";
const ALONE: (&str, &str) = ("ENRICHMENT__STRATEGY", "replica");

async fn following(cars: &[&str]) -> Service {
    let service = copying(FakeVehicle::healthy().await, &[ALONE], "0 s", cars).await;
    let person = service.with_cars(ANOTHER, &["DEF456"]).await;
    assert_eq!(enrichments(&person).len(), 1);
    service
}

/// The make of a person's first vehicle.
async fn make(service: &Service, person: &str) -> Value {
    service.look_up(person).await.json()["insurances"][0]["vehicle"]["make"].clone()
}

fn made(make: &str, car: &str) -> String {
    format!(
        "update insurance_replica.vehicles set make = '{make}' where registration_number = '{car}';"
    )
}

/// As no change that the copy tells of: what is told afterwards comes from memory.
async fn silently(service: &Service, sql: &str) {
    let sql = format!("set local session_replication_role = replica; {sql}");
    service.database.execute(&sql).await;
}

#[tokio::test]
async fn what_was_read_is_told_from_memory_until_it_changes() {
    let service = following(&["ABC123", "DEF456"]).await;
    assert_eq!(make(&service, PERSON).await, "Saab");
    let behind = made("Unseen", "ABC123") + &made("Unseen", "DEF456");
    silently(&service, &behind).await;
    assert_eq!(make(&service, PERSON).await, "Saab");
    // The change of one car leaves the other one.
    service.database.execute(&made("Volvo", "ABC123")).await;
    assert_eq!(make(&service, PERSON).await, "Volvo");
    assert_eq!(make(&service, ANOTHER).await, "Saab");
    // Several changes at once.
    let changes = made("Fiat", "ABC123") + &made("Kia", "DEF456") + &made("Audi", "ABC123");
    service.database.execute(&changes).await;
    assert_eq!(make(&service, ANOTHER).await, "Kia");
    assert_eq!(make(&service, PERSON).await, "Audi");
}

#[tokio::test]
async fn a_vehicle_that_comes_and_goes_is_told_as_it_is() {
    let service = following(&[]).await;
    let not_found = without_vehicle("not_found", Some("replica"));
    let come = "insert into insurance_replica.vehicles
            (generation, registration_number, make, version) values (1, 'ABC123', 'Saab', 1)";
    let tombstone = "update insurance_replica.vehicles set deleted_at = now()";
    for (change, expected) in [
        ("select", None),
        (come, Some("Saab")),
        (tombstone, None),
        (
            "update insurance_replica.vehicles set deleted_at = null",
            Some("Saab"),
        ),
        ("delete from insurance_replica.vehicles", None),
        (come, Some("Saab")),
        ("update insurance_replica.vehicles set generation = 2", None),
        (
            "update insurance_replica.vehicles set generation = 1",
            Some("Saab"),
        ),
        ("truncate insurance_replica.vehicles", None),
    ] {
        service.database.execute(change).await;
        let answer = service.look_up(PERSON).await;
        let vehicle = &answer.json()["insurances"][0]["vehicle"];
        assert_eq!(vehicle["make"].as_str(), expected, "{change}");
        assert_eq!(
            enrichments(&answer)[0] == not_found,
            expected.is_none(),
            "{change}"
        );
    }
}

#[tokio::test]
async fn another_copy_is_read_anew() {
    let service = following(&["ABC123"]).await;
    assert_eq!(make(&service, PERSON).await, "Saab");
    let turn = "insert into insurance_replica.vehicles
            (generation, registration_number, make, version) values (2, 'ABC123', 'Volvo', 1);
        update insurance_replica.consumers set generation = 2";
    service.database.execute(turn).await;
    assert_eq!(make(&service, PERSON).await, "Volvo");
}

/// Changes are kept for a while only.
#[tokio::test]
async fn who_is_too_far_behind_begins_anew() {
    let service = following(&["ABC123", "DEF456"]).await;
    // Of the first state there is no change.
    service.database.execute(&made("Saab", "DEF456")).await;
    assert_eq!(make(&service, PERSON).await, "Saab");
    silently(&service, &made("Unseen", "ABC123")).await;
    let many = |times| {
        let change = made("Kia", "DEF456");
        format!("do $$ begin for time in 1..{times} loop {change} end loop; end $$")
    };
    service.database.execute(&many(255)).await;
    assert_eq!(make(&service, PERSON).await, "Saab");
    service.database.execute(&many(256)).await;
    assert_eq!(make(&service, PERSON).await, "Unseen");
    let kept = "select count(*) from insurance_replica.changes";
    let mut connection = service.database.connect().await;
    let kept = sqlx::query_scalar::<_, i64>(kept).fetch_one(&mut connection);
    assert_eq!(kept.await.unwrap(), 256);
}

/// Then the copy has other changes after the same one.
#[tokio::test]
async fn a_database_that_was_restored_is_read_anew() {
    let service = following(&["ABC123", "DEF456"]).await;
    service.database.execute(&made("Saab", "DEF456")).await;
    assert_eq!(make(&service, PERSON).await, "Saab");
    let tables = ["vehicles", "changes", "consumers"];
    let all = |word: fn(&str) -> String| tables.map(word).concat();
    let kept = all(|it| format!("create table {it} as select * from insurance_replica.{it};"));
    let restored = all(|it| {
        format!(
            "delete from insurance_replica.{it};
             insert into insurance_replica.{it} overriding system value select * from {it};"
        )
    });
    for after in ["select", &made("Volvo", "DEF456")] {
        service.database.execute(&kept).await;
        service.database.execute(&made("Lost", "ABC123")).await;
        assert_eq!(make(&service, PERSON).await, "Lost");
        silently(&service, &restored).await;
        service.database.execute(after).await;
        assert_eq!(make(&service, PERSON).await, "Saab");
        let tables = tables.map(|it| format!("drop table {it};")).concat();
        service.database.execute(&tables).await;
    }
}

/// Its number is then that of the one that was lost.
#[tokio::test]
async fn a_copy_that_is_made_again_after_a_restore_is_read_anew() {
    let service = following(&["ABC123"]).await;
    let keep = "create table kept as select state from insurance_replica.consumers";
    service.database.execute(keep).await;
    for expected in ["Volvo", "Fiat"] {
        let turn = format!(
            "insert into insurance_replica.vehicles
                 (generation, registration_number, make, version) values (2, 'ABC123', '{expected}', 1);
             update insurance_replica.consumers set generation = 2"
        );
        service.database.execute(&turn).await;
        assert_eq!(make(&service, PERSON).await, expected);
        let restore = "delete from insurance_replica.vehicles where generation = 2;
            update insurance_replica.consumers set generation = 1, state = (select state from kept)";
        silently(&service, restore).await;
    }
}

/// Opens a transaction in which nobody else reads vehicles, and waits until a look-up has to.
async fn hold_vehicles(service: &Service) -> PgConnection {
    let mut connection = service.database.connect().await;
    let lock = "begin; lock table insurance_replica.vehicles in access exclusive mode";
    connection.execute(lock).await.unwrap();
    connection
}

/// Between the policies and their vehicles another copy is turned to. Where it lacks the car for now,
/// what it says of its own letters counts, not what the one before had said.
#[tokio::test]
async fn policies_and_vehicles_of_two_copies_are_never_told_together() {
    let letter = "insert into insurance_replica.dead_letters (dead_letter_id, consumer, event_id,
             position, registration_number, reason, detail, event)
         values (gen_random_uuid(), 'vehicle_replica', gen_random_uuid(), 1, 'ABC123', 'contract',
             '', '')";
    let vehicle = "insert into insurance_replica.vehicles
            (generation, registration_number, make, version) values (2, 'ABC123', 'Volvo', 1)";
    for (its, make) in [(letter, None), (vehicle, Some("Volvo"))] {
        let service = following(&["ABC123"]).await;
        let mut turn = hold_vehicles(&service).await;
        let (answer, ()) = tokio::join!(service.look_up(PERSON), async {
            service.blocked().await;
            let sql =
                format!("{its}; update insurance_replica.consumers set generation = 2; commit");
            turn.execute(AssertSqlSafe(sql)).await.unwrap();
        });
        let vehicle = &answer.json()["insurances"][0]["vehicle"];
        assert_eq!(vehicle["make"].as_str(), make);
        if make.is_none() {
            assert_eq!(enrichments(&answer)[0], unavailable("replica_stale", None));
        }
    }
}

/// Then Vehicle is asked, where that is planned, and what was kept is told no more: nobody knows
/// whether it has changed.
#[tokio::test]
async fn a_copy_that_cannot_be_read_is_none() {
    let service = following(&["ABC123"]).await;
    assert_eq!(make(&service, PERSON).await, "Saab");
    for table in ["changes", "vehicles"] {
        let gone = format!("alter table insurance_replica.{table} rename to gone");
        service.database.execute(&made("Volvo", "ABC123")).await;
        service.database.execute(&gone).await;
        let answer = service.look_up(PERSON).await;
        assert_eq!(enrichments(&answer)[0], unavailable("replica_stale", None));
        let back = format!("alter table insurance_replica.gone rename to {table}");
        service.database.execute(&back).await;
        assert_eq!(make(&service, PERSON).await, "Volvo");
    }
}

/// A change of many vehicles is not written down one by one.
#[tokio::test]
async fn after_a_change_of_many_vehicles_all_are_read_anew() {
    let service = following(&["ABC123", "DEF456"]).await;
    service.database.execute(&made("Saab", "DEF456")).await;
    assert_eq!(make(&service, PERSON).await, "Saab");
    let many = |count| {
        format!(
            "insert into insurance_replica.vehicles (generation, registration_number, version)
             select 1, 'A' || number, 1 from generate_series({count}, 2 * {count} - 1) as number"
        )
    };
    silently(&service, &made("Unseen", "ABC123")).await;
    service.database.execute(&many(1_000)).await;
    assert_eq!(make(&service, PERSON).await, "Saab");
    service.database.execute(&many(2_001)).await;
    // A later change does not hide it.
    service.database.execute(&made("Kia", "DEF456")).await;
    assert_eq!(make(&service, PERSON).await, "Unseen");
}

/// Nobody is told an earlier state than the one in which the policies were read.
#[tokio::test]
async fn one_who_waits_for_vehicles_gets_what_has_changed_meanwhile() {
    let service = following(&["ABC123"]).await;
    let mut change = hold_vehicles(&service).await;
    let (answer, ()) = tokio::join!(service.look_up(PERSON), async {
        service.blocked().await;
        let sql = made("Volvo", "ABC123") + "commit";
        change.execute(AssertSqlSafe(sql)).await.unwrap();
    });
    let make = &answer.json()["insurances"][0]["vehicle"]["make"];
    assert_eq!(make, "Volvo");
    service.database.execute(&made("Audi", "ABC123")).await;
    assert_eq!(self::make(&service, PERSON).await, "Audi");
}
