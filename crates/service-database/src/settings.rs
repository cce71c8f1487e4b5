use std::{str::FromStr, time::Duration};

use settings::{Figure, Secret, Violations, format_duration, millis, seconds, section};
use sqlx::postgres::PgConnectOptions;

/// Time on top of `statement_timeout` after which a server that does not even cancel is given up.
const SERVER_GRACE: Duration = Duration::from_millis(250);

section! {
    /// The section `[database]`.
    pub struct DatabaseSettings checked by DatabaseSettings::contradictions {
        /// Where PostgreSQL is. May hold the user and the password of the running service as well.
        pub url: Secret = "postgres://127.0.0.1:5432/threadpilot", where usable_url;
        /// Role of the running service, as migrations/roles.sql makes it; empty = the URL's.
        pub user: String = "";
        /// Its password; empty = the URL's.
        pub password: Secret = "";
        /// Password of the role that owns the schema, for `migrate` and `seed`; empty = the URL's.
        pub migration_password: Secret = "";
        /// Connections of the pool. All are open before the service is ready, and kept open.
        pub max_connections: u32 = 8, in 1..=1000;
        /// Longest wait for a free connection; then 503.
        pub acquire_timeout: Duration = "250ms", in millis(10)..=seconds(10);
        /// Longest run of one statement; the server cancels it, then 503.
        pub statement_timeout: Duration = "500ms", in millis(10)..=seconds(60);
        /// How often the server looks whether the service still waits for a running statement
        /// (PostgreSQL 14), and ends it where not.
        pub client_connection_check_interval: Duration => millis(100);
        /// How long a statement that nobody waits for any more has to end by itself. Most take
        /// less, and a connection that is closed costs the others more than the rest of such a
        /// statement.
        pub abandoned_grace: Duration => millis(100);
        /// How long `migrate` and `seed` wait for a server that does not answer yet.
        pub wait_for_server: Duration => seconds(60);
    }
    removed {
        "migration_user" => "is <service>_migrator, which migrations/roles.sql makes",
        "min_connections" => "is max_connections",
        "client_connection_check_interval" => "is 100ms",
        "wait_for_server" => "is 60s",
    }
}

/// A URL may hold a password, so it is not shown.
fn usable_url(url: &Secret, at: &str, violations: &mut Violations) {
    if url.is_placeholder() {
        return violations.secret(at, url);
    }
    let text = url.expose();
    let named = text.starts_with("postgres://") || text.starts_with("postgresql://");
    if !named || PgConnectOptions::from_str(text).is_err() {
        violations.report(at, "is no URL such as postgres://host:5432/database");
    }
}

impl DatabaseSettings {
    fn contradictions(&self, at: &str, violations: &mut Violations) {
        for (key, secret) in [
            ("password", &self.password),
            ("migration_password", &self.migration_password),
        ] {
            if secret.is_placeholder() {
                violations.secret(&Violations::path(at, key), secret);
            }
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
            format_duration(self.acquire_timeout),
            format_duration(self.statement_timeout),
            format_duration(SERVER_GRACE)
        )
    }

    /// Reports a query that may outlast the request that it is for.
    pub fn check_within(&self, request_deadline: Duration, violations: &mut Violations) {
        let longest = self.longest_query();
        if longest > request_deadline {
            let rule = format_args!(
                "{} = {}, over server.request_deadline = {}",
                self.longest_query_because(),
                format_duration(longest),
                format_duration(request_deadline)
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
        let check = self.client_connection_check_interval;
        Ok(options.options([
            milliseconds("statement_timeout", self.statement_timeout),
            milliseconds("client_connection_check_interval", check),
            // For keys in an array the server would plan each time anew.
            ("plan_cache_mode", "force_generic_plan".to_owned()),
            // To compile a statement, as the server does where such a plan guesses many rows, takes
            // longer than to run it.
            ("jit", "off".to_owned()),
        ]))
    }

    /// How `migrate` and `seed` connect, as the role that owns the schema.
    pub(crate) fn migration_options(&self, owner: &str) -> sqlx::Result<PgConnectOptions> {
        self.options(owner, &self.migration_password)
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
