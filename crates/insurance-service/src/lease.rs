//! The leases of jobs that one process does at a time, on the table `insurance.workers`.
//!
//! A process that dies leaves its lease to end by the database's clock. One that was merely stopped
//! for longer finds another one at work: each transaction of a job begins with [`Lease::renew`],
//! which looks at the fence and keeps the row locked, so that nobody takes the lease before the
//! commit.

use std::time::Duration;

use service_database::{Database, Error};
use service_defaults::chain;
use sqlx::PgConnection;

/// What a job is leased by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    /// The job's row in `insurance.workers`.
    pub(crate) worker: &'static str,
    /// How long it lasts without being renewed.
    pub(crate) lasts: Duration,
}

/// How long a transaction may take that does nothing else.
const LIMIT: Duration = Duration::from_secs(5);

impl Lease {
    /// [`Self::hold`] in a transaction of its own.
    pub(crate) async fn keep(
        self,
        database: &Database,
        held: Option<i64>,
    ) -> Result<Option<i64>, Error> {
        let step = (self, held);
        let kept = database.transaction(LIMIT, &step, |connection, (lease, held)| {
            Box::pin(async { Ok(lease.hold(connection, *held).await?) })
        });
        kept.await
    }

    /// Lets another process take over at once. Without it, the lease ends by the clock.
    pub(crate) async fn leave(self, database: &Database, held: &mut Option<i64>) {
        let Some(fence) = held.take() else {
            return;
        };
        let step = (self, fence);
        let left: Result<(), Error> = database
            .transaction(LIMIT, &step, |connection, (lease, fence)| {
                Box::pin(async { Ok(lease.give_back(connection, *fence).await?) })
            })
            .await;
        if let Err(error) = left {
            tracing::debug!(error = chain(&error), "the lease was not given back");
        }
    }

    /// Renews the lease of this fence, or takes it where nobody holds it: the fence, which is
    /// `None` where another process holds it.
    pub(crate) async fn hold(
        self,
        connection: &mut PgConnection,
        held: Option<i64>,
    ) -> sqlx::Result<Option<i64>> {
        if let Some(fence) = held
            && self.renew(connection, fence).await?
        {
            return Ok(held);
        }
        sqlx::query_scalar!(
            "update insurance.workers
             set fence = fence + 1, leased_until = clock_timestamp() + make_interval(secs => $2)
             where worker = $1 and leased_until <= clock_timestamp()
             returning fence",
            self.worker,
            self.lasts.as_secs_f64()
        )
        .fetch_optional(connection)
        .await
    }

    /// Renews the lease within a transaction of the job. `false`: another process has taken it.
    pub(crate) async fn renew(
        self,
        connection: &mut PgConnection,
        fence: i64,
    ) -> sqlx::Result<bool> {
        let renewed = sqlx::query!(
            "update insurance.workers
             set leased_until = clock_timestamp() + make_interval(secs => $3)
             where worker = $1 and fence = $2",
            self.worker,
            fence,
            self.lasts.as_secs_f64()
        )
        .execute(connection)
        .await?;
        Ok(renewed.rows_affected() > 0)
    }

    /// Ends the lease, where it is still that of this fence.
    async fn give_back(self, connection: &mut PgConnection, fence: i64) -> sqlx::Result<()> {
        sqlx::query!(
            "update insurance.workers set leased_until = '-infinity'
             where worker = $1 and fence = $2",
            self.worker,
            fence
        )
        .execute(connection)
        .await
        .map(drop)
    }
}
