//! What the schema keeps of policies that change.

use insurance_service::SCHEMA;
use serde_json::json;
use sqlx::PgConnection;
use test_support::TestDatabase;

use crate::support::{number, refusal, settings, up_to};

/// The newest step of the release before policies could change.
const BEFORE: i64 = 2;

const INSERT: &str = "insert into insurance.insurances
    (personal_identity_number, product, monthly_cost, car_registration_number)";

async fn count(connection: &mut PgConnection, what: &str) -> i64 {
    number(connection, &format!("select count(*) from {what}")).await
}

#[tokio::test]
async fn rows_from_before_are_imported_and_marked_where_they_overlap() {
    let database = TestDatabase::empty("insurance").await;
    let settings = settings("insurance", &database.url(), &json!({}));
    let before = up_to(BEFORE, "insurance", &SCHEMA);
    before.migrate(&settings).await.unwrap();
    // More than one step of the import; three to a car, from the second car on.
    database
        .execute(&format!(
            "insert into insurance.products values ('car', 30), ('pet', 10);
             {INSERT} select '190001010000', 'car', 30, 'C' || n / 3 || 'X' from generate_series(1, 2501) n;
             {INSERT} values ('190001010000', 'pet', 10, null)"
        ))
        .await;
    // As after a stop in mid-import, some have their event and the others not.
    for _ in 0..2 {
        SCHEMA.migrate(&settings).await.unwrap();
        database
            .execute("delete from insurance._sqlx_migrations where version in (4, 5)")
            .await;
    }
    let mut connection = database.connect().await;
    let events = "insurance_events.events where event_type = 'policy.imported.v1'";
    assert_eq!(count(&mut connection, events).await, 2502);
    let covers = "insurance.covers join insurance.insurances using (insurance_id)
        where cover = '[2020-01-01,)' and status = 'active' and version = 1";
    assert_eq!(count(&mut connection, covers).await, 2502);
    // One of each car is not marked.
    let marked = "insurance.covers where overlapping";
    assert_eq!(count(&mut connection, marked).await, 2501 - 834);
    let told = format!("{events} and (data ->> 'coverOverlaps')::boolean");
    assert_eq!(count(&mut connection, &told).await, 2501 - 834);
    let prices = "insurance.prices join insurance_events.events
        on aggregate_type = 'price' and aggregate_id = product and events.version = prices.version";
    assert_eq!(count(&mut connection, prices).await, 2);
    let checked =
        "pg_constraint where conrelid = 'insurance.insurances'::regclass and not convalidated";
    assert_eq!(count(&mut connection, checked).await, 0);
}

/// As the release before this one asks, in the role of the service.
#[tokio::test]
async fn the_queries_of_the_release_before_go_on_working() {
    let database = TestDatabase::new("insurance", SCHEMA).await;
    let mut connection = database.connect_as("insurance_service").await;
    let profile = "select count(*) from (
        select personal_identity_number, insurance_id, product,
            trim_scale(monthly_cost)::text as monthly_cost, car_registration_number
        from insurance.insurances where personal_identity_number = any(array['199001011234'])
        order by insurance_id) as policies";
    assert_eq!(number(&mut connection, profile).await, 2);
    let newest = "select max(version) from insurance._sqlx_migrations where success";
    assert!(number(&mut connection, newest).await > BEFORE);
    // And rows come by its statement.
    let load =
        format!("{INSERT} values ('190001010000', 'car', 30, 'NEW123') returning insurance_id");
    let mut owner = database.connect().await;
    let id = number(&mut owner, &load).await;
    let imported = format!("insurance_events.events where aggregate_id = '{id}' and version = 1");
    assert_eq!(count(&mut owner, &imported).await, 1);
    let covered = format!("insurance.covers where insurance_id = {id} and car = 'NEW123'");
    assert_eq!(count(&mut owner, &covered).await, 1);
}

#[tokio::test]
async fn no_policy_changes_without_its_event_whoever_writes() {
    let database = TestDatabase::new("insurance", SCHEMA).await;
    let mut connection = database.connect().await;
    let event = |version: i64| {
        format!(
            "insert into insurance_events.events
                 (event_id, aggregate_type, aggregate_id, version, event_type, actor, correlation_id, data)
             values (gen_random_uuid(), 'policy', '1000000', {version}, 'policy.changed.v1', 'test', 'none', '{{}}')"
        )
    };
    let removed = |version| event(version).replace("changed", "removed");
    let set =
        |to: &str| format!("update insurance.insurances set {to} where insurance_id = 1000000");
    let delete = "delete from insurance.covers where insurance_id = 1000000;
        delete from insurance.insurances where insurance_id = 1000000";
    let other = "personal_identity_number = '190001010000'";
    for refused in [
        set("monthly_cost = 0"),
        set("monthly_cost = 0, version = 2"),
        format!("{}; {}", set("monthly_cost = 0"), event(2)),
        format!("{}; {}", set("version = 3"), event(3)),
        format!(
            "set session_replication_role = replica; {}",
            set("monthly_cost = 0")
        ),
        delete.to_owned(),
        format!("{}; {delete}", event(2)),
        format!("{}; {}", set("version = 2"), removed(2)),
        format!("{}; {}", set(&format!("version = 2, {other}")), event(2)),
        set(other),
        format!(
            "delete from insurance.covers where insurance_id = 1000000; {}; {}",
            set("version = 2, insurance_id = 5"),
            event(2).replace("1000000", "5")
        ),
    ] {
        let (code, _) = refusal(&mut connection, &refused).await.unwrap();
        assert_eq!(code, "23000", "{refused}");
    }
    let changed = format!("{}; {}", set("monthly_cost = 0, version = 2"), event(2));
    assert_eq!(refusal(&mut connection, &changed).await, None);
    let remove = format!("{}; {delete}", removed(3));
    assert_eq!(refusal(&mut connection, &remove).await, None);
    // Nothing would tell the one with the number from the other.
    for version in [1, 3, 4] {
        let again = format!(
            "insert into insurance.insurances
                 (insurance_id, personal_identity_number, product, monthly_cost, version)
             values (1000000, '190001010000', 'pet', 10, {version})"
        );
        let (code, _) = refusal(&mut connection, &again).await.unwrap();
        assert_eq!(code, "23000", "{version}");
    }
}

#[tokio::test]
async fn no_policy_is_truncated_not_even_by_a_replication() {
    let database = TestDatabase::new("insurance", SCHEMA).await;
    let mut connection = database.connect().await;
    let tables = ["insurance.insurances cascade", "insurance.covers"];
    for table in tables {
        for mode in ["origin", "replica"] {
            let sql = format!("set session_replication_role = {mode}; truncate {table}");
            let (code, _) = refusal(&mut connection, &sql).await.unwrap();
            assert_eq!(code, "23001", "{sql}");
        }
    }
}

#[tokio::test]
async fn an_ended_policy_that_comes_by_sql_covers_no_day_from_its_end_on() {
    let database = TestDatabase::new("insurance", SCHEMA).await;
    let mut connection = database.connect().await;
    let load = |status: &str, until: &str, cancelled: &str| {
        format!(
            "insert into insurance.insurances
                 (personal_identity_number, product, monthly_cost, status, valid_until, cancelled_on)
             values ('190001010000', 'pet', 10, '{status}', {until}, {cancelled})
             returning insurance_id"
        )
    };
    for (status, until, cancelled, cover) in [
        ("cancelled", "null", "null", None),
        ("expired", "null", "null", None),
        ("cancelled", "null", "'2021-01-01'", Some("2021-01-01")),
        (
            "cancelled",
            "'2100-01-01'",
            "'2021-01-01'",
            Some("2021-01-01"),
        ),
        ("cancelled", "'2021-01-01'", "'2019-01-01'", None),
        ("expired", "'2021-01-01'", "null", Some("2021-01-01")),
        ("active", "'2100-01-01'", "'2100-01-01'", Some("2100-01-01")),
    ] {
        let id = number(&mut connection, &load(status, until, cancelled)).await;
        let cover = cover.map(|end| format!("[2020-01-01,{end})"));
        let covers: Option<String> =
            sqlx::query_scalar("select cover::text from insurance.covers where insurance_id = $1")
                .bind(id)
                .fetch_optional(&mut connection)
                .await
                .unwrap();
        assert_eq!(covers, cover, "{status} {until} {cancelled}");
    }
    for (status, until, cancelled, constraint) in [
        ("expired", "'2199-12-31'", "null", ""),
        ("cancelled", "null", "'2199-12-31'", ""),
        ("active", "null", "'2100-01-01'", "cancellation_is_the_end"),
        ("active", "'9999-12-31'", "null", "days_are_plausible"),
        ("active", "'infinity'", "null", "days_are_plausible"),
        ("cancelled", "null", "'1899-12-31'", "days_are_plausible"),
    ] {
        let refused = refusal(&mut connection, &load(status, until, cancelled)).await;
        let expected = Some(("23514".to_owned(), constraint.to_owned()));
        assert_eq!(refused, expected, "{status} {until} {cancelled}");
    }
}

/// Also where all that cover it are marked, and the constraint looks at none of them.
#[tokio::test]
async fn a_cover_is_marked_against_every_other_one_of_its_car() {
    let database = TestDatabase::new("insurance", SCHEMA).await;
    let mut connection = database.connect().await;
    let load = format!("{INSERT} values ('190001010000', 'car', 30, 'ABC123')");
    assert_eq!(refusal(&mut connection, &load).await, None);
    // The one that was not marked goes.
    let end = "delete from insurance.covers where insurance_id = 1000000";
    assert_eq!(refusal(&mut connection, end).await, None);
    assert_eq!(refusal(&mut connection, &load).await, None);
    let marked = "insurance.covers where car = 'ABC123' and overlapping";
    assert_eq!(count(&mut connection, marked).await, 2);
}

#[tokio::test]
async fn only_an_erasure_needs_no_event_and_only_the_ended_are_erased() {
    let database = TestDatabase::new("insurance", SCHEMA).await;
    let mut connection = database.connect().await;
    let erase =
        "update insurance.insurances set personal_identity_number = null where insurance_id =";
    let (code, constraint) = refusal(&mut connection, &format!("{erase} 1000000"))
        .await
        .unwrap();
    assert_eq!(
        (&*code, &*constraint),
        ("23514", "only_the_ended_are_erased")
    );
    let ended = "insert into insurance.insurances
        (personal_identity_number, product, monthly_cost, status) values ('190001010000', 'pet', 10, 'cancelled')
        returning insurance_id";
    let id = number(&mut connection, ended).await;
    let more = format!("{erase} {id}").replace("= null", "= null, monthly_cost = 0");
    assert_eq!(refusal(&mut connection, &more).await.unwrap().0, "23000");
    assert_eq!(
        refusal(&mut connection, &format!("{erase} {id}")).await,
        None
    );
}

#[tokio::test]
async fn no_car_has_two_covers_and_no_policy_two_periods_at_a_time() {
    let database = TestDatabase::new("insurance", SCHEMA).await;
    let mut connection = database.connect_as("insurance_service").await;
    let cover = |id: i64, car: &str, days: &str| {
        format!(
            "insert into insurance.covers (insurance_id, car, cover, monthly_cost)
             values ({id}, {car}, '{days}', 10)"
        )
    };
    // Its own periods are another rule's.
    let uncover = "delete from insurance.covers where insurance_id = 1000003";
    assert_eq!(refusal(&mut connection, uncover).await, None);
    for (sql, constraint) in [
        (
            cover(1_000_003, "'ABC123'", "[2019-01-01,2020-01-02)"),
            "one_cover_at_a_time",
        ),
        (
            cover(1_000_001, "null", "[2030-01-01,)"),
            "one_period_at_a_time",
        ),
    ] {
        let expected = Some(("23P01".to_owned(), constraint.to_owned()));
        assert_eq!(refusal(&mut connection, &sql).await, expected, "{sql}");
    }
    for (sql, constraint) in [
        (cover(1_000_003, "'ABC123'", "empty"), "cover_is_half_open"),
        (
            cover(1_000_003, "'ABC123'", "(,2020-01-01)"),
            "cover_is_half_open",
        ),
        (
            cover(1_000_003, "'abc123'", "[2019-01-01,2020-01-01)"),
            "registration_number_is_canonical",
        ),
    ] {
        let expected = Some(("23514".to_owned(), constraint.to_owned()));
        assert_eq!(refusal(&mut connection, &sql).await, expected, "{sql}");
    }
    // The day before the first one.
    let before = cover(1_000_003, "'ABC123'", "[2019-01-01,2020-01-01)");
    assert_eq!(refusal(&mut connection, &before).await, None);
}
