use std::time::Duration;

use opentelemetry::{KeyValue, metrics::Meter};
use sqlx::{PgConnection, PgPool, postgres::PgPoolOptions};
use tokio::time::timeout;

use crate::{
    DatabaseSettings, Error,
    lease::{HangUp, Lease},
};

/// The database of a running service. Clones share one pool.
#[derive(Clone, Debug)]
pub struct Database {
    pool: PgPool,
    limit: Duration,
    hang_up: Option<HangUp>,
}

impl Database {
    /// Prepares a pool; connects when it is first needed, so that a service starts without its
    /// database and says so by its readiness.
    pub fn new(settings: &DatabaseSettings) -> sqlx::Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(settings.acquire_timeout)
            // A round trip before each query would double its cost. A connection that died while
            // it was idle fails one request, with 503.
            .test_before_acquire(false)
            .connect_lazy_with(settings.service_options()?);
        Ok(Self {
            pool,
            limit: settings.longest_statement(),
            hang_up: HangUp::new(
                settings.client_connection_check_interval,
                settings.max_connections,
            ),
        })
    }

    /// Connects once, ahead of the first request, which has only `acquire_timeout` for it. A
    /// database that is away is told by the readiness.
    pub async fn warm_up(&self) {
        if let Err(error) = self.bounded(async |_| Ok(())).await {
            tracing::warn!(%error, "no database connection yet");
        }
    }

    /// The connections. What waits for an answer of the server goes through [`Self::bounded`].
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Runs a query on a connection of the pool and waits for it, but not for a server that
    /// neither answers nor cancels. Dropped meanwhile, it makes the server end the statement.
    pub async fn bounded<T>(
        &self,
        query: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, Error> {
        let lease = Lease::take(&self.pool, self.hang_up.clone()).await;
        let mut lease = lease.map_err(|error| self.no_connection(error))?;
        if let Ok(result) = timeout(self.limit, query(lease.connection())).await {
            lease.give_back();
            result.map_err(Error::from)
        } else {
            lease.close();
            Err(Error::TimedOut)
        }
    }

    fn no_connection(&self, error: sqlx::Error) -> Error {
        match error {
            // The pool had room for one more connection, but the server gave none.
            sqlx::Error::PoolTimedOut if self.has_room() => Error::Unavailable(error),
            _ => error.into(),
        }
    }

    fn has_room(&self) -> bool {
        self.pool.size() < self.pool.options().get_max_connections()
    }

    /// Reports the pool's connections (OpenTelemetry database client metrics).
    pub fn observe(&self, meter: &Meter) {
        let labels = |state| {
            let name = KeyValue::new("db.client.connection.pool.name", "main");
            [name, KeyValue::new("db.client.connection.state", state)]
        };
        let pool = self.pool.clone();
        meter
            .i64_observable_up_down_counter("db.client.connection.count")
            .with_unit("{connection}")
            .with_description("Connections of the pool by state")
            .with_callback(move |count| {
                let idle = i64::try_from(pool.num_idle()).unwrap_or(i64::MAX);
                count.observe(idle, &labels("idle"));
                count.observe((i64::from(pool.size()) - idle).max(0), &labels("used"));
            })
            .build();
        let pool = self.pool.clone();
        meter
            .i64_observable_up_down_counter("db.client.connection.max")
            .with_unit("{connection}")
            .with_description("Most connections of the pool")
            .with_callback(move |max| {
                let name = KeyValue::new("db.client.connection.pool.name", "main");
                max.observe(i64::from(pool.options().get_max_connections()), &[name]);
            })
            .build();
    }
}
