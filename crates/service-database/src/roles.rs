use std::str::FromStr;

use settings::Secret;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

/// Makes the roles of both services where they are missing.
const ROLES: &str = include_str!("../../../migrations/roles.sql");

/// A role and the password it logs in with.
#[derive(Clone, Debug)]
pub struct Login {
    /// One of the roles of `migrations/roles.sql`.
    pub role: &'static str,
    /// Letters and digits only.
    pub password: Secret,
}

/// Why a database was not prepared.
#[derive(Debug, thiserror::Error)]
#[error("the administrator's connection failed or was refused")]
pub struct PrepareError(#[from] sqlx::Error);

/// Prepares a database for `migrate`, as an administrator: makes the database and the roles that
/// are missing and sets the passwords. For local stacks and tests; where a platform runs
/// PostgreSQL, its operators do this.
pub async fn prepare(
    administrator: &Secret,
    database: &str,
    logins: &[Login],
) -> Result<(), PrepareError> {
    let options = PgConnectOptions::from_str(administrator.expose())?;
    let mut server = PgConnection::connect_with(&options).await?;
    let exists = sqlx::query("select from pg_database where datname = $1")
        .bind(database)
        .fetch_optional(&mut server)
        .await?
        .is_some();
    if !exists {
        let create = format!("create database \"{}\"", database.replace('"', "\"\""));
        sqlx::raw_sql(sqlx::AssertSqlSafe(create))
            .execute(&mut server)
            .await?;
    }
    server.close().await?;

    let mut connection = PgConnection::connect_with(&options.database(database)).await?;
    sqlx::raw_sql(ROLES).execute(&mut connection).await?;
    for login in logins {
        // Statements that take no parameters; quoted by the server.
        let statement: String =
            sqlx::query_scalar("select format('alter role %I login password %L', $1, $2)")
                .bind(login.role)
                .bind(login.password.expose())
                .fetch_one(&mut connection)
                .await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&mut connection)
            .await?;
    }
    Ok(connection.close().await?)
}
