//! What the readiness says of the database.

use serde_json::{Value, json};
use service_database::Database;
use service_defaults::health::{Check, CheckStatus};
use sqlx::PgConnection;
use test_support::TestDatabase;
use vehicle_service::SCHEMA;

use crate::support::{database, end_sessions, settings};

async fn newest_migration(connection: &mut PgConnection) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar("select max(version) from vehicle._sqlx_migrations where success")
        .fetch_one(connection)
        .await
}

async fn find(connection: &mut PgConnection) -> sqlx::Result<()> {
    let find = sqlx::query("select make from vehicle.vehicles limit 0");
    find.execute(connection).await.map(drop)
}

async fn check(database: &Database) -> Check {
    SCHEMA
        .check(
            database,
            |connection, ()| Box::pin(newest_migration(connection)),
            |connection, ()| Box::pin(find(connection)),
        )
        .await
}

/// Checks until the connections are open.
async fn until_filled(database: &Database) {
    while check(database).await.status != CheckStatus::Pass {}
}

#[tokio::test]
async fn idle_sessions_that_the_server_ends_do_not_fail_it() {
    let changes = json!({"max_connections": 8});
    let (place, database) = database(&changes).await;
    until_filled(&database).await;
    end_sessions(&place).await;
    for _ in 0..16 {
        let check = check(&database).await;
        assert_eq!(check.status, CheckStatus::Pass, "{:?}", check.detail);
    }
}

#[tokio::test]
async fn a_right_a_table_or_a_column_that_is_taken_away_fails_it() {
    let (place, database) = database(&json!({})).await;
    until_filled(&database).await;
    for (away, back) in [
        (
            "revoke select on vehicle.vehicles from vehicle_service",
            "grant select on vehicle.vehicles to vehicle_service",
        ),
        (
            "revoke usage on schema vehicle from vehicle_service",
            "grant usage on schema vehicle to vehicle_service",
        ),
        (
            "alter table vehicle.vehicles rename to cars",
            "alter table vehicle.cars rename to vehicles",
        ),
        (
            "alter table vehicle.vehicles rename column make to brand",
            "alter table vehicle.vehicles rename column brand to make",
        ),
    ] {
        place.execute(away).await;
        assert_eq!(check(&database).await.status, CheckStatus::Fail, "{away}");
        place.execute(back).await;
        assert_eq!(check(&database).await.status, CheckStatus::Pass, "{back}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_let_the_service_in_fails_it() {
    let place = TestDatabase::new("vehicle", SCHEMA).await;
    for changes in [json!({"password": "wrong"}), json!({"user": "nobody"})] {
        let changes: Value = changes;
        let database = Database::new(&settings("vehicle", &place.url(), &changes)).unwrap();
        let check = check(&database).await;
        assert_eq!(check.status, CheckStatus::Fail, "{changes}");
    }
}
