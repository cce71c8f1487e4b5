use std::{error::Error, time::Duration};

use futures_util::future::join_all;
use serde_json::json;
use service_database::{MigrateError, Schema};
use test_support::{TestDatabase, nowhere};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use vehicle_service::SCHEMA;

use crate::support::{number, refusal, settings, up_to};

#[tokio::test]
async fn twenty_at_once_apply_each_step_once() {
    for (service, schema) in [
        ("vehicle", SCHEMA),
        ("insurance", insurance_service::SCHEMA),
    ] {
        let database = TestDatabase::empty(service).await;
        let settings = settings(service, &database.url(), &json!({}));
        for result in join_all((0..20).map(|_| schema.migrate(&settings))).await {
            result.unwrap();
        }
        let mut connection = database.connect().await;
        let steps = format!("select count(*) from {service}._sqlx_migrations where success");
        let known = i64::try_from(schema.migrator.iter().count()).unwrap();
        assert_eq!(number(&mut connection, &steps).await, known);
        let broken = "select count(*) from pg_index where not indisvalid";
        assert_eq!(number(&mut connection, broken).await, 0);
    }
}

/// While an index is built, nothing else of the step locks a table that readers may want. Whoever
/// builds one where a constraint is added, or after a column is, has it built while they wait.
#[tokio::test]
async fn no_step_locks_readers_out_while_it_builds_an_index() {
    const WATCH: &str = "create table public.known (oid oid);
        create table public.locked (told text);
        create function public.watch() returns event_trigger
            language plpgsql security definer set search_path = '' as $$
            begin
                insert into public.locked
                select tg_tag || ' locks ' || pg_locks.relation::regclass
                from pg_locks join pg_class on pg_class.oid = relation
                where pid = pg_backend_pid() and mode = 'AccessExclusiveLock' and relkind = 'r'
                    -- Came in the same release, so it is empty when its index is built.
                    and relname <> 'dead_letters'
                    and relation in (select oid from public.known)
                    and exists (
                        select from pg_index where indrelid in (select oid from public.known)
                            and indexrelid not in (select oid from public.known)
                    );
            end $$;
        create event trigger watch on ddl_command_end execute function public.watch()";
    for (service, schema) in [
        ("vehicle", SCHEMA),
        ("insurance", insurance_service::SCHEMA),
    ] {
        let database = TestDatabase::empty(service).await;
        let settings = settings(service, &database.url(), &json!({}));
        database.execute(WATCH).await;
        for step in schema.migrator.iter() {
            database
                .execute(
                    "delete from public.known; insert into public.known select oid from pg_class",
                )
                .await;
            let schema = up_to(step.version, service, &schema);
            schema.migrate(&settings).await.unwrap();
            let mut connection = database.connect().await;
            let locked: Vec<String> = sqlx::query_scalar("select told from public.locked")
                .fetch_all(&mut connection)
                .await
                .unwrap();
            assert_eq!(locked, [""; 0], "{service} {}", step.version);
        }
    }
}

#[tokio::test]
async fn two_seeds_at_once_set_each_price_once() {
    let database = TestDatabase::empty("insurance").await;
    let settings = settings("insurance", &database.url(), &json!({}));
    let schema = insurance_service::SCHEMA;
    schema.migrate(&settings).await.unwrap();
    for result in join_all((0..8).map(|_| schema.seed(&settings))).await {
        result.unwrap();
    }
    let mut connection = database.connect().await;
    let told = "select count(*) from insurance_events.events where event_type = 'price.set.v1'";
    assert_eq!(number(&mut connection, told).await, 3);
}

#[tokio::test]
async fn rows_from_before_the_bounds_are_kept_and_new_ones_refused() {
    let database = TestDatabase::empty("vehicle").await;
    let settings = settings("vehicle", &database.url(), &json!({}));
    SCHEMA.migrate(&settings).await.unwrap();
    database
        .execute(
            "delete from vehicle._sqlx_migrations where version in (2, 3);
             alter table vehicle.vehicles drop constraint model_year_is_plausible;
             alter table vehicle.vehicles add constraint model_year_is_plausible
                 check (model_year between 1886 and 2200);
             insert into vehicle.vehicles (registration_number, model_year) values ('OLD123', 2150)",
        )
        .await;
    SCHEMA.migrate(&settings).await.unwrap();
    let mut connection = database.connect().await;
    let kept = "select count(*) from vehicle.vehicles where model_year = 2150";
    assert_eq!(number(&mut connection, kept).await, 1);
    let validated = "select count(*) from pg_constraint
        where conname in ('make_is_named', 'model_is_named', 'model_year_is_plausible')
        and convalidated";
    assert_eq!(number(&mut connection, validated).await, 2);
    let new =
        "insert into vehicle.vehicles (registration_number, model_year) values ('NEW123', 2150)";
    assert_eq!(refusal(&mut connection, new).await.unwrap().0, "23514");
}

/// Its statements are those of the release before vehicles could change, in the service's role; the
/// rows come and go by SQL. Insurance's are in `policies`.
#[tokio::test]
async fn the_queries_of_vehicles_release_before_go_on_working() {
    let database = TestDatabase::new("vehicle", SCHEMA).await;
    let mut connection = database.connect_as("vehicle_service").await;
    let find = "select count(*) from (
        select registration_number, make, model, model_year, version
        from vehicle.vehicles where registration_number = any(array['ABC123', 'NEW123'])) as found";
    assert_eq!(number(&mut connection, find).await, 1);
    let newest = "select max(version) from vehicle._sqlx_migrations where success";
    assert!(number(&mut connection, newest).await > 3);
    let load = "insert into vehicle.vehicles (registration_number, make, model, model_year)
            values ('NEW123', 'Volvo', 'V70', 2001);
        update vehicle.vehicles set model = 'V60' where registration_number = 'NEW123';
        delete from vehicle.vehicles where registration_number = 'ABC123'";
    database.execute(load).await;
    assert_eq!(number(&mut connection, find).await, 1);
}

#[tokio::test]
async fn seeding_again_changes_nothing() {
    for (service, schema, rows) in [
        ("vehicle", SCHEMA, "vehicle.vehicles"),
        (
            "insurance",
            insurance_service::SCHEMA,
            "insurance.insurances",
        ),
    ] {
        let database = TestDatabase::new(service, schema).await;
        let mut connection = database.connect().await;
        let digest = format!(
            "select hashtextextended(string_agg(t::text, '|' order by t::text), 0) from {rows} t"
        );
        let before = number(&mut connection, &digest).await;
        let settings = settings(service, &database.url(), &json!({}));
        for _ in 0..2 {
            schema.seed(&settings).await.unwrap();
        }
        assert_eq!(number(&mut connection, &digest).await, before, "{service}");
    }
}

#[tokio::test]
async fn a_policy_after_seeding_gets_a_number_that_none_had() {
    let database = TestDatabase::new("insurance", insurance_service::SCHEMA).await;
    let settings = settings("insurance", &database.url(), &json!({}));
    let mut connection = database.connect().await;
    let insert = "insert into insurance.insurances
        (personal_identity_number, product, monthly_cost) values ('000001010000', 'pet', 10)
        returning insurance_id";
    let first = number(&mut connection, insert).await;
    let newest = "select max(insurance_id) from insurance.insurances";
    assert_eq!(number(&mut connection, newest).await, first);
    // In one transaction: a deletion wants its event.
    let delete = format!(
        "delete from insurance.covers where insurance_id = {first};
         delete from insurance.insurances where insurance_id = {first};
         insert into insurance_events.events
             (event_id, aggregate_type, aggregate_id, version, event_type, actor, correlation_id, data)
         values (gen_random_uuid(), 'policy', '{first}', 2, 'policy.removed.v1', 'test', 'none', 'null')"
    );
    database.execute(&delete).await;
    insurance_service::SCHEMA.seed(&settings).await.unwrap();
    assert_eq!(number(&mut connection, insert).await, first + 1);
}

#[tokio::test]
async fn seeding_leaves_what_was_changed_by_hand() {
    let database = TestDatabase::new("vehicle", SCHEMA).await;
    database
        .execute("update vehicle.vehicles set model = 'V70' where registration_number = 'ABC123'")
        .await;
    let settings = settings("vehicle", &database.url(), &json!({}));
    SCHEMA.seed(&settings).await.unwrap();
    let mut connection = database.connect().await;
    let kept = "select count(*) from vehicle.vehicles where model = 'V70'";
    assert_eq!(number(&mut connection, kept).await, 1);
}

#[tokio::test]
async fn a_server_that_does_not_come_is_given_up() {
    let (_socket, url) = nowhere();
    let mut settings = settings("vehicle", &url, &json!({}));
    assert_eq!(settings.wait_for_server, Duration::from_mins(1));
    for (wait, told) in [(0, "within 0s"), (300, "within 300ms")] {
        settings.wait_for_server = Duration::from_millis(wait);
        let error = SCHEMA.migrate(&settings).await.unwrap_err();
        assert!(matches!(error, MigrateError::NoServer(..)), "{error:?}");
        assert!(error.to_string().ends_with(told), "{error}");
    }
}

#[tokio::test]
async fn a_server_without_a_free_connection_is_waited_for() {
    let database = TestDatabase::empty("vehicle").await;
    let limit = format!("alter database {} connection limit", database.name());
    database.execute(&format!("{limit} 0")).await;
    let patient = settings("vehicle", &database.url(), &json!({}));
    let mut hurried = patient.clone();
    hurried.wait_for_server = Duration::ZERO;
    let error = SCHEMA.migrate(&hurried).await.unwrap_err();
    assert!(matches!(error, MigrateError::NoServer(..)), "{error:?}");
    let lift = format!("{limit} -1");
    let (migrated, ()) = tokio::join!(SCHEMA.migrate(&patient), database.execute(&lift));
    migrated.unwrap();
}

#[tokio::test]
async fn a_server_that_comes_later_is_waited_for() {
    let database = TestDatabase::empty("vehicle").await;
    let address = database.url();
    let address = address.trim_start_matches("postgres://").to_owned();
    let (server, name) = address.split_once('/').unwrap();
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://{}/{name}", door.local_addr().unwrap());
    let settings = settings("vehicle", &url, &json!({}));
    let open_late = async {
        // Turned away twice, then let in.
        for _ in 0..2 {
            drop(door.accept().await.unwrap());
        }
        let (mut caller, _) = door.accept().await.unwrap();
        let mut server = TcpStream::connect(server).await.unwrap();
        let _ = copy_bidirectional(&mut caller, &mut server).await;
    };
    let (migrated, ()) = tokio::join!(SCHEMA.migrate(&settings), open_late);
    migrated.unwrap();
}

#[tokio::test]
async fn a_server_that_refuses_the_role_is_not_waited_for() {
    let database = TestDatabase::empty("vehicle").await;
    let nobody = Schema {
        owner: "nobody",
        ..SCHEMA
    };
    for (schema, changes) in [
        (SCHEMA, json!({"migration_password": "wrong"})),
        (nobody, json!({})),
        (
            SCHEMA,
            json!({"url": format!("{}_missing", database.url())}),
        ),
    ] {
        let settings = settings("vehicle", &database.url(), &changes);
        let error = schema.migrate(&settings).await.unwrap_err();
        assert!(
            matches!(error, MigrateError::Refused(_)),
            "{changes}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_step_that_differs_from_the_applied_one_is_refused() {
    let database = TestDatabase::empty("vehicle").await;
    let settings = settings("vehicle", &database.url(), &json!({}));
    SCHEMA.migrate(&settings).await.unwrap();
    database
        .execute("update vehicle._sqlx_migrations set checksum = ''")
        .await;
    let error = SCHEMA.migrate(&settings).await.unwrap_err();
    let differs = sqlx::migrate::MigrateError::VersionMismatch(1);
    assert_eq!(error.source().unwrap().to_string(), differs.to_string());
}
