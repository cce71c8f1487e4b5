//! The `insurance` schema in SQL.

use std::collections::HashMap;

use contracts::{Day, Money, PersonalIdentityNumber, PolicyStatus, Product, RegistrationNumber};
use service_database::{Database, Error, Gathered};
use sqlx::{PgConnection, PgExecutor};

use crate::{policy::today, unreadable::Unreadable};

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
}

/// A person's policies by their ids. One that cannot be read does not take the others with it.
pub(crate) type Found = Vec<Result<Policy, Unreadable>>;

/// Policies by person, those of several requests in one statement.
pub(crate) type Policies = Gathered<PersonalIdentityNumber, Found>;

pub(crate) fn policies(database: Database) -> Policies {
    Gathered::new(database, |connection, people| {
        Box::pin(select(connection, people))
    })
}

#[tracing::instrument(
    skip_all,
    fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "SELECT")
)]
pub(crate) async fn find_of_person(
    policies: &Policies,
    person: PersonalIdentityNumber,
) -> Result<Found, Error> {
    policies.get(person).await
}

/// The policies of each of these people, each named once, in their order: those with a cover that
/// holds today, which no draft has.
pub(crate) async fn select(
    executor: impl PgExecutor<'_>,
    people: &[PersonalIdentityNumber],
) -> sqlx::Result<Vec<Found>> {
    let people: Vec<_> = people
        .iter()
        .map(PersonalIdentityNumber::expose_digits)
        .collect();
    let rows = sqlx::query_as!(
        Row,
        // `offset 0` has the periods of each policy found by its number, and no index knows its days
        // in this form: `cover @>` would find everybody's, where the planner knows little of the tables.
        r#"select personal_identity_number as "personal_identity_number!", insurance_id, product, status,
             valid_from::text as "valid_from!", valid_until::text,
             trim_scale(period.monthly_cost)::text as "monthly_cost!",
             period.car as car_registration_number
         from insurance.insurances as policy
         cross join lateral (
             select monthly_cost, car from insurance.covers
             where covers.insurance_id = policy.insurance_id
                 and lower(cover) <= $2::text::date
                 and coalesce(upper(cover) > $2::text::date, true)
             offset 0
         ) as period
         where personal_identity_number = any($1)
         order by insurance_id"#,
        &people as &[&str],
        today().to_string()
    )
    .fetch_all(executor)
    .await?;
    let mut found: HashMap<_, Found> = HashMap::new();
    for row in rows {
        let of_person = found.entry(row.personal_identity_number.clone());
        of_person.or_default().push(row.try_into());
    }
    let of_each = people.iter().map(|it| found.remove(*it));
    Ok(of_each.map(Option::unwrap_or_default).collect())
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
        let car = row
            .car_registration_number
            .map(|number| number.parse())
            .transpose()
            .map_err(|_| unreadable("car_registration_number"))?;
        Ok(Self {
            insurance_id,
            product,
            status,
            valid_from,
            valid_until,
            monthly_cost,
            car,
        })
    }
}
