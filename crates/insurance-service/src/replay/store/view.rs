//! What operators see of replays.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{ComparisonCount, ComparisonOutcome, Replay, ReplayMode, ReplayStatus};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{super::compare::Differences, dry_run::read};
use crate::consumer::known;

struct Row {
    replay_id: Uuid,
    consumer: String,
    mode: String,
    status: String,
    from_position: Option<i64>,
    until_position: Option<i64>,
    position: i64,
    seen: i64,
    expected: i64,
    equal: i64,
    newer: i64,
    failed: i64,
    differences: String,
    per_second: Option<f64>,
    estimated_end_at: Option<String>,
    failure: Option<String>,
    reason: String,
    requested_by: String,
    created_at: String,
    ended_at: Option<String>,
}

impl Row {
    fn into_wire(self) -> sqlx::Result<Replay> {
        let mode = known(ReplayMode::named(&self.mode))?;
        let differences: Differences = read(&self.differences)?;
        let mut counts = BTreeMap::from([
            (ComparisonOutcome::Equal.name(), self.equal),
            (ComparisonOutcome::ReplicaAhead.name(), self.newer),
        ]);
        for difference in differences.values() {
            *counts.entry(&difference.outcome).or_default() += 1;
        }
        let outcomes = counts.into_iter().filter(|(_, count)| *count > 0);
        let outcomes = outcomes.map(|(outcome, count)| {
            let outcome = known(ComparisonOutcome::named(outcome))?;
            Ok(ComparisonCount { outcome, count })
        });
        let fields: BTreeSet<_> = differences.values().flat_map(|it| &it.fields).collect();
        Ok(Replay {
            replay_id: self.replay_id.to_string(),
            mode,
            status: known(ReplayStatus::named(&self.status))?,
            position: Some(self.position).filter(|position| *position > 0),
            outcomes: outcomes.collect::<sqlx::Result<_>>()?,
            fields: fields.into_iter().cloned().collect(),
            consumer: self.consumer,
            from_position: self.from_position,
            until_position: self.until_position,
            seen: self.seen,
            expected: self.expected,
            failed: self.failed,
            per_second: self.per_second,
            estimated_end_at: self.estimated_end_at,
            failure: self.failure,
            reason: self.reason,
            requested_by: self.requested_by,
            created_at: self.created_at,
            ended_at: self.ended_at,
        })
    }
}

/// The replay of this id, or the latest ones.
pub(crate) async fn replays(
    connection: &mut PgConnection,
    id: Option<Uuid>,
) -> sqlx::Result<Vec<Replay>> {
    // A rate is told once there was a second to measure it in.
    let rows = sqlx::query_as!(
        Row,
        r#"select replay_id, consumer, mode, status, from_position, until_position, position, seen,
             expected, equal, newer, failed, differences::text as "differences!",
             seen / nullif(lasted, 0) as per_second,
             case when ended_at is null then
                 to_char((clock_timestamp() + make_interval(
                     secs => greatest(expected - seen, 0) * lasted / nullif(seen, 0)
                 )) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
             end as estimated_end_at,
             failure, reason, requested_by,
             to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as "created_at!",
             to_char(ended_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as ended_at
         from insurance_replica.replays, lateral (
             select extract(epoch from coalesce(ended_at, clock_timestamp()) - started_at)::float8
                 as lasted
         ) as measured
         where $1::uuid is null or replay_id = $1
         order by replays.created_at desc, replay_id limit 50"#,
        id
    );
    let rows = rows.fetch_all(connection).await?;
    rows.into_iter().map(Row::into_wire).collect()
}
