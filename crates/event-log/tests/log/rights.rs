//! Nobody changes what the log holds: not the service, not the owner, not a superuser who writes as
//! a replica does.

use sqlx::PgConnection;
use test_support::TestDatabase;

use crate::support::{SERVICES, Service, refusal};

const INSUFFICIENT_PRIVILEGE: &str = "42501";
const RESTRICT_VIOLATION: &str = "23001";

/// The tables that only grow.
const APPEND_ONLY: [&str; 4] = ["events", "log", "event_tiles", "checkpoints"];

/// Statements that change what these tables hold.
fn changes(service: &str) -> impl Iterator<Item = String> {
    APPEND_ONLY.iter().flat_map(move |table| {
        let column = match *table {
            "events" | "log" => "actor = 'key/other'",
            "event_tiles" => "tile = tile + 1",
            _ => "note = ''",
        };
        [
            format!("update {service}_events.{table} set {column}"),
            format!("delete from {service}_events.{table}"),
            format!("truncate {service}_events.{table}"),
        ]
    })
}

/// A database with a row in each of these tables.
async fn filled((service, schema, kind): Service) -> TestDatabase {
    let database = TestDatabase::new(service, schema).await;
    let rows = format!(
        "insert into {service}_events.events (event_id, aggregate_type, aggregate_id, version,
             event_type, actor, correlation_id, data)
         values (gen_random_uuid(), '{kind}', 'A', 1, '{kind}.changed.v1', 'key/desk', 'none', '{{}}');
         set role {service}_service;
         insert into {service}_events.log select 1, event_id, event_type, actor, sha256(''), now()
             from {service}_events.events where aggregate_id = 'A';
         insert into {service}_events.event_tiles
             values (0, 0, sha256(''), decode(repeat('00', 256 * 32), 'hex'));
         insert into {service}_events.checkpoints values (1, sha256(''), 'note')"
    );
    database.execute(&rows).await;
    database
}

async fn assert_refused(connection: &mut PgConnection, sql: &str, code: &str) {
    let refusal = refusal(connection, sql).await;
    assert_eq!(refusal.as_deref(), Some(code), "{sql}");
}

#[tokio::test]
async fn the_service_appends_and_changes_nothing() {
    for service in SERVICES {
        let database = filled(service).await;
        let name = service.0;
        let mut connection = database.connect_as(&format!("{name}_service")).await;
        for sql in changes(name) {
            assert_refused(&mut connection, &sql, INSUFFICIENT_PRIVILEGE).await;
        }
        for sql in [
            format!("insert into {name}_events.unplaced values (1, gen_random_uuid())"),
            format!("update {name}_events.unplaced set sequence = 0"),
            format!("truncate {name}_events.unplaced"),
            format!("insert into {name}_events.head default values"),
            format!("delete from {name}_events.head"),
            format!("update {name}_events.head set log_id = gen_random_uuid()"),
            format!("delete from {name}_events.hours"),
            format!("insert into {name}_events.former_logs values (gen_random_uuid(), 1, 'lost')"),
            format!("delete from {name}_events.former_logs"),
            format!("select nextval('{name}_events.sequences')"),
            format!("select setval('{name}_events.sequences', 1)"),
            format!("alter table {name}_events.events disable trigger append_only"),
            format!("drop trigger append_only on {name}_events.log"),
            format!("create table {name}_events.own (n int)"),
            format!("drop schema {name}_events cascade"),
            "set session_replication_role = replica".to_owned(),
        ] {
            assert_refused(&mut connection, &sql, INSUFFICIENT_PRIVILEGE).await;
        }
    }
}

#[tokio::test]
async fn the_owner_changes_nothing_even_with_the_rights_granted_back() {
    for service in SERVICES {
        let database = filled(service).await;
        let name = service.0;
        let mut connection = database.connect_as(&format!("{name}_migrator")).await;
        for sql in changes(name) {
            assert_refused(&mut connection, &sql, INSUFFICIENT_PRIVILEGE).await;
        }
        let grant = format!("grant all on all tables in schema {name}_events to current_user");
        assert_eq!(refusal(&mut connection, &grant).await, None);
        for sql in changes(name) {
            assert_refused(&mut connection, &sql, RESTRICT_VIOLATION).await;
        }
    }
}

#[tokio::test]
async fn a_superuser_who_writes_as_a_replica_changes_nothing() {
    for service in SERVICES {
        let database = filled(service).await;
        let mut connection = database.connect().await;
        let replica = "set session_replication_role = replica";
        assert_eq!(refusal(&mut connection, replica).await, None);
        for sql in changes(service.0) {
            assert_refused(&mut connection, &sql, RESTRICT_VIOLATION).await;
        }
    }
}

#[tokio::test]
async fn no_role_reaches_into_the_log_of_the_other_service() {
    for (service, other) in [(SERVICES[0], "vehicle"), (SERVICES[1], "insurance")] {
        let database = filled(service).await;
        for role in ["service", "migrator"] {
            let mut connection = database.connect_as(&format!("{other}_{role}")).await;
            for table in APPEND_ONLY {
                let sql = format!("select from {}_events.{table}", service.0);
                assert_refused(&mut connection, &sql, INSUFFICIENT_PRIVILEGE).await;
            }
        }
    }
}
