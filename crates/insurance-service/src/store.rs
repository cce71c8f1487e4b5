//! The `insurance` schema in SQL.

use contracts::{Money, PersonalIdentityNumber, Product, RegistrationNumber};
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
    insurance_id: i64,
    product: String,
    monthly_cost: String,
    car_registration_number: Option<String>,
}

/// All policies of a person, by their ids. One that cannot be read does not take the others with
/// it.
#[tracing::instrument(
    skip_all,
    fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "SELECT")
)]
pub(crate) async fn find_of_person(
    executor: impl PgExecutor<'_>,
    person: &PersonalIdentityNumber,
) -> sqlx::Result<Vec<Result<Policy, Unreadable>>> {
    let rows = find(executor, person.expose_digits()).await?;
    Ok(rows.into_iter().map(Policy::try_from).collect())
}

/// Shows whether the service may read policies at all.
pub(crate) async fn find_of_nobody(executor: impl PgExecutor<'_>) -> sqlx::Result<()> {
    find(executor, "").await.map(drop)
}

async fn find(executor: impl PgExecutor<'_>, digits: &str) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"select insurance_id, product, trim_scale(monthly_cost)::text as "monthly_cost!",
             car_registration_number
         from insurance.insurances where personal_identity_number = $1
         order by insurance_id"#,
        digits
    )
    .fetch_all(executor)
    .await
}

pub(crate) async fn newest_migration(connection: &mut PgConnection) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!("select max(version) from insurance._sqlx_migrations where success")
        .fetch_one(connection)
        .await
}

/// A policy with a stored value that the schema's checks should have refused, or that a newer
/// release knows.
#[derive(Debug, PartialEq, Eq)]
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
