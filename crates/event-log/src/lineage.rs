use sqlx::PgConnection;
use uuid::Uuid;

use crate::EventLog;

/// A log, and those that it goes on from.
pub(crate) struct Lineage {
    log_id: Uuid,
    /// With the position of the last event that is left of each.
    former: Vec<(Uuid, i64)>,
}

impl Lineage {
    pub(crate) async fn read(
        log: &EventLog,
        connection: &mut PgConnection,
        log_id: Uuid,
    ) -> sqlx::Result<Self> {
        let select = log.sql("select log_id, position from event_log.former_logs");
        let former = sqlx::query_as(select).fetch_all(connection).await?;
        Ok(Self { log_id, former })
    }

    /// The largest checkpoint of this origin that the log has to agree with. `None`: it is of
    /// another log.
    pub(crate) fn largest_of(&self, origin: &str) -> Option<u64> {
        let id = log_id(origin)?;
        if id == self.log_id {
            return Some(u64::MAX);
        }
        let former = self.former.iter().find(|(former, _)| *former == id);
        former.map(|(_, position)| position.unsigned_abs())
    }
}

/// Which log an origin names.
pub(crate) fn log_id(origin: &str) -> Option<Uuid> {
    origin.rsplit_once('/')?.1.parse().ok()
}
