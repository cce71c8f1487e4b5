use std::time::Duration;

use futures_util::future::BoxFuture;
use opentelemetry::{KeyValue, metrics::Meter};
use sqlx::PgConnection;
use tokio::time::{Instant, timeout};

use crate::{
    DatabaseSettings, Error,
    connections::{Connections, Session},
    finish::finish,
    transaction::{Transaction, Work},
};

/// A statement with its argument, which mostly reads. It may run twice.
pub type Read<A, T> = for<'a> fn(&'a mut PgConnection, &'a A) -> BoxFuture<'a, sqlx::Result<T>>;

/// Longest wait for a lock of a transaction that changes something.
const LOCK_TIMEOUT: Duration = Duration::from_millis(250);

/// The database of a running service. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Database {
    pub(crate) connections: Connections,
    pub(crate) max_connections: u32,
    limit: Duration,
    /// How long a statement goes on that nobody waits for any more.
    pub(crate) grace: Duration,
}

impl Database {
    /// Begins to open connections and does not wait for them, so that a service starts without its
    /// database and says so by its readiness. Needs a Tokio runtime.
    pub fn new(settings: &DatabaseSettings) -> sqlx::Result<Self> {
        Ok(Self {
            connections: Connections::new(settings)?,
            max_connections: settings.max_connections,
            limit: settings.longest_statement(),
            grace: settings.abandoned_grace,
        })
    }

    /// How long a command may take that reads everything, and each of its statements.
    pub const PATIENCE: Duration = Duration::from_hours(24);

    /// One connection for such a command, which waits for the server.
    pub fn patient(settings: &DatabaseSettings) -> sqlx::Result<Self> {
        Self::new(&DatabaseSettings {
            max_connections: 1,
            acquire_timeout: settings.wait_for_server,
            statement_timeout: Self::PATIENCE,
            ..settings.clone()
        })
    }

    /// Most connections that it has at once.
    pub fn max_connections(&self) -> u32 {
        self.max_connections
    }

    /// Runs a statement and waits for it, but not for a server that neither answers nor cancels.
    ///
    /// On a connection that turns out to be dead it runs once more, on a fresh one. Dropped
    /// meanwhile, it ends in a task, or where that takes long, the server ends the statement.
    pub async fn read<A, T>(&self, argument: A, read: Read<A, T>) -> Result<T, Error>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
    {
        let session = self.connections.lend().await?;
        finish(self.answer(session, argument, read), self.grace).await
    }

    /// Runs one statement that changes something and commits by itself, without the round trips of
    /// a transaction. As a read, it goes on where the caller leaves, and may run twice: the second
    /// run has to find what the first one has done.
    pub async fn change_at_once<A, T>(&self, argument: A, change: Read<A, T>) -> Result<T, Error>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
    {
        self.read(argument, change).await
    }

    /// The answer of a statement, at most for as long as any may take.
    pub(crate) fn answer<A, T>(
        &self,
        mut session: Session,
        argument: A,
        read: Read<A, T>,
    ) -> impl Future<Output = Result<T, Error>> + use<A, T> {
        let limit = self.limit;
        async move {
            let answer = timeout(limit, run(&mut session, &argument, read)).await;
            answer.unwrap_or_else(|_| {
                session.unanswered();
                Err(Error::TimedOut)
            })
        }
    }

    /// Runs statements that take effect together or not at all, within `limit`: the wait for a
    /// connection, every statement and the commit.
    ///
    /// On an error, over the limit and where the caller leaves meanwhile, it is rolled back; the
    /// next one to use the connection finds nothing of it. It runs once: only its beginning is
    /// tried again on a fresh connection. A commit that was cut off may have taken effect.
    pub async fn transaction<A, T, E>(
        &self,
        limit: Duration,
        argument: &A,
        work: Work<A, T, E>,
    ) -> Result<T, E>
    where
        A: Sync,
        T: Send,
        E: From<Error> + Send,
    {
        self.begin(limit, "", argument, work).await
    }

    /// A transaction that changes what others change, too: each of its waits for a lock takes 250 ms
    /// at most, and then fails with [`Error::Locked`].
    pub async fn change<A, T, E>(
        &self,
        limit: Duration,
        argument: &A,
        work: Work<A, T, E>,
    ) -> Result<T, E>
    where
        A: Sync,
        T: Send,
        E: From<Error> + Send,
    {
        let bounds = format!("; set local lock_timeout = {}", LOCK_TIMEOUT.as_millis());
        self.begin(limit, &bounds, argument, work).await
    }

    /// The same, with longer waits for a lock: each of its statements may take them besides the time
    /// that it has.
    pub async fn change_patiently<A, T, E>(
        &self,
        (limit, lock_timeout): (Duration, Duration),
        argument: &A,
        work: Work<A, T, E>,
    ) -> Result<T, E>
    where
        A: Sync,
        T: Send,
        E: From<Error> + Send,
    {
        let statement = lock_timeout + self.limit;
        let bounds = format!(
            "; set local lock_timeout = {}; set local statement_timeout = {}",
            lock_timeout.as_millis(),
            statement.as_millis()
        );
        self.begin(limit, &bounds, argument, work).await
    }

    async fn begin<A, T, E>(
        &self,
        limit: Duration,
        bounds: &str,
        argument: &A,
        work: Work<A, T, E>,
    ) -> Result<T, E>
    where
        A: Sync,
        T: Send,
        E: From<Error> + Send,
    {
        let began = Instant::now();
        let lent = timeout(limit, self.connections.lend()).await;
        let session = lent.unwrap_or_else(|_| Err(self.connections.none_free()))?;
        let transaction = Transaction::new(session, self.limit, self.grace);
        let rest = limit.saturating_sub(began.elapsed());
        let run = transaction.run((limit, bounds), argument, work);
        let done = timeout(rest, run).await;
        done.unwrap_or_else(|_| Err(Error::TimedOut.into()))
    }

    /// Waits, not longer than this, until all connections were open once.
    pub(crate) async fn filled(&self, longest: Duration) -> Result<(), Filling> {
        let filled = timeout(longest, self.connections.filled()).await;
        filled.map_err(|_| {
            let counts = self.connections.counts();
            Filling {
                open: counts.open - counts.opening,
                of: self.max_connections,
            }
        })
    }

    /// Reports the connections (OpenTelemetry database client metrics).
    pub fn observe(&self, meter: &Meter) {
        let labels = |state| {
            let name = KeyValue::new("db.client.connection.pool.name", "main");
            [name, KeyValue::new("db.client.connection.state", state)]
        };
        let connections = self.connections.clone();
        meter
            .i64_observable_up_down_counter("db.client.connection.count")
            .with_unit("{connection}")
            .with_description("Connections of the pool by state")
            .with_callback(move |count| {
                let now = connections.counts();
                count.observe(now.idle.into(), &labels("idle"));
                count.observe((now.open - now.idle).into(), &labels("used"));
            })
            .build();
        let most = self.max_connections;
        meter
            .i64_observable_up_down_counter("db.client.connection.max")
            .with_unit("{connection}")
            .with_description("Most connections of the pool")
            .with_callback(move |max| {
                let name = KeyValue::new("db.client.connection.pool.name", "main");
                max.observe(most.into(), &[name]);
            })
            .build();
    }
}

/// Runs a statement, on a fresh connection where the one that was lent turns out to be dead.
pub(crate) async fn run<A, T>(
    session: &mut Session,
    argument: &A,
    read: Read<A, T>,
) -> Result<T, Error> {
    let mut result = session.run(argument, read).await;
    if let Err(error) = &result
        && session.was_dead()
    {
        tracing::debug!(%error, "a database connection was dead; once more on a fresh one");
        session.replace().await?;
        result = session.run(argument, read).await;
    }
    Ok(result?)
}

/// The connections are not all open yet.
#[derive(Debug, thiserror::Error)]
#[error("{open} of {of} connections are open")]
pub(crate) struct Filling {
    open: u32,
    of: u32,
}
