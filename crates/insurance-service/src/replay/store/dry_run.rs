//! How far a dry run is, and what the copy has beside what it reads.

use std::collections::BTreeMap;

use service_database::Error;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    super::compare::{Details, Differences, Findings, Kept},
    end,
};

/// A dry run, as far as it is.
#[derive(Clone, Debug)]
pub(in crate::replay) struct DryRun {
    pub(in crate::replay) id: Uuid,
    pub(in crate::replay) from: i64,
    pub(in crate::replay) until: i64,
    pub(in crate::replay) log_id: Uuid,
    /// After which event it goes on.
    pub(in crate::replay) event_id: Option<Uuid>,
    pub(in crate::replay) position: i64,
    pub(in crate::replay) seen: i64,
    pub(in crate::replay) failed: i64,
    pub(in crate::replay) findings: Findings,
}

/// Begins a dry run, or goes on with it. `None`: it has ended, also because it was told to.
pub(in crate::replay) async fn resume(
    connection: &mut PgConnection,
    id: Uuid,
) -> Result<Option<DryRun>, Error> {
    if cancelled(connection, id).await? {
        return Ok(None);
    }
    let row = sqlx::query!(
        r#"update insurance_replica.replays
         set status = 'running', started_at = coalesce(started_at, clock_timestamp())
         where replay_id = $1 and status in ('pending', 'running')
         returning from_position as "from!", until_position as "until!", log_id as "log_id!",
             event_id, position, seen, failed, equal, newer, differences::text as "differences!""#,
        id
    );
    let Some(row) = row.fetch_optional(connection).await? else {
        return Ok(None);
    };
    Ok(Some(DryRun {
        id,
        from: row.from,
        until: row.until,
        log_id: row.log_id,
        event_id: row.event_id,
        position: row.position,
        seen: row.seen,
        failed: row.failed,
        findings: Findings {
            equal: row.equal,
            newer: row.newer,
            differences: read(&row.differences)?,
        },
    }))
}

/// Ends a replay that was told to, and keeps its row locked otherwise.
async fn cancelled(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<bool> {
    let status = sqlx::query_scalar!(
        "select status from insurance_replica.replays where replay_id = $1 for update",
        id
    );
    let status = status.fetch_one(&mut *connection).await?;
    if status == "cancelling" {
        end(connection, id, "cancelled", None).await?;
    }
    Ok(!matches!(status.as_str(), "pending" | "running"))
}

/// What the copy that is read has of these vehicles.
pub(in crate::replay) async fn kept(
    connection: &mut PgConnection,
    numbers: &[String],
) -> sqlx::Result<BTreeMap<String, Kept>> {
    let rows = sqlx::query!(
        r#"select registration_number, version, make, model, model_year,
             deleted_at is not null as "deleted!"
         from insurance_replica.vehicles
         where generation = (select max(generation) from insurance_replica.consumers)
             and registration_number = any($1)"#,
        numbers
    );
    let rows = rows.fetch_all(connection).await?;
    let kept = rows.into_iter().map(|row| {
        let details = Details {
            make: row.make,
            model: row.model,
            model_year: row.model_year,
        };
        let kept = Kept {
            version: row.version,
            details: Some(details).filter(|_| !row.deleted),
        };
        (row.registration_number, kept)
    });
    Ok(kept.collect())
}

/// Writes down how far a dry run is. `false`: it has ended, also because it was told to.
pub(in crate::replay) async fn advance(
    connection: &mut PgConnection,
    run: &DryRun,
) -> Result<bool, Error> {
    if cancelled(connection, run.id).await? {
        return Ok(false);
    }
    let differences = written(&run.findings.differences)?;
    let advanced = sqlx::query!(
        "update insurance_replica.replays
         set event_id = $2, position = $3, seen = $4, failed = $5, equal = $6, newer = $7,
             differences = $8::text::jsonb
         where replay_id = $1",
        run.id,
        run.event_id,
        run.position,
        run.seen,
        run.failed,
        run.findings.equal,
        run.findings.newer,
        differences
    );
    advanced.execute(connection).await?;
    Ok(true)
}

/// Ends a dry run.
pub(in crate::replay) async fn finish(
    connection: &mut PgConnection,
    id: Uuid,
    failure: Option<&str>,
) -> Result<(), Error> {
    if !cancelled(connection, id).await? {
        let status = if failure.is_some() {
            "failed"
        } else {
            "completed"
        };
        end(connection, id, status, failure).await?;
    }
    Ok(())
}

pub(super) fn read(differences: &str) -> sqlx::Result<Differences> {
    serde_json::from_str(differences).map_err(|error| sqlx::Error::Decode(error.into()))
}

fn written(differences: &Differences) -> Result<String, Error> {
    let written = serde_json::to_string(differences);
    Ok(written.map_err(|error| sqlx::Error::Encode(error.into()))?)
}
