//! How PostgreSQL runs the statements that look for policies by a day: by an index, with the day as
//! a parameter.

use std::{fs, path::Path};

use insurance_service::{NAME, SCHEMA};
use serde_json::Value;
use sqlx::AssertSqlSafe;
use test_support::TestDatabase;

/// The checked statement that has this text in it.
pub(super) fn statement(part: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.sqlx");
    let statements = fs::read_dir(folder).unwrap().map(|file| {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let query: Value = serde_json::from_str(&text).unwrap();
        query["query"].as_str().unwrap().to_owned()
    });
    let mut found = statements.filter(|it| it.contains(part));
    let only = found
        .next()
        .unwrap_or_else(|| panic!("no statement has `{part}`"));
    assert_eq!(found.next(), None, "several statements have `{part}`");
    only
}

#[tokio::test]
async fn policies_are_looked_for_by_an_index_with_the_day_passed_in() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    // All but some end some day, and few have ended.
    let load = "insert into insurance.insurances
            (personal_identity_number, product, monthly_cost, valid_until)
        select '1970' || lpad((n / 2)::text, 8, '0'), 'pet', 1,
            case when n % 100 = 0 then date '2026-01-01' when n % 10 > 0 then date '2190-01-01' end
        from generate_series(1, 6000) n;
        analyze insurance.insurances; analyze insurance.covers";
    database.execute(load).await;
    for (part, values, indexes) in [
        (
            "null::float8 as copy_age",
            "array['197000000007'], '2026-11-22'",
            &["policies_of_a_person", "covers_pkey"][..],
        ),
        (
            "lacks_change_for?",
            "array['197000000007'], '2026-11-22', 'vehicle_replica'",
            &[
                "policies_of_a_person",
                "covers_pkey",
                "dead_letters_lacking",
            ],
        ),
        (
            "as vehicle on true",
            "'vehicle_replica', array['ABC123', 'DEF456']",
            &["vehicles_pkey"],
        ),
        (
            "told on change >= (",
            "'vehicle_replica', '00000000-0000-4000-8000-000000000000'",
            &["changes_pkey", "changes_state_key"],
        ),
        (
            "(least(valid_until, cancelled_on), insurance_id) > (",
            "'2026-11-22', '-infinity', 0",
            &["policies_by_end"],
        ),
        (
            "(status, insurance_id) > ($1, $3)",
            "'cancelled', '2026-11-22', 0, 51",
            &["policies_by_status", "policies_by_end"],
        ),
    ] {
        let statement = statement(part);
        assert!(!statement.contains("current_date"), "{statement}");
        // Planned as the service has it planned: for any values.
        let prepare =
            format!("set plan_cache_mode = force_generic_plan; prepare statement as {statement}");
        let mut connection = database.connect_as("insurance_service").await;
        sqlx::raw_sql(AssertSqlSafe(prepare))
            .execute(&mut connection)
            .await
            .unwrap();
        let explain = format!("explain execute statement({values})");
        let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(explain))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let plan = plan.join("\n");
        // The consumers have one row.
        let scans = plan.replace("Seq Scan on consumers", "");
        assert!(!scans.contains("Seq Scan"), "{plan}");
        for index in indexes {
            assert!(plan.contains(index), "{index}: {plan}");
        }
    }
}
