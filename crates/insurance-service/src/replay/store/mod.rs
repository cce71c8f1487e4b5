//! Replays in SQL.

mod dry_run;
mod order;
mod view;

use contracts::{ReplayMode, ReplayStatus};
use service_database::Error;
use sqlx::PgConnection;
use uuid::Uuid;

pub(super) use self::dry_run::{DryRun, advance, finish, kept, resume};
pub(crate) use self::{
    order::{Cancel, New, Start, cancel, copy, start},
    view::replays,
};
use crate::consumer::known;

/// A replay that has not ended.
pub(super) struct Active {
    pub(super) id: Uuid,
    pub(super) mode: ReplayMode,
}

/// The oldest replay that has not ended.
pub(super) async fn active(connection: &mut PgConnection) -> sqlx::Result<Option<Active>> {
    let row = sqlx::query!(
        "select replay_id, mode from insurance_replica.replays
         where status in ('pending', 'running', 'cancelling') order by created_at limit 1"
    );
    let row = row.fetch_optional(connection).await?;
    row.map(|row| {
        let mode = known(ReplayMode::named(&row.mode))?;
        Ok(Active {
            id: row.replay_id,
            mode,
        })
    })
    .transpose()
}

/// Gives a replay that has not ended another status, and forgets which vehicles differ. In one
/// statement: at a second change of the row PostgreSQL looks for the consumer that it names, and waits
/// for the page that this is at.
async fn end(
    connection: &mut PgConnection,
    id: Uuid,
    status: &str,
    failure: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update insurance_replica.replays
         set status = $2, failure = $3,
             ended_at = case when $2 <> 'cancelling' then clock_timestamp() end,
             differences = (
                 select coalesce(jsonb_object_agg(number::text, found), '{}')
                 from jsonb_path_query(differences, '$.*') with ordinality as each (found, number)
             )
         where replay_id = $1 and status in ('pending', 'running', 'cancelling')",
        id,
        status,
        failure
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Looks what the consumer has made of a rebuild; `None` while it is at work.
pub(super) async fn watch(
    connection: &mut PgConnection,
    id: Uuid,
) -> Result<Option<ReplayStatus>, Error> {
    let row = sqlx::query!(
        "update insurance_replica.replays
         set seen = next.seen, status = next.status,
             failure = case when next.status = 'failed' then 'given_up' end,
             ended_at = case when next.status <> 'running' then clock_timestamp() end
         from (
             select replay_id as id,
                 case when one.generation in (its.generation, its.filling)
                     then filled else seen end as seen,
                 case
                     when its.generation = one.generation then 'completed'
                     when its.filling = one.generation then 'running'
                     when generations < one.generation and its.mode <> 'follow' then 'running'
                     else 'failed'
                 end as status
             from insurance_replica.replays as one
                 join insurance_replica.consumers as its using (consumer)
             where replay_id = $1
         ) as next
         where replay_id = next.id and replays.status = 'running'
         returning replays.status",
        id
    );
    let row = row.fetch_optional(connection).await?;
    let status = row.map(|row| known(ReplayStatus::named(&row.status)));
    let status = status.transpose()?;
    Ok(status.filter(|status| *status != ReplayStatus::Running))
}
