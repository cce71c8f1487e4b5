use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use serde_json::{Value, json};
use service_database::{Database, DatabaseSettings, Error, Schema};
use settings::SettingsError;
use sqlx::{AssertSqlSafe, PgConnection, migrate::Migrator};
use test_support::TestDatabase;

/// The password of every role of a test's server.
pub(crate) const PASSWORD: &str = "test";

/// Settings of a service on the database of this URL, with what a test changes in them.
pub(crate) fn settings(service: &str, url: &str, changes: &Value) -> DatabaseSettings {
    read(service, url, changes).unwrap()
}

/// The same, where they may be refused.
pub(crate) fn read(
    service: &str,
    url: &str,
    changes: &Value,
) -> Result<DatabaseSettings, SettingsError> {
    let mut settings = json!({
        "url": url,
        "user": format!("{service}_service"),
        "password": PASSWORD,
        "migration_password": PASSWORD,
        "max_connections": 2,
        "acquire_timeout": "10s",
        "statement_timeout": "10s",
    });
    for (name, value) in changes.as_object().unwrap() {
        settings[name] = value.clone();
    }
    let lines = settings.as_object().unwrap().iter();
    // A text or a number is the same in JSON and in TOML.
    let lines: Vec<_> = lines
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    settings::parse("database", &lines.join("\n"))
}

/// The database of a running Vehicle service, with what a test changes in its settings.
pub(crate) async fn database(changes: &Value) -> (TestDatabase, Database) {
    let place = TestDatabase::new("vehicle", vehicle_service::SCHEMA).await;
    let settings = settings("vehicle", &place.url(), changes);
    (place, Database::new(&settings).unwrap())
}

/// Runs SQL as the service does.
pub(crate) async fn run(database: &Database, sql: &'static str) -> Result<(), Error> {
    database
        .read(sql, |connection, sql| Box::pin(execute(connection, sql)))
        .await
}

async fn execute(connection: &mut PgConnection, sql: &'static str) -> sqlx::Result<()> {
    sqlx::query(sql).execute(connection).await.map(drop)
}

/// Which of the server's sessions the service uses.
pub(crate) async fn session(database: &Database) -> i32 {
    database
        .read((), |connection, ()| {
            Box::pin(sqlx::query_scalar("select pg_backend_pid()").fetch_one(connection))
        })
        .await
        .unwrap()
}

/// The sessions of all its connections: of as many statements at once.
pub(crate) async fn sessions(database: &Database, connections: usize) -> BTreeSet<i32> {
    let mut sessions = BTreeSet::new();
    while sessions.len() < connections {
        let together = (0..connections).map(|_| session(database));
        sessions.extend(join_all(together).await);
    }
    sessions
}

/// Lets this time pass at once. Nothing else that is bounded in time may be under way.
pub(crate) async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Ends every session of the service; returns once they have ended.
pub(crate) async fn end_sessions(place: &TestDatabase) {
    let end = "select pg_terminate_backend(pid, 60000) from pg_stat_activity
        where datname = current_database() and usename = 'vehicle_service'";
    place.execute(end).await;
}

/// Runs SQL and says by which SQLSTATE and constraint it was refused, if it was.
pub(crate) async fn refusal(connection: &mut PgConnection, sql: &str) -> Option<(String, String)> {
    let result = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await;
    let error = result.err()?;
    let answer = error.as_database_error().unwrap();
    Some((
        answer.code().unwrap_or_default().into_owned(),
        answer.constraint().unwrap_or_default().to_owned(),
    ))
}

/// The schema of a service as it was when this step was its newest.
pub(crate) fn up_to(newest: i64, service: &str, schema: &Schema) -> Schema {
    let steps = schema.migrator.iter();
    let steps = steps.filter(|step| step.version <= newest).cloned();
    let mut migrator = Migrator::with_migrations(steps.collect());
    migrator.dangerous_set_table_name(format!("{service}._sqlx_migrations"));
    migrator.create_schema(service.to_owned());
    Schema {
        migrator: Box::leak(Box::new(migrator)),
        ..*schema
    }
}

/// A number that a query gives.
pub(crate) async fn number(connection: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
        .fetch_one(connection)
        .await
        .unwrap()
}
