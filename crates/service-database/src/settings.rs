use std::{str::FromStr, time::Duration};

use serde::Deserialize;
use service_defaults::settings::{Secret, Violations, duration};
use sqlx::postgres::PgConnectOptions;

/// The section `[database]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// Where PostgreSQL is; a secret, because it may hold a password.
    pub url: Secret,
    /// Role of the running service.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// Role that owns the schema.
    pub migration_user: String,
    /// Its password.
    pub migration_password: Secret,
    /// Connections of the pool.
    pub max_connections: u32,
    /// Longest wait for a free connection.
    #[serde(with = "duration")]
    pub acquire_timeout: Duration,
    /// Longest run of one statement.
    #[serde(with = "duration")]
    pub statement_timeout: Duration,
    /// How often the server looks whether the caller of a running statement is still there; 0 =
    /// never.
    #[serde(with = "duration")]
    pub client_connection_check_interval: Duration,
    /// How long `migrate` waits for the server.
    #[serde(with = "duration")]
    pub wait_for_server: Duration,
}

impl DatabaseSettings {
    /// Reports values out of bounds.
    pub fn check(&self, violations: &mut Violations) {
        let millis = Duration::from_millis;
        let url = self.url.expose();
        let named = url.starts_with("postgres://") || url.starts_with("postgresql://");
        if !named || PgConnectOptions::from_str(url).is_err() {
            violations.report(
                "database.url",
                "is no URL such as postgres://host:5432/database",
            );
        }
        for (setting, password) in [
            ("database.url", &self.url),
            ("database.password", &self.password),
            ("database.migration_password", &self.migration_password),
        ] {
            if password.is_placeholder() {
                violations.secret(setting, password);
            }
        }
        violations.range("database.max_connections", &self.max_connections, 1..=1000);
        let acquire = self.acquire_timeout;
        violations.duration(
            "database.acquire_timeout",
            acquire,
            millis(10)..=millis(10_000),
        );
        let statement = self.statement_timeout;
        violations.duration(
            "database.statement_timeout",
            statement,
            millis(10)..=millis(60_000),
        );
        let check = self.client_connection_check_interval;
        if !check.is_zero() {
            violations.duration(
                "database.client_connection_check_interval",
                check,
                millis(10)..=millis(10_000),
            );
        }
        let bounds = Duration::ZERO..=Duration::from_mins(10);
        violations.duration("database.wait_for_server", self.wait_for_server, bounds);
    }

    /// How the running service connects.
    pub(crate) fn service_options(&self) -> sqlx::Result<PgConnectOptions> {
        let options = self.options(&self.user, &self.password)?;
        let options = options.options([milliseconds("statement_timeout", self.statement_timeout)]);
        let check = self.client_connection_check_interval;
        if check.is_zero() {
            // Not even named: a server without the setting would refuse the connection.
            return Ok(options);
        }
        Ok(options.options([milliseconds("client_connection_check_interval", check)]))
    }

    /// How `migrate` and `seed` connect.
    pub(crate) fn migration_options(&self) -> sqlx::Result<PgConnectOptions> {
        self.options(&self.migration_user, &self.migration_password)
    }

    fn options(&self, user: &str, password: &Secret) -> sqlx::Result<PgConnectOptions> {
        let mut options = PgConnectOptions::from_str(self.url.expose())?;
        if !user.is_empty() {
            options = options.username(user);
        }
        if !password.is_empty() {
            options = options.password(password.expose());
        }
        Ok(options)
    }
}

/// A setting of a PostgreSQL session, which counts in milliseconds.
fn milliseconds(name: &'static str, time: Duration) -> (&'static str, String) {
    (name, time.as_millis().to_string())
}
