use sqlx::PgConnection;
use uuid::Uuid;

use crate::{EventLog, NewEvent, Origin};

impl EventLog {
    /// Appends an event in the transaction of this connection, which has to be that of the change.
    ///
    /// # Errors
    ///
    /// A version that has been told already breaks the constraint `one_event_per_version`. Never
    /// work around it with `on conflict do nothing`: the event would be lost without a word.
    pub async fn append(
        &self,
        connection: &mut PgConnection,
        event: &NewEvent<'_>,
    ) -> sqlx::Result<()> {
        let insert = self.sql(
            "insert into event_log.events
                 (event_id, aggregate_type, aggregate_id, version, event_type,
                  actor, correlation_id, causation_id, traceparent, data)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::json)",
        );
        sqlx::query(insert)
            .bind(event.id)
            .bind(event.aggregate_type)
            .bind(event.aggregate_id)
            .bind(event.version)
            .bind(event.event_type)
            .bind(&event.origin.actor)
            .bind(&event.origin.correlation_id)
            .bind(event.origin.causation_id)
            .bind(&event.origin.traceparent)
            .bind(event.data)
            .execute(connection)
            .await
            .map(drop)
    }
}

impl Origin {
    /// Tells the triggers of this connection's transaction who changes rows, for tables whose
    /// events are written by a trigger. The id is for a change of one row only: each event has its
    /// own.
    pub async fn announce(
        &self,
        connection: &mut PgConnection,
        event_id: Option<Uuid>,
    ) -> sqlx::Result<()> {
        // The last argument: until the end of the transaction.
        sqlx::query(
            "select set_config('threadpilot.event_id', coalesce($1::text, ''), true),
                    set_config('threadpilot.actor', $2, true),
                    set_config('threadpilot.correlation_id', $3, true),
                    set_config('threadpilot.causation_id', coalesce($4::text, ''), true),
                    set_config('threadpilot.traceparent', coalesce($5, ''), true)",
        )
        .bind(event_id)
        .bind(&self.actor)
        .bind(&self.correlation_id)
        .bind(self.causation_id)
        .bind(&self.traceparent)
        .execute(connection)
        .await
        .map(drop)
    }
}
