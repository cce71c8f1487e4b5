use std::{str::FromStr, time::Duration};

use serde::Deserialize;
use service_defaults::{
    settings::{Secret, Violations, duration},
    worst_case::{Figure, Shown},
};
use sqlx::postgres::PgConnectOptions;

/// Time on top of `statement_timeout` after which a server that does not even cancel is given up.
const SERVER_GRACE: Duration = Duration::from_millis(250);

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
    /// Most connections of the pool.
    pub max_connections: u32,
    /// Connections that are open before the service is ready, and kept open; 0 = as many as
    /// `max_connections`.
    pub min_connections: u32,
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
        let most = self.max_connections;
        violations.range("database.min_connections", &self.min_connections, 0..=most);
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

    /// How many connections are kept open.
    pub(crate) fn min_connections(&self) -> u32 {
        match self.min_connections {
            0 => self.max_connections,
            min => min,
        }
    }

    /// Longest time that a request waits for one query.
    pub fn longest_query(&self) -> Duration {
        self.acquire_timeout
            .saturating_add(self.longest_statement())
    }

    /// Longest time that a request waits for a statement, once it has a connection.
    pub(crate) fn longest_statement(&self) -> Duration {
        self.statement_timeout.saturating_add(SERVER_GRACE)
    }

    /// How `longest_query` comes about.
    pub fn longest_query_because(&self) -> String {
        format!(
            "database.acquire_timeout {} + database.statement_timeout {} + {} of grace",
            Shown(self.acquire_timeout),
            Shown(self.statement_timeout),
            Shown(SERVER_GRACE)
        )
    }

    /// Reports a query that may outlast the request that it is for.
    pub fn check_within(&self, request_deadline: Duration, violations: &mut Violations) {
        let longest = self.longest_query();
        if longest > request_deadline {
            let rule = format_args!(
                "{} = {}, over server.request_deadline = {}",
                self.longest_query_because(),
                Shown(longest),
                Shown(request_deadline)
            );
            violations.report("database.statement_timeout", rule);
        }
    }

    /// What the settings allow at worst.
    pub fn worst_case(&self) -> [Figure; 2] {
        let most = self.max_connections;
        [
            Figure::count(
                "most_database_connections",
                most.into(),
                format_args!("database.max_connections {most}"),
            ),
            Figure::duration(
                "longest_query",
                self.longest_query(),
                self.longest_query_because(),
            ),
        ]
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
