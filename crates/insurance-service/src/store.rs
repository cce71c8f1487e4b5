//! The `insurance` schema in SQL.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use contracts::{Day, Money, PersonalIdentityNumber, PolicyStatus, Product, RegistrationNumber};
use service_database::{Database, Error, Gathered};
use service_defaults::chain;
use sqlx::{PgConnection, PgExecutor};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::{
    enrichment::{CONSUMER, Copied},
    near_cache::{CopyState, NearCache, Vehicles},
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
    generation: Option<i64>,
    state: Option<Uuid>,
}

/// A person's policies by their ids. One that cannot be read does not take the others with it.
pub(crate) type Found = Vec<Result<Policy, Unreadable>>;

/// The same, without the vehicles, and the state of the copy in which they were read.
pub(crate) type OfCopy = (Option<CopyState>, Found);

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
#[derive(Clone)]
pub(crate) struct PoliciesWithCopy {
    policies: Gathered<Asked, OfCopy>,
    vehicles: NearCache,
}

impl PoliciesWithCopy {
    pub(crate) fn new(database: Database) -> Self {
        let policies = Gathered::new(database.clone(), |connection, people| {
            Box::pin(select_with_copy(connection, people))
        });
        Self {
            policies,
            vehicles: NearCache::new(database),
        }
    }

    #[tracing::instrument(
        skip_all,
        fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "SELECT")
    )]
    pub(crate) async fn find_of_person(&self, asked: Asked) -> Result<OfCopy, Error> {
        self.policies.get(asked).await
    }

    /// These with their vehicles, which are looked for until then. Without them there is no copy, as
    /// where it cannot be read.
    #[tracing::instrument(
        skip_all,
        fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "SELECT")
    )]
    pub(crate) async fn add_vehicles(&self, first: OfCopy, asked: Asked, until: Instant) -> Found {
        let vehicles = timeout_at(until, async {
            if let Some(vehicles) = self.vehicles_of(&first).await? {
                return Ok((None, Some(vehicles)));
            }
            // Another copy is read since.
            let second = self.policies.get(asked).await?;
            let vehicles = self.vehicles_of(&second).await?;
            Ok::<_, Error>((Some(second), vehicles))
        });
        let (second, vehicles) = match vehicles.await {
            Ok(Ok(looked)) => looked,
            Ok(Err(error)) => {
                tracing::warn!(
                    error = chain(&error),
                    "the copy of Vehicle's cars is not read"
                );
                (None, None)
            }
            Err(_) => (None, None),
        };
        let (_, mut found) = second.unwrap_or(first);
        for policy in found.iter_mut().flatten() {
            policy.copied = policy.copied.take().and_then(|copied| {
                let vehicle = vehicles.as_ref()?.get(policy.car.as_ref()?)?;
                Some(Copied {
                    vehicle: vehicle.clone(),
                    ..copied
                })
            });
        }
        found
    }

    /// What the copy has of their cars; `None` where it is another copy by now.
    async fn vehicles_of(&self, (state, found): &OfCopy) -> Result<Option<Vehicles>, Error> {
        let cars = found.iter().flatten().filter_map(|it| it.car.clone());
        let cars: BTreeSet<_> = cars.collect();
        match state {
            Some(state) if !cars.is_empty() => {
                let cars = cars.into_iter().collect();
                self.vehicles.find(*state, cars).await
            }
            _ => Ok(Some(Vehicles::new())),
        }
    }
}

#[tracing::instrument(
    skip_all,
    fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "SELECT")
)]
pub(crate) async fn find_of_person(policies: &Policies, asked: Asked) -> Result<Found, Error> {
    policies.get(asked).await
}

/// Selects the policies of people on a day, each with its cover of that day, with what `$copy` adds to
/// each. `offset 0` has the periods of each policy found by its number, and no index knows a day in this
/// form: `cover @>` would find everybody's, where the planner knows little of the tables.
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
        "null::float8 as copy_age, null::float8 as lacks_change_for,
                 null::bigint as generation, null::uuid as state",
        "",
        &people as &[&str],
        day
    );
    Ok(by_person(&people, select.fetch_all(executor).await?))
}

/// The same, with the state of the copy and what is known of each car's letters; the vehicles come
/// out of memory or with a second statement. The age of the copy is by the database's clock alone. A dead letter that names
/// no car may be about any; one that an operator has closed counts until a later event of the car, or
/// another copy, has told what it told. They are looked at by car only where there are any.
async fn select_with_copy(
    executor: impl PgExecutor<'_>,
    asked: &[Asked],
) -> sqlx::Result<Vec<OfCopy>> {
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
                 generation as "generation?", state as "state?""#,
        "
             left join insurance_replica.consumers as consumer
                 on consumer.consumer = $3 and caught_up_at is not null",
        &people as &[&str],
        day,
        CONSUMER
    );
    let rows = select.fetch_all(executor).await?;
    // One statement sees one state.
    let state = rows.first().and_then(|row| {
        Some(CopyState {
            generation: row.generation?,
            state: row.state?,
        })
    });
    let of_each = by_person(&people, rows).into_iter();
    Ok(of_each.map(|found| (state, found)).collect())
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
        // A clock that was set back makes nothing younger than new.
        let time = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let copied = row.copy_age.map(|age| Copied {
            vehicle: None,
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
