//! Policies and their covers in SQL.

mod change;
mod lists;

use contracts::{
    Day, Money, PersonalIdentityNumber, PolicyEvent, PolicyStatus, Product, RegistrationNumber,
};
use event_log::{EventLog, NewEvent, Origin, new_event_id};
use sqlx::PgConnection;

pub(crate) use self::{
    change::Change,
    lists::{Due, Told, due, ids, of_status, told, with_car, without_row},
};
use super::{
    decide::Terms,
    idempotency::{Claim, Kept},
    state::{Cover, State},
};
use crate::unreadable::Unreadable;

/// A policy as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) policy: State,
    /// Whether its person was erased.
    pub(crate) erased: bool,
    /// The beginning of the event log's id: entity tags from before a restore that lost versions
    /// have another one.
    pub(crate) log: String,
}

/// Values as texts, which the types parse, and what is kept under a key.
struct Row {
    insurance_id: i64,
    product: String,
    status: String,
    version: i64,
    valid_from: String,
    valid_until: Option<String>,
    cancelled_on: Option<String>,
    monthly_cost: String,
    car_registration_number: Option<String>,
    erased: bool,
    covers: String,
    log: String,
    fingerprint: Option<Vec<u8>>,
    answered: Option<i16>,
    headers: Option<String>,
    body: Option<Vec<u8>>,
}

/// Selects policies, with these columns of what is kept.
macro_rules! select {
    ($kept:literal, $rest:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"select policy.insurance_id, product, policy.status, version,
                 valid_from::text as "valid_from!", valid_until::text, cancelled_on::text,
                 trim_scale(monthly_cost)::text as "monthly_cost!", car_registration_number,
                 personal_identity_number is null as "erased!",
                 coalesce((
                     select json_agg(json_build_object(
                         'from', lower(cover), 'until', upper(cover), 'car', car,
                         'monthlyCost', trim_scale(monthly_cost), 'overlapping', overlapping
                     ) order by cover)
                     from insurance.covers where covers.insurance_id = policy.insurance_id
                 ), '[]')::text as "covers!",
                 (select left(log_id::text, 4) from insurance_events.head) as "log!", "#
                + $kept
                + "
             from insurance.insurances as policy
             "
                + $rest,
            $($argument),*
        )
    };
}

/// The policies of these numbers that there are, by number. One that cannot be read does not take
/// the others with it.
pub(crate) async fn find(
    connection: &mut PgConnection,
    ids: &[i64],
) -> sqlx::Result<Vec<Result<Stored, Unreadable>>> {
    let select = select!(
        "null::bytea as fingerprint, null::smallint as answered, null::text as headers,
                 null::bytea as body",
        "where policy.insurance_id = any($1) order by policy.insurance_id",
        ids
    );
    let rows = select.fetch_all(connection).await?;
    Ok(rows.into_iter().map(Stored::try_from).collect())
}

/// The policy of this number, if there is one.
pub(crate) async fn find_one(
    connection: &mut PgConnection,
    id: i64,
) -> sqlx::Result<Option<Stored>> {
    let found = look(connection, id, None).await?;
    Ok(found.map(|(stored, _)| stored))
}

/// The policy of this number, if there is one, with what is kept under a key. `= any` of one number
/// would be planned anew each time, which costs more than the statement.
pub(crate) async fn look(
    connection: &mut PgConnection,
    id: i64,
    claim: Option<&Claim>,
) -> sqlx::Result<Option<(Stored, Option<Kept>)>> {
    let select = select!(
        r#"fingerprint as "fingerprint?", kept.status as answered, headers::text, body"#,
        "left join insurance.idempotency_keys as kept
                 on kept.caller = $2 and kept.key = $3
                 and kept.created_at > now() - interval '24 hours'
             where policy.insurance_id = $1",
        id,
        claim.map(|claim| claim.caller.as_str()),
        claim.map(|claim| claim.key.as_str())
    );
    let Some(mut found) = select.fetch_optional(connection).await? else {
        return Ok(None);
    };
    let kept = found.fingerprint.take().map(|fingerprint| Kept {
        fingerprint,
        status: found.answered,
        headers: found.headers.take(),
        body: found.body.take(),
    });
    let stored = Stored::try_from(found).map_err(unreadable)?;
    Ok(Some((stored, kept)))
}

/// The policy of this number, which nobody else changes until the end of the transaction.
pub(crate) async fn lock(connection: &mut PgConnection, id: i64) -> sqlx::Result<Option<Stored>> {
    // By a statement of its own: what the next one sees of the covers is as new as the row.
    sqlx::query("select from insurance.insurances where insurance_id = $1 for no key update")
        .bind(id)
        .execute(&mut *connection)
        .await?;
    find_one(connection, id).await
}

/// The same, unless somebody else is changing it now.
pub(crate) async fn lock_if_free(
    connection: &mut PgConnection,
    id: i64,
) -> sqlx::Result<Option<State>> {
    let lock = "select from insurance.insurances
        where insurance_id = $1 for no key update skip locked";
    let locked = sqlx::query(lock).bind(id).execute(&mut *connection).await?;
    if locked.rows_affected() == 0 {
        return Ok(None);
    }
    let found = find_one(connection, id).await?;
    Ok(found.map(|stored| stored.policy))
}

/// Lets this transaction be the only one that covers these cars, which everybody names in one order,
/// so that no two of them wait for each other.
pub(crate) async fn lock_cars(connection: &mut PgConnection, cars: &[String]) -> sqlx::Result<()> {
    // By a statement each: two waits in one of them would come near to `statement_timeout`.
    for car in cars {
        sqlx::query("select pg_advisory_xact_lock(hashtextextended('car/' || $1, 5082))")
            .bind(car)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Has whoever drafts for a person and whoever erases the person come one after the other, so that
/// an erasure finds each draft that was begun before it. Who sees the lock finds no number by it.
pub(crate) async fn lock_person(
    connection: &mut PgConnection,
    person: &PersonalIdentityNumber,
) -> sqlx::Result<()> {
    sqlx::query(
        "select pg_advisory_xact_lock(
             ('x' || left(encode(sha256(key || convert_to($1, 'UTF8')), 'hex'), 16))::bit(64)::bigint
         ) from insurance.person_lock_key",
    )
    .bind(person.expose_digits())
    .fetch_one(connection)
    .await
    .map(drop)
}

/// Bounds each wait for a lock in the rest of this transaction.
pub(crate) async fn wait_shortly(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql("set local lock_timeout = '250ms'")
        .execute(connection)
        .await
        .map(drop)
}

/// The row of a draft.
pub(crate) struct Added {
    pub(crate) insurance_id: i64,
    /// As in [`Stored`].
    pub(crate) log: String,
}

/// Adds the row of a draft.
pub(crate) async fn add(
    connection: &mut PgConnection,
    person: &PersonalIdentityNumber,
    terms: &Terms,
    price: Money,
) -> sqlx::Result<Added> {
    sqlx::query_as!(
        Added,
        r#"insert into insurance.insurances
             (personal_identity_number, product, status, valid_from, valid_until, monthly_cost,
              car_registration_number)
         values ($1, $2, 'draft', $3::text::date, $4::text::date, $5::text::numeric, $6)
         returning insurance_id,
             (select left(log_id::text, 4) from insurance_events.head) as "log!""#,
        person.expose_digits(),
        terms.product.name(),
        terms.valid_from.to_string(),
        terms.valid_until.map(|day| day.to_string()),
        price.to_string(),
        terms.car.as_ref().map(RegistrationNumber::as_str)
    )
    .fetch_one(connection)
    .await
}

/// Appends the event that made a policy what it is, and gives the event's id.
pub(crate) async fn tell(
    connection: &mut PgConnection,
    log: &EventLog,
    origin: &Origin,
    policy: &State,
    event: &PolicyEvent,
) -> sqlx::Result<String> {
    let data = serde_json::to_string(event).map_err(unreadable)?;
    let event = NewEvent {
        id: new_event_id(),
        aggregate_type: "policy",
        aggregate_id: &policy.insurance_id.to_string(),
        version: policy.version,
        event_type: event.kind(),
        origin,
        data: &data,
    };
    log.append(connection, &event).await?;
    Ok(event.id.to_string())
}

/// Another policy's period with one of these cars on these days.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conflict {
    pub(crate) insurance_id: i64,
    pub(crate) from: Day,
    pub(crate) until: Option<Day>,
}

/// The first period of another policy that a policy's covers would overlap.
pub(crate) async fn find_conflict(
    connection: &mut PgConnection,
    policy: &State,
) -> sqlx::Result<Option<Conflict>> {
    for cover in policy.covers.iter().filter(|cover| !cover.overlapping) {
        // `is true` has the covers of the car looked at, and not those of everybody on these days.
        let found = sqlx::query!(
            r#"select insurance_id, lower(cover)::text as "from!", upper(cover)::text as until
             from insurance.covers
             where car = $1 and (cover && daterange($2::text::date, $3::text::date)) is true
                 and insurance_id <> $4 and not overlapping
             order by cover limit 1"#,
            cover.car.as_ref().map(RegistrationNumber::as_str),
            cover.from.to_string(),
            cover.until.map(|day| day.to_string()),
            policy.insurance_id
        )
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(found) = found {
            return Ok(Some(Conflict {
                insurance_id: found.insurance_id,
                from: parsed(&found.from)?,
                until: found.until.as_deref().map(parsed).transpose()?,
            }));
        }
    }
    Ok(None)
}

impl TryFrom<Row> for Stored {
    type Error = Unreadable;

    fn try_from(row: Row) -> Result<Self, Unreadable> {
        let insurance_id = row.insurance_id;
        let unreadable = |column| Unreadable {
            insurance_id,
            column,
        };
        let day = |text: Option<String>, column| {
            let day = text.map(|text| text.parse()).transpose();
            day.map_err(|_| unreadable(column))
        };
        let covers: Vec<Cover> =
            serde_json::from_str(&row.covers).map_err(|_| unreadable("covers"))?;
        let car = row.car_registration_number.map(|car| car.parse());
        Ok(Self {
            policy: State {
                insurance_id,
                product: Product::named(&row.product).ok_or(unreadable("product"))?,
                status: PolicyStatus::named(&row.status).ok_or(unreadable("status"))?,
                version: row.version,
                valid_from: day(Some(row.valid_from), "valid_from")?
                    .ok_or(unreadable("valid_from"))?,
                valid_until: day(row.valid_until, "valid_until")?,
                cancelled_on: day(row.cancelled_on, "cancelled_on")?,
                monthly_cost: row
                    .monthly_cost
                    .parse()
                    .map_err(|_| unreadable("monthly_cost"))?,
                car: car
                    .transpose()
                    .map_err(|_| unreadable("car_registration_number"))?,
                covers,
            },
            erased: row.erased,
            log: row.log,
        })
    }
}

pub(super) fn parsed<T>(text: &str) -> sqlx::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    text.parse().map_err(unreadable)
}

/// A value that the schema's checks should have refused, or that a newer release knows.
pub(crate) fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
