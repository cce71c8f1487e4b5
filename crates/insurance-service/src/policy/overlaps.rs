//! Policies that were there before the rule of one cover at a time, and break it.

use sqlx::PgConnection;

/// The step that imports the policies that were there before, and marks those that overlap.
const IMPORT: i64 = 4;

/// Says which policies cover a car on days that another one covers, or will when the import has
/// looked at them. All have begun together and none has ended before it.
pub(crate) async fn overlaps(connection: &mut PgConnection, applied: i64) -> sqlx::Result<String> {
    let found: Vec<i64> = if applied < IMPORT {
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
            "select distinct insurance_id from insurance.covers where overlapping
             order by insurance_id"
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
