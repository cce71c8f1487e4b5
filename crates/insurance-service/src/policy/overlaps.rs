//! Policies that were there before the rule of one cover at a time, and break it.

use sqlx::PgConnection;

/// The step that gives policies their days, and the tables that the next one imports them into.
const DAYS: i64 = 3;

/// Says which policies cover a car on days that another one covers, or will when the import has
/// looked at them, by number. It may have been stopped half-way.
pub(crate) async fn overlaps(connection: &mut PgConnection, applied: i64) -> sqlx::Result<String> {
    let found: Vec<i64> = if applied < DAYS {
        // All begin together, and none ends.
        sqlx::query_scalar(
            "select insurance_id from (
                 select insurance_id, row_number() over (
                     partition by car_registration_number order by insurance_id
                 ) as place
                 from insurance.insurances where car_registration_number is not null
             ) as placed
             where place > 1 order by insurance_id",
        )
        .fetch_all(connection)
        .await?
    } else {
        sqlx::query_scalar!(
            r#"with coming as (
                 select insurance_id, car_registration_number as car, daterange(
                     valid_from,
                     case when until > valid_from then until when until is not null then valid_from end
                 ) as days
                 from insurance.insurances
                     cross join lateral (select least(valid_until, cancelled_on) as until) ends
                 where car_registration_number is not null and status <> 'draft'
                     and (until is not null or status not in ('cancelled', 'expired'))
                     and not exists (
                         select from insurance_events.events
                         where aggregate_type = 'policy' and aggregate_id = insurance_id::text
                             and events.version <= insurances.version
                             and event_type in ('policy.imported.v1', 'policy.drafted.v1')
                     )
             )
             select insurance_id as "insurance_id!" from insurance.covers where overlapping
             union
             select insurance_id from coming
             where exists (
                     select from insurance.covers where car = coming.car and cover && coming.days
                 ) or exists (
                     select from coming earlier
                     where car = coming.car and insurance_id < coming.insurance_id
                         and days && coming.days
                 )
             order by 1"#
        )
        .fetch_all(connection)
        .await?
    };
    let numbers: Vec<_> = found.iter().map(i64::to_string).collect();
    Ok(if numbers.is_empty() {
        "no policy covers a car on days that another one covers\n".to_owned()
    } else {
        let numbers = numbers.join(", ");
        format!(
            "policies that cover a car on days that another one covers, and stay as they are, \
             marked: {numbers}\n"
        )
    })
}
