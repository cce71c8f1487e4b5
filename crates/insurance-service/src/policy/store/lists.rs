//! Numbers of policies, and their events, page by page.

use contracts::{Day, PolicyStatus};
use sqlx::PgConnection;

/// The numbers of policies that have or had a day with this car.
pub(crate) async fn with_car(
    connection: &mut PgConnection,
    car: &str,
    after: i64,
    limit: i64,
) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select distinct insurance_id from insurance.covers
         where car = $1 and insurance_id > $2 order by insurance_id limit $3",
        car,
        after,
        limit
    )
    .fetch_all(connection)
    .await
}

/// The numbers of policies that have this status on a day: by what is stored, and those that their
/// dates have ended, as `State::status_on` has it.
pub(crate) async fn of_status(
    connection: &mut PgConnection,
    status: PolicyStatus,
    day: Day,
    after: i64,
    limit: i64,
) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!(
        // In the order of the index by status, and `offset 0` has those whose day has come found by
        // their day: for any values, the planner would walk along the primary key.
        r#"select insurance_id as "insurance_id!" from (
             (select insurance_id from insurance.insurances
              where (status, insurance_id) > ($1, $3) and status <= $1 and (
                  status not in ('active', 'suspended')
                  or coalesce(cancelled_on > $2::text::date, true)
                      and coalesce(valid_until > $2::text::date, true)
              )
              order by status, insurance_id limit $4)
             union all
             select insurance_id from (
                 select insurance_id from insurance.insurances
                 where $1 in ('expired', 'cancelled') and status in ('active', 'suspended')
                     and least(valid_until, cancelled_on) <= $2::text::date
                     and coalesce(cancelled_on <= $2::text::date, false) = ($1 = 'cancelled')
                 order by least(valid_until, cancelled_on), insurance_id offset 0
             ) as due where insurance_id > $3
         ) as found
         order by 1 limit $4"#,
        status.name(),
        day.to_string(),
        after,
        limit
    )
    .fetch_all(connection)
    .await
}

/// The next numbers of policies.
pub(crate) async fn ids(connection: &mut PgConnection, after: i64) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select insurance_id from insurance.insurances
         where insurance_id > $1 order by insurance_id limit 1000",
        after
    )
    .fetch_all(connection)
    .await
}

/// A policy that ends on a day, and where it stands among the others.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) insurance_id: i64,
    day: String,
}

impl Due {
    /// Before the first one.
    pub(crate) fn before_all() -> Self {
        Self {
            insurance_id: 0,
            day: "-infinity".to_owned(),
        }
    }
}

/// The next policies that end on this day or before and whose end is not written, by their day.
pub(crate) async fn due(
    connection: &mut PgConnection,
    day: Day,
    after: &Due,
) -> sqlx::Result<Vec<Due>> {
    sqlx::query_as!(
        Due,
        r#"select insurance_id, least(valid_until, cancelled_on)::text as "day!"
         from insurance.insurances
         where status in ('active', 'suspended')
             and least(valid_until, cancelled_on) <= $1::text::date
             and (least(valid_until, cancelled_on), insurance_id) > ($2::text::date, $3)
         order by least(valid_until, cancelled_on), insurance_id limit 100"#,
        day.to_string(),
        after.day,
        after.insurance_id
    )
    .fetch_all(connection)
    .await
}

/// An event of a policy, as it is stored.
pub(crate) struct Told {
    pub(crate) insurance_id: i64,
    pub(crate) version: i64,
    pub(crate) event_type: String,
    pub(crate) data: String,
}

/// The events of these policies, those of each by their versions.
pub(crate) async fn told(connection: &mut PgConnection, ids: &[i64]) -> sqlx::Result<Vec<Told>> {
    sqlx::query_as!(
        Told,
        r#"select aggregate_id::bigint as "insurance_id!", version, event_type, data::text as "data!"
         from insurance_events.events
         where aggregate_type = 'policy'
             and aggregate_id = any(select id::text from unnest($1::bigint[]) as id)
         order by version"#,
        ids
    )
    .fetch_all(connection)
    .await
}

/// The first numbers of policies that have events, no row and no event that removed it.
pub(crate) async fn without_row(connection: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        "select aggregate_id from insurance_events.events as told
         where aggregate_type = 'policy' and not exists (
             select from insurance.insurances where insurance_id::text = told.aggregate_id
         )
         group by aggregate_id having not bool_or(event_type = 'policy.removed.v1')
         order by aggregate_id limit 1000"
    )
    .fetch_all(connection)
    .await
}
