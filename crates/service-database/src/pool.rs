use std::{future::Future, time::Duration};

use opentelemetry::{KeyValue, metrics::Meter};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::time::timeout;

use crate::{DatabaseSettings, Error};

/// The database of a running service. Clones share one pool.
#[derive(Clone, Debug)]
pub struct Database {
    pool: PgPool,
    limit: Duration,
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
            limit: settings.longest_query(),
        })
    }

    /// Connects once, ahead of the first request, which has only `acquire_timeout` for it. A
    /// database that is away is told by the readiness.
    pub async fn warm_up(&self) {
        if let Err(error) = self.bounded(self.pool.acquire()).await {
            tracing::warn!(%error, "no database connection yet");
        }
    }

    /// What queries run on.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Waits for a query, but not for a server that neither answers nor cancels.
    pub async fn bounded<T>(
        &self,
        query: impl Future<Output = sqlx::Result<T>>,
    ) -> Result<T, Error> {
        match timeout(self.limit, query).await {
            // The pool had room for one more connection, but the server gave none.
            Ok(Err(error @ sqlx::Error::PoolTimedOut)) if self.has_room() => {
                Err(Error::Unavailable(error))
            }
            Ok(result) => result.map_err(Error::from),
            Err(_) => Err(Error::TimedOut),
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
