use event_log::{EventLog, NewEvent, Origin, new_event_id};
use service_database::Schema;
use sqlx::{AssertSqlSafe, PgConnection};
use test_support::TestDatabase;

/// A service's name, its schema and a kind of thing that its log knows.
pub(crate) type Service = (&'static str, Schema, &'static str);

pub(crate) const INSURANCE: Service = ("insurance", empty(insurance_service::SCHEMA), "policy");
pub(crate) const SERVICES: [Service; 2] = [
    INSURANCE,
    ("vehicle", empty(vehicle_service::SCHEMA), "vehicle"),
];

/// Without sample data, which may have events.
const fn empty(schema: Schema) -> Schema {
    Schema {
        sample_data: "",
        ..schema
    }
}

/// A database of Insurance, with its log.
pub(crate) async fn insurance() -> (TestDatabase, EventLog) {
    let (name, schema, _) = INSURANCE;
    let database = TestDatabase::new(name, schema).await;
    (database, EventLog::new(name))
}

pub(crate) fn origin() -> Origin {
    Origin {
        actor: "key/desk".to_owned(),
        correlation_id: "request-1".to_owned(),
        causation_id: None,
        traceparent: None,
    }
}

/// Appends a version of this thing.
pub(crate) async fn append(
    log: &EventLog,
    connection: &mut PgConnection,
    (aggregate_type, aggregate_id): (&str, &str),
    version: i64,
) -> sqlx::Result<()> {
    let event = NewEvent {
        id: new_event_id(),
        aggregate_type,
        aggregate_id,
        version,
        event_type: &format!("{aggregate_type}.changed.v1"),
        origin: &origin(),
        data: "{}",
    };
    log.append(connection, &event).await
}

/// Runs SQL and says by which SQLSTATE it was refused, if it was.
pub(crate) async fn refusal(connection: &mut PgConnection, sql: &str) -> Option<String> {
    let result = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await;
    let code = |error: sqlx::Error| error.as_database_error()?.code().map(Into::into);
    result.err().map(|error| code(error).unwrap())
}

/// A number that a query gives.
pub(crate) async fn number(connection: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
        .fetch_one(connection)
        .await
        .unwrap()
}
