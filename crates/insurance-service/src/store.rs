//! The `insurance` schema in SQL.

use std::collections::HashMap;

use contracts::{Money, PersonalIdentityNumber, Product, RegistrationNumber};
use service_database::{Database, Error, Gathered};
use sqlx::{PgConnection, PgExecutor};

/// A policy as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) insurance_id: i64,
    pub(crate) product: Product,
    pub(crate) monthly_cost: Money,
    pub(crate) car: Option<RegistrationNumber>,
}

/// Values as texts, so that one that breaks its type fails no other row.
struct Row {
    personal_identity_number: String,
    insurance_id: i64,
    product: String,
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

/// The policies of each of these people, each named once, in their order.
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
        r#"select personal_identity_number, insurance_id, product,
             trim_scale(monthly_cost)::text as "monthly_cost!", car_registration_number
         from insurance.insurances where personal_identity_number = any($1)
         order by insurance_id"#,
        &people as &[&str]
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

/// A policy with a stored value that the schema's checks should have refused, or that a newer
/// release knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) insurance_id: i64,
    pub(crate) column: &'static str,
}

impl TryFrom<Row> for Policy {
    type Error = Unreadable;

    fn try_from(row: Row) -> Result<Self, Unreadable> {
        let insurance_id = row.insurance_id;
        let unreadable = |column| Unreadable {
            insurance_id,
            column,
        };
        let product = match row.product.as_str() {
            "pet" => Product::Pet,
            "personal_health" => Product::PersonalHealth,
            "car" => Product::Car,
            _ => return Err(unreadable("product")),
        };
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
            monthly_cost,
            car,
        })
    }
}
