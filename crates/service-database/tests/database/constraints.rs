use contracts::RegistrationNumber;
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use service_database::Schema;
use sqlx::PgConnection;
use test_support::TestDatabase;

use crate::support::refusal;

const CHECK: &str = "23514";

async fn assert_refused(connection: &mut PgConnection, sql: &str, constraint: &str) {
    let refusal = refusal(connection, sql).await;
    let expected = (CHECK.to_owned(), constraint.to_owned());
    assert_eq!(refusal, Some(expected), "{sql}");
}

#[tokio::test]
async fn vehicles_that_the_types_refuse_are_refused() {
    let database = TestDatabase::new("vehicle", vehicle_service::SCHEMA).await;
    let mut connection = database.connect().await;
    for (columns, values, constraint) in [
        ("", "'abc123'", "registration_number_is_canonical"),
        ("", "'ABC 123'", "registration_number_is_canonical"),
        ("", "'A'", "registration_number_is_canonical"),
        ("", "'ABCD1234'", "registration_number_is_canonical"),
        ("", "E'ABC123\\n'", "registration_number_is_canonical"),
        ("", "'ÉÉ'", "registration_number_is_canonical"),
        (", make", "'NEW123', ''", "make_is_named"),
        (", model", "'NEW123', repeat('x', 101)", "model_is_named"),
        (", make", "'NEW123', E'Vol\\nvo'", "make_is_named"),
        (", make", "'NEW123', E'\\u007f'", "make_is_named"),
        (", model", "'NEW123', E'XC\\u0085'", "model_is_named"),
        (", model_year", "'NEW123', 1884", "model_year_is_plausible"),
        (", model_year", "'NEW123', 2101", "model_year_is_plausible"),
    ] {
        let sql = format!(
            "insert into vehicle.vehicles (registration_number{columns}) values ({values})"
        );
        assert_refused(&mut connection, &sql, constraint).await;
    }
    let twice = "insert into vehicle.vehicles (registration_number) values ('ABC123')";
    let refusal = refusal(&mut connection, twice).await.unwrap();
    assert_eq!(refusal.0, "23505");
}

#[tokio::test]
async fn policies_that_the_types_refuse_are_refused() {
    let database = TestDatabase::new("insurance", insurance_service::SCHEMA).await;
    let mut connection = database.connect().await;
    let person = "personal_identity_number_is_canonical";
    let car = "cars_and_only_cars_have_a_registration_number";
    let plate = "registration_number_is_canonical";
    let money = "monthly_cost_is_money";
    for (values, constraint) in [
        ("'00000101000', 'pet', 10, null", person),
        ("'0000010100000', 'pet', 10, null", person),
        ("'00000101-0000', 'pet', 10, null", person),
        ("'00000101000a', 'pet', 10, null", person),
        ("'٠٠٠٠٠١٠١٠٠٠٠', 'pet', 10, null", person),
        ("'000001010000', 'car', 30, null", car),
        ("'000001010000', 'pet', 10, 'ABC123'", car),
        ("'000001010000', 'personal_health', 20, 'ABC123'", car),
        ("'000001010000', 'car', 30, 'abc123'", plate),
        ("'000001010000', 'car', 30, 'A'", plate),
        ("'000001010000', 'pet', -0.01, null", money),
        ("'000001010000', 'pet', 10.001, null", money),
        ("'000001010000', 'pet', 10000000000, null", money),
        ("'000001010000', 'pet', 'NaN', null", money),
        ("'000001010000', 'pet', 'Infinity', null", money),
    ] {
        let sql = insert_policy(values);
        assert_refused(&mut connection, &sql, constraint).await;
    }
    let unknown = insert_policy("'000001010000', 'boat', 10, null");
    assert_eq!(refusal(&mut connection, &unknown).await.unwrap().0, "23503");
    let missing = insert_policy("'000001010000', 'pet', null, null");
    assert_eq!(refusal(&mut connection, &missing).await.unwrap().0, "23502");
    for values in [
        "'000001010000', 'pet', 0, null",
        "'000001010000', 'pet', 10.500, null",
        "'000001010000', 'car', 9999999999.99, 'ÅÄÖ'",
    ] {
        assert_eq!(
            refusal(&mut connection, &insert_policy(values)).await,
            None,
            "{values}"
        );
    }
}

fn insert_policy(values: &str) -> String {
    format!(
        "insert into insurance.insurances
         (personal_identity_number, product, monthly_cost, car_registration_number)
         values ({values})"
    )
}

#[tokio::test]
async fn the_price_list_holds_money_and_known_products_only() {
    let database = TestDatabase::new("insurance", insurance_service::SCHEMA).await;
    let mut connection = database.connect().await;
    let sql = "update insurance.products set monthly_cost = 0.005";
    assert_refused(&mut connection, sql, "monthly_cost_is_money").await;
    let sql = "insert into insurance.products values ('boat', 1)";
    assert_refused(&mut connection, sql, "product_is_known").await;
}

/// The same question, asked of Rust and of the constraint's own expression.
#[tokio::test]
async fn the_bounds_of_a_text_know_every_control_character() {
    // PostgreSQL has no text with a NUL.
    let mut texts: Vec<String> = ('\u{1}'..'\u{3000}').map(|it| format!("a{it}")).collect();
    texts.extend([0, 100, 101].map(|length| "å".repeat(length)));
    let kept = kept("make_is_named", "make", &texts).await;
    for (text, kept) in texts.iter().zip(kept) {
        let bounded = (1..=100).contains(&text.chars().count());
        let expected = bounded && !text.contains(char::is_control);
        assert_eq!(kept, expected, "{text:?}");
    }
}

/// The same question, asked of the type and of the constraint's own expression.
#[tokio::test]
async fn the_type_and_the_constraint_agree_on_what_is_canonical() {
    let mut texts: Vec<String> = generated("[A-ZÅÄÖ0-9]{1,8}", 300);
    texts.extend(generated(
        "[A-Ca-cÅåÄÉß0-9 \\-\n\u{30a}\u{308}\u{212a}\u{212b}_/]{0,9}",
        2_000,
    ));
    texts.extend(generated("[^\0]{0,8}", 1_000));
    let kept = kept(
        "registration_number_is_canonical",
        "registration_number",
        &texts,
    )
    .await;
    let mut canonical = 0;
    for (text, kept) in texts.iter().zip(kept) {
        let parsed = text.parse::<RegistrationNumber>();
        let is_canonical = parsed.is_ok_and(|number| number.as_str() == text);
        assert_eq!(is_canonical, kept, "{text:?}");
        canonical += u32::from(kept);
    }
    assert!(canonical > 100, "{canonical}");
}

/// Which of these texts a constraint of Vehicle's lets into its column.
async fn kept(constraint: &str, column: &str, texts: &[String]) -> Vec<bool> {
    let database = TestDatabase::new("vehicle", vehicle_service::SCHEMA).await;
    let mut connection = database.connect().await;
    let keeps: String = sqlx::query_scalar(
        "select replace(pg_get_expr(conbin, conrelid), $2, 't')
         from pg_constraint where conname = $1",
    )
    .bind(constraint)
    .bind(column)
    .fetch_one(&mut connection)
    .await
    .unwrap();
    let sql =
        format!("select {keeps} from unnest($1::text[]) with ordinality as u(t, n) order by n");
    let kept: Vec<bool> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(texts)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(kept.len(), texts.len());
    kept
}

/// Texts that match a pattern, the same in every run.
fn generated(pattern: &str, count: usize) -> Vec<String> {
    let mut runner = TestRunner::deterministic();
    let texts = proptest::string::string_regex(pattern).unwrap();
    (0..count)
        .map(|_| texts.new_tree(&mut runner).unwrap().current())
        .collect()
}

async fn assert_events_are_refused(schema: &'static str, migrations: Schema, kind: &str) {
    let database = TestDatabase::new(schema, migrations).await;
    let mut connection = database.connect().await;
    let sql = |column: &str, value: &str| {
        let columns = [
            ("event_id", "gen_random_uuid()"),
            ("aggregate_type", kind),
            ("aggregate_id", "'4711'"),
            ("version", "1"),
            ("event_type", "'thing.changed.v1'"),
            ("actor", "'key/core'"),
            ("correlation_id", "'none'"),
            ("traceparent", "null"),
            ("data", "'{}'"),
        ];
        let names = columns.map(|(name, _)| name).join(", ");
        let values = columns.map(|(name, usual)| if name == column { value } else { usual });
        format!(
            "insert into {schema}_events.events ({names}) values ({})",
            values.join(", ")
        )
    };
    for (column, value) in [
        ("aggregate_type", "'person'"),
        ("aggregate_id", "''"),
        ("aggregate_id", "repeat('x', 65)"),
        ("version", "0"),
        ("event_type", "'changed'"),
        ("event_type", "'thing.changed.v0'"),
        ("event_type", "'thing.' || repeat('x', 56) || '.v1'"),
        ("actor", "''"),
        ("actor", "repeat('x', 101)"),
        ("correlation_id", "''"),
        ("correlation_id", "repeat('x', 129)"),
        ("traceparent", "repeat('x', 56)"),
        ("data", "to_json(repeat('x', 16384))"),
    ] {
        let sql = sql(column, value);
        assert_refused(&mut connection, &sql, "event_is_well_formed").await;
    }
    let usual = sql("version", "1");
    assert_eq!(refusal(&mut connection, &usual).await, None);
}

#[tokio::test]
async fn events_that_none_may_be_are_refused() {
    let policy = "'policy'";
    assert_events_are_refused("insurance", insurance_service::SCHEMA, policy).await;
    assert_events_are_refused("vehicle", vehicle_service::SCHEMA, "'vehicle'").await;
}
