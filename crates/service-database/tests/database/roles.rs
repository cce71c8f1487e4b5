use serde_json::json;
use test_support::TestDatabase;

use crate::support::{refusal, settings};

const INSUFFICIENT_PRIVILEGE: &str = "42501";

const VEHICLE_RIGHTS: &str = "\
    vehicle._sqlx_migrations: select
    vehicle.vehicles: delete, insert, select, update (make, model, model_year)
    vehicle_events.checkpoints: insert, select
    vehicle_events.event_tiles: insert, select
    vehicle_events.events: select
    vehicle_events.former_logs: select
    vehicle_events.head: select, update (edge, placed_at, position)
    vehicle_events.hours: insert, select, update (events)
    vehicle_events.log: insert, select
    vehicle_events.relays: select, update (fence, leased_until, position, stream, updated_at)
    vehicle_events.sequences: select
    vehicle_events.unplaced: delete, select";

const INSURANCE_RIGHTS: &str = "\
    insurance._sqlx_migrations: select
    insurance.covers: delete, insert, select
    insurance.idempotency_keys: delete, insert (body, caller, fingerprint, headers, key, status, subject), select, update (body, created_at, fingerprint, headers, status, subject)
    insurance.insurances: insert (car_registration_number, monthly_cost, personal_identity_number, product, status, valid_from, valid_until), select, update (cancelled_on, car_registration_number, monthly_cost, personal_identity_number, product, status, valid_from, valid_until, version)
    insurance.person_lock_key: select
    insurance.prices: insert, select
    insurance.products: select
    insurance.refuse_claim: execute
    insurance.workers: select, update (fence, leased_until)
    insurance_events.checkpoints: insert, select
    insurance_events.event_tiles: insert, select
    insurance_events.events: insert, select
    insurance_events.former_logs: select
    insurance_events.head: select, update (edge, placed_at, position)
    insurance_events.hours: insert, select, update (events)
    insurance_events.log: insert, select
    insurance_events.relays: select, update (fence, leased_until, position, stream, updated_at)
    insurance_events.sequences: select
    insurance_events.unplaced: delete, select
    insurance_replica.changes: delete, insert, select
    insurance_replica.comparisons: delete, insert, select, update
    insurance_replica.consumers: select, update
    insurance_replica.dead_letters: delete, insert, select, update
    insurance_replica.differences: delete, insert, select
    insurance_replica.replays: insert, select, update
    insurance_replica.vehicles: delete, insert, select, update";

/// A database that holds the schemas of both services.
async fn both() -> TestDatabase {
    let database = TestDatabase::empty("vehicle").await;
    for (service, schema) in [
        ("vehicle", vehicle_service::SCHEMA),
        ("insurance", insurance_service::SCHEMA),
    ] {
        let settings = settings(service, &database.url(), &json!({}));
        schema.migrate(&settings).await.unwrap();
        schema.seed(&settings).await.unwrap();
    }
    database
}

async fn assert_forbidden(database: &TestDatabase, role: &str, statements: &[&str]) {
    let mut connection = database.connect_as(role).await;
    for sql in statements {
        let refusal = refusal(&mut connection, sql).await;
        let code = refusal.map(|(code, _)| code);
        assert_eq!(
            code.as_deref(),
            Some(INSUFFICIENT_PRIVILEGE),
            "{role}: {sql}"
        );
    }
}

#[tokio::test]
async fn a_service_reads_its_schema_and_the_steps_applied_to_it() {
    let database = both().await;
    for (role, tables) in [
        (
            "vehicle_service",
            &["vehicle.vehicles", "vehicle._sqlx_migrations"][..],
        ),
        (
            "insurance_service",
            &[
                "insurance.insurances",
                "insurance.products",
                "insurance.prices",
                "insurance.covers",
                "insurance.idempotency_keys",
                "insurance.person_lock_key",
                "insurance.workers",
                "insurance._sqlx_migrations",
                "insurance_replica.consumers",
                "insurance_replica.vehicles",
                "insurance_replica.dead_letters",
                "insurance_replica.replays",
                "insurance_replica.comparisons",
                "insurance_replica.differences",
                "insurance_replica.changes",
            ],
        ),
    ] {
        let mut connection = database.connect_as(role).await;
        for table in tables {
            let sql = format!("select * from {table}");
            assert_eq!(refusal(&mut connection, &sql).await, None, "{role}: {sql}");
        }
    }
}

#[tokio::test]
async fn a_service_writes_what_it_must_and_nothing_else() {
    let database = both().await;
    let vehicle = [
        "select vehicle.tell('vehicle.changed.v1', null, 'ABC123', 9, 'null')",
        "alter table vehicle.vehicles disable trigger tell_the_change",
        "set session_replication_role = replica",
        "truncate vehicle.vehicles",
        "drop table vehicle.vehicles",
        "alter table vehicle.vehicles add column more text",
        "update vehicle._sqlx_migrations set success = false",
        "select nextval('vehicle.versions')",
        "create table vehicle.own (n int)",
        "create table public.own (n int)",
        "create schema own",
        "set role vehicle_migrator",
        "select * from pg_authid",
    ];
    assert_forbidden(&database, "vehicle_service", &vehicle).await;
    let insurance = [
        "insert into insurance.products values ('car', 1)",
        "delete from insurance.insurances",
        "truncate insurance.covers",
        "update insurance.covers set overlapping = true",
        "update insurance.insurances set insurance_id = 1",
        "insert into insurance.insurances
            (insurance_id, personal_identity_number, product, monthly_cost)
            values (1, '190001010000', 'pet', 10)",
        "update insurance.idempotency_keys set caller = 'other'",
        "update insurance.idempotency_keys set key = 'another-key-0123'",
        "update insurance.person_lock_key set key = ''",
        "delete from insurance.person_lock_key",
        "update insurance.workers set worker = 'other'",
        "insert into insurance.workers values ('other')",
        "delete from insurance.workers",
        "insert into insurance_replica.consumers values ('other')",
        "delete from insurance_replica.consumers",
        "delete from insurance_replica.replays",
        "update insurance_replica.differences set fields = '{}'",
        "truncate insurance_replica.vehicles",
        "create table insurance_replica.own (n int)",
        "drop table insurance.insurances",
        "alter table insurance.insurances disable trigger demand_an_event",
        "update insurance.prices set monthly_cost = 0",
        "delete from insurance.prices",
        "call insurance.import_policies()",
        "call insurance.set_first_prices()",
        "select insurance.import_policy(i) from insurance.insurances i",
        "update insurance._sqlx_migrations set success = false",
        "set role insurance_migrator",
    ];
    assert_forbidden(&database, "insurance_service", &insurance).await;
}

/// What a service may do, object by object, with the columns of rights that are not for all of them.
#[tokio::test]
async fn the_rights_of_a_service_are_these_and_no_others() {
    const RIGHTS: &str = "with granted as (
            select relnamespace as schema, relname as name, null as columns, acl.*
            from pg_class, aclexplode(relacl) acl
            union all
            select relnamespace, relname, attname, acl.*
            from pg_class join pg_attribute on attrelid = pg_class.oid, aclexplode(attacl) acl
            union all
            select pronamespace, proname, null, acl.*
            from pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner))) acl
            where prorettype <> 'trigger'::regtype and proname !~ '^text_span'
        ), rights as (
            select format('%s.%s', schema::regnamespace, name) as object,
                lower(privilege_type)
                    || coalesce(' (' || string_agg(columns, ', ' order by columns) || ')', '') as granted
            from granted
            where grantee in ($1::text::regrole, 0)
                and has_schema_privilege($1::text, schema, 'usage')
                and schema::regnamespace::text not in ('pg_catalog', 'information_schema')
            group by schema, name, privilege_type
        )
        select object || ': ' || string_agg(granted, ', ' order by granted) as line
        from rights group by object order by object collate \"C\"";
    let database = both().await;
    let mut connection = database.connect().await;
    for (role, expected) in [
        ("vehicle_service", VEHICLE_RIGHTS),
        ("insurance_service", INSURANCE_RIGHTS),
    ] {
        let rights: Vec<String> = sqlx::query_scalar(RIGHTS)
            .bind(role)
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let expected: Vec<&str> = expected.lines().map(str::trim).collect();
        assert_eq!(rights, expected, "{role}");
    }
}

#[tokio::test]
async fn no_role_reaches_into_the_schema_of_the_other_service() {
    let database = both().await;
    for role in ["vehicle_service", "vehicle_migrator"] {
        let statements = [
            "select * from insurance.insurances",
            "select * from insurance._sqlx_migrations",
            "select * from insurance_replica.vehicles",
            "create table insurance.own (n int)",
            "drop table insurance.insurances",
        ];
        assert_forbidden(&database, role, &statements).await;
    }
    for role in ["insurance_service", "insurance_migrator"] {
        let statements = [
            "select * from vehicle.vehicles",
            "drop schema vehicle cascade",
        ];
        assert_forbidden(&database, role, &statements[..1]).await;
        let mut connection = database.connect_as(role).await;
        assert!(refusal(&mut connection, statements[1]).await.is_some());
    }
}

#[tokio::test]
async fn no_role_is_more_than_it_needs_to_be() {
    let database = both().await;
    let mut connection = database.connect().await;
    let too_much = "select count(*) from pg_roles
        where rolname in ('vehicle_service', 'vehicle_migrator', 'insurance_service', 'insurance_migrator')
        and (rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls)";
    assert_eq!(crate::support::number(&mut connection, too_much).await, 0);
}

/// PostgreSQL 14 lets everybody create in `public`.
#[tokio::test]
async fn no_role_creates_in_the_public_schema() {
    let database = TestDatabase::empty("vehicle").await;
    database
        .execute("grant create on schema public to public")
        .await;
    let roles = include_str!("../../../../migrations/roles.sql");
    database.execute(roles).await;
    for role in ["vehicle_service", "insurance_service"] {
        assert_forbidden(&database, role, &["create table public.mine ()"]).await;
    }
}
