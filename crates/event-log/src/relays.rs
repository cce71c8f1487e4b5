//! The lease of the relays that publish a log elsewhere, one process at a time for each, and how far
//! they were when they last said so.
//!
//! Neither is what keeps the events in their order: whoever publishes has to see to that where they
//! go to. The lease spares the others the work.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::EventLog;

impl EventLog {
    /// Renews the lease of this fence, or takes it where nobody holds it, for 15 seconds: the fence,
    /// which is `None` where another process holds it.
    pub async fn lease_relay(
        &self,
        connection: &mut PgConnection,
        relay: &str,
        held: Option<i64>,
    ) -> sqlx::Result<Option<i64>> {
        let update = self.sql(
            "update event_log.relays
             set fence = case when fence = $2 then fence else fence + 1 end,
                 leased_until = clock_timestamp() + interval '15 seconds'
             where relay = $1 and (fence = $2 or leased_until <= clock_timestamp())
             returning fence",
        );
        let update = sqlx::query_scalar(update).bind(relay).bind(held);
        update.fetch_optional(connection).await
    }

    /// Ends the lease, where it is still that of this fence.
    pub async fn end_relay_lease(
        &self,
        connection: &mut PgConnection,
        relay: &str,
        fence: i64,
    ) -> sqlx::Result<()> {
        let update = self.sql(
            "update event_log.relays set leased_until = '-infinity'
             where relay = $1 and fence = $2",
        );
        let update = sqlx::query(update).bind(relay).bind(fence);
        update.execute(connection).await.map(drop)
    }

    /// Notes how far the holder of the lease is.
    pub async fn note_relayed(
        &self,
        connection: &mut PgConnection,
        (relay, fence): (&str, i64),
        (stream, position): (&str, i64),
    ) -> sqlx::Result<()> {
        let update = self.sql(
            "update event_log.relays set stream = $3, position = $4, updated_at = clock_timestamp()
             where relay = $1 and fence = $2",
        );
        let update = sqlx::query(update).bind(relay).bind(fence);
        let update = update.bind(stream).bind(position);
        update.execute(connection).await.map(drop)
    }

    /// How many events the log has after the last one that a relay was noted to have published: all
    /// of them, where that was into the stream of another log. A stream is named by this prefix and the
    /// log's id.
    pub async fn relay_lag(
        &self,
        connection: &mut PgConnection,
        relay: &str,
        prefix: &str,
    ) -> sqlx::Result<i64> {
        let select = self.sql(
            "select greatest(head.position - case
                 when relays.stream = $2 || head.log_id::text then relays.position else 0
             end, 0)
             from event_log.head, event_log.relays where relay = $1",
        );
        sqlx::query_scalar(select)
            .bind(relay)
            .bind(prefix)
            .fetch_one(connection)
            .await
    }

    /// The ids of the logs that this one goes on from.
    pub async fn former_ids(&self, connection: &mut PgConnection) -> sqlx::Result<Vec<Uuid>> {
        let select = self.sql("select log_id from event_log.former_logs");
        sqlx::query_scalar(select).fetch_all(connection).await
    }
}
