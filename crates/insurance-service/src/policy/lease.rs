//! The lease of a job that one process does at a time, on the table `insurance.workers`.
//!
//! A process that dies leaves its lease to end by the database's clock. One that was merely stopped
//! for longer finds another one at work: each transaction of the job begins with [`renew`], which
//! looks at the fence and keeps the row locked, so that nobody takes the lease before the commit.

use sqlx::PgConnection;

/// Renews the lease of this fence, or takes it where nobody holds it: the fence, which is `None`
/// where another process holds it.
pub(crate) async fn hold(
    connection: &mut PgConnection,
    worker: &str,
    held: Option<i64>,
) -> sqlx::Result<Option<i64>> {
    if let Some(fence) = held
        && renew(connection, worker, fence).await?
    {
        return Ok(held);
    }
    sqlx::query_scalar!(
        "update insurance.workers
         set fence = fence + 1, leased_until = clock_timestamp() + interval '2 minutes'
         where worker = $1 and leased_until <= clock_timestamp()
         returning fence",
        worker
    )
    .fetch_optional(connection)
    .await
}

/// Renews the lease within a transaction of the job. `false`: another process has taken it.
pub(crate) async fn renew(
    connection: &mut PgConnection,
    worker: &str,
    fence: i64,
) -> sqlx::Result<bool> {
    let renewed = sqlx::query!(
        "update insurance.workers set leased_until = clock_timestamp() + interval '2 minutes'
         where worker = $1 and fence = $2",
        worker,
        fence
    )
    .execute(connection)
    .await?;
    Ok(renewed.rows_affected() > 0)
}

/// Ends the lease, where it is still that of this fence.
pub(crate) async fn give_back(
    connection: &mut PgConnection,
    worker: &str,
    fence: i64,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update insurance.workers set leased_until = '-infinity'
         where worker = $1 and fence = $2",
        worker,
        fence
    )
    .execute(connection)
    .await
    .map(drop)
}
