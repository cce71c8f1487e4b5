//! The leases of jobs that one process does at a time, on the table `insurance.workers`.
//!
//! A process that dies leaves its lease to end by the database's clock. One that was merely stopped
//! for longer finds another one at work: each transaction of a job begins with [`Lease::renew`],
//! which looks at the fence and keeps the row locked, so that nobody takes the lease before the
//! commit.

use std::time::Duration;

use sqlx::PgConnection;

/// What a job is leased by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    /// The job's row in `insurance.workers`.
    pub(crate) worker: &'static str,
    /// How long it lasts without being renewed.
    pub(crate) lasts: Duration,
}

impl Lease {
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
    pub(crate) async fn give_back(
        self,
        connection: &mut PgConnection,
        fence: i64,
    ) -> sqlx::Result<()> {
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
