//! The `insurance` schema in SQL.

use std::{collections::HashMap, sync::Arc, time::Duration};

use contracts::{
    Day, Money, PersonalIdentityNumber, PolicyStatus, Product, RegistrationNumber, Vehicle,
};
use service_database::{Database, Error, Gathered};
use sqlx::{PgConnection, PgExecutor};

use crate::{
    enrichment::{CONSUMER, Copied},
    unreadable::Unreadable,
};

/// A policy as it is stored, with the car and the cost of today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) insurance_id: i64,
    pub(crate) product: Product,
    pub(crate) status: PolicyStatus,
    pub(crate) valid_from: Day,
    pub(crate) valid_until: Option<Day>,
    pub(crate) monthly_cost: Money,
    pub(crate) car: Option<RegistrationNumber>,
    /// What the copy says of the car; nothing where there is none, or where it was not read.
    pub(crate) copied: Option<Copied>,
}

/// Values as texts, so that one that breaks its type fails no other row.
struct Row {
    personal_identity_number: String,
    insurance_id: i64,
    product: String,
    status: String,
    valid_from: String,
    valid_until: Option<String>,
    monthly_cost: String,
    car_registration_number: Option<String>,
    /// In seconds; nothing where there is no copy.
    copy_age: Option<f64>,
    lacks_change_for: Option<f64>,
    is_known: bool,
    make: Option<String>,
    model: Option<String>,
    model_year: Option<i16>,
}

/// A person's policies by their ids. One that cannot be read does not take the others with it.
pub(crate) type Found = Vec<Result<Policy, Unreadable>>;

/// A person, and the day that it is.
pub(crate) type Asked = (PersonalIdentityNumber, Day);

/// Policies by person, those of several requests in one statement.
pub(crate) type Policies = Gathered<Asked, Found>;

pub(crate) fn policies(database: Database) -> Policies {
    Gathered::new(database, |connection, people| {
        Box::pin(select(connection, people))
    })
}

/// The same, with what the copy says of their cars.
pub(crate) fn policies_with_copy(database: Database) -> Policies {
    Gathered::new(database, |connection, people| {
        Box::pin(select_with_copy(connection, people))
    })
}

#[tracing::instrument(
    skip_all,
    fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "SELECT")
)]
pub(crate) async fn find_of_person(policies: &Policies, asked: Asked) -> Result<Found, Error> {
    policies.get(asked).await
}

/// Selects the policies of people on a day, each with its cover of that day, with what `$copy` adds to
/// each. `offset 0` has the periods of each policy, and the copy of each car, found by its number, and
/// no index knows a day in this form: `cover @>` would find everybody's, where the planner knows little of the tables.
macro_rules! select {
    ($columns:literal, $copy:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"select personal_identity_number as "personal_identity_number!", insurance_id, product, status,
                 valid_from::text as "valid_from!", valid_until::text,
                 trim_scale(period.monthly_cost)::text as "monthly_cost!",
                 period.car as car_registration_number, "#
                + $columns
                + "
             from insurance.insurances as policy
             cross join lateral (
                 select monthly_cost, car from insurance.covers
                 where covers.insurance_id = policy.insurance_id
                     and lower(cover) <= $2::text::date
                     and coalesce(upper(cover) > $2::text::date, true)
                 offset 0
             ) as period"
                + $copy
                + "
             where personal_identity_number = any($1)
             order by insurance_id",
            $($argument),*
        )
    };
}

/// The policies of each of these people, in their order: those with a cover that holds on the day,
/// which no draft has. Where a midnight came between two of them, it is the later day for both.
pub(crate) async fn select(
    executor: impl PgExecutor<'_>,
    asked: &[Asked],
) -> sqlx::Result<Vec<Found>> {
    let (people, day) = people_and_day(asked);
    let select = select!(
        r#"null::float8 as copy_age, null::float8 as lacks_change_for, false as "is_known!",
                 null as make, null as model, null::smallint as model_year"#,
        "",
        &people as &[&str],
        day
    );
    Ok(by_person(&people, select.fetch_all(executor).await?))
}

/// The same, with what the copy says of their cars: in one statement, because a second one would
/// cost an answer as much again. Its age is by the database's clock alone. A dead letter that names
/// no car may be about any; one that an operator has closed counts until a later event of the car, or
/// another copy, has told what it told. They are looked at by car only where there are any.
async fn select_with_copy(
    executor: impl PgExecutor<'_>,
    asked: &[Asked],
) -> sqlx::Result<Vec<Found>> {
    let (people, day) = people_and_day(asked);
    let select = select!(
        r#"extract(epoch from statement_timestamp() - caught_up_at)::float8 as "copy_age?",
                 case when exists (
                     select from insurance_replica.dead_letters as letter
                     where letter.consumer = $3 and superseded_at is null
                         and closed_by is distinct from 'worker/vehicle_replica'
                 ) then extract(epoch from statement_timestamp() - least(
                     (
                         select min(parked_at) from insurance_replica.dead_letters as letter
                         where letter.consumer = $3 and letter.registration_number = period.car
                             and superseded_at is null
                             and closed_by is distinct from 'worker/vehicle_replica'
                     ),
                     (
                         select min(parked_at) from insurance_replica.dead_letters as letter
                         where letter.consumer = $3 and letter.registration_number is null
                             and superseded_at is null
                             and closed_by is distinct from 'worker/vehicle_replica'
                     )
                 ))::float8 end as "lacks_change_for?",
                 vehicle.version is not null as "is_known!",
                 make as "make?", model as "model?", model_year as "model_year?""#,
        "
             left join insurance_replica.consumers as consumer
                 on consumer.consumer = $3 and caught_up_at is not null
             left join lateral (
                 select version, make, model, model_year from insurance_replica.vehicles
                 where vehicles.generation = consumer.generation
                     and vehicles.registration_number = period.car and deleted_at is null
                 offset 0
             ) as vehicle on true",
        &people as &[&str],
        day,
        CONSUMER
    );
    Ok(by_person(&people, select.fetch_all(executor).await?))
}

fn people_and_day(asked: &[Asked]) -> (Vec<&str>, Option<String>) {
    let people = asked.iter().map(|(person, _)| person.expose_digits());
    let day = asked.iter().map(|(_, day)| *day).max();
    (people.collect(), day.map(|day| day.to_string()))
}

fn by_person(people: &[&str], rows: Vec<Row>) -> Vec<Found> {
    let mut found: HashMap<_, Found> = HashMap::new();
    for row in rows {
        let of_person = found.entry(row.personal_identity_number.clone());
        of_person.or_default().push(row.try_into());
    }
    // Not `remove`: a person may be asked for on two days.
    let of_each = people.iter().map(|it| found.get(*it).cloned());
    of_each.map(Option::unwrap_or_default).collect()
}

pub(crate) async fn newest_migration(connection: &mut PgConnection) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!("select max(version) from insurance._sqlx_migrations where success")
        .fetch_one(connection)
        .await
}

impl TryFrom<Row> for Policy {
    type Error = Unreadable;

    fn try_from(row: Row) -> Result<Self, Unreadable> {
        let insurance_id = row.insurance_id;
        let unreadable = |column| Unreadable {
            insurance_id,
            column,
        };
        let product = Product::named(&row.product).ok_or(unreadable("product"))?;
        let status = PolicyStatus::named(&row.status).ok_or(unreadable("status"))?;
        let valid_from = row
            .valid_from
            .parse()
            .map_err(|_| unreadable("valid_from"))?;
        let valid_until = row
            .valid_until
            .map(|day| day.parse())
            .transpose()
            .map_err(|_| unreadable("valid_until"))?;
        let monthly_cost = row
            .monthly_cost
            .parse()
            .map_err(|_| unreadable("monthly_cost"))?;
        let car: Option<RegistrationNumber> = row
            .car_registration_number
            .map(|number| number.parse())
            .transpose()
            .map_err(|_| unreadable("car_registration_number"))?;
        let vehicle = car.clone().filter(|_| row.is_known).map(|number| {
            Arc::new(Vehicle {
                registration_number: number,
                make: row.make,
                model: row.model,
                model_year: row.model_year,
            })
        });
        // A clock that was set back makes nothing younger than new.
        let time = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let copied = row.copy_age.map(|age| Copied {
            vehicle,
            age: time(age),
            lacks_change_for: row.lacks_change_for.map(time),
        });
        Ok(Self {
            insurance_id,
            product,
            status,
            valid_from,
            valid_until,
            monthly_cost,
            car,
            copied,
        })
    }
}
