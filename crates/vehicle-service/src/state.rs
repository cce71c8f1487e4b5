//! Whether each vehicle is what the last of its events says.

use event_log::Comparison;
use sqlx::PgConnection;

use crate::store;

/// Compares each vehicle with its last event. One that is older than the log has none and is passed
/// over.
pub(crate) async fn compare(connection: &mut PgConnection) -> sqlx::Result<Comparison> {
    let (mut found, mut after) = (Comparison::default(), String::new());
    loop {
        let page = store::last_told(connection, &after).await?;
        let Some(last) = page.last() else {
            return Ok(found);
        };
        after.clone_from(&last.registration_number);
        for it in page {
            found.compared += 1;
            if !it.same {
                // The report is logged, where registration numbers are not shown.
                found.differs(format!("the vehicle of the event {}", it.event_id));
            }
        }
    }
}
