//! Orders to a consumer, in SQL.

use contracts::ConsumerMode;
use sqlx::PgConnection;

/// An order to a consumer.
pub(crate) struct Order {
    pub(crate) consumer: String,
    pub(crate) mode: ConsumerMode,
    pub(crate) by: String,
    pub(crate) reason: String,
    pub(crate) owner: Option<String>,
}

/// Gives an order. What went wrong before is over with it. A snapshot is a new one, also where one is
/// being made: what that has read already may be why there has to be another.
pub(crate) async fn give(connection: &mut PgConnection, order: &Order) -> sqlx::Result<()> {
    sqlx::query!(
        "update insurance_replica.consumers
         set mode = $2, mode_by = $3, mode_reason = $4, mode_owner = $5,
             filling = case when $2 <> 'snapshot' then filling end,
             snapshot_at = case when $2 <> 'snapshot' then snapshot_at end,
             mode_since = clock_timestamp(), last_error = null, last_error_at = null,
             updated_at = clock_timestamp()
         where consumer = $1",
        order.consumer,
        order.mode.name(),
        order.by,
        order.reason,
        order.owner
    )
    .execute(connection)
    .await
    .map(drop)
}

/// The value of a name that the schema's checks let in.
pub(crate) fn known<T>(found: Option<T>) -> sqlx::Result<T> {
    found.ok_or_else(|| sqlx::Error::Decode("a name that the release does not know".into()))
}
