//! The `vehicle` schema in SQL.

use contracts::{RegistrationNumber, Vehicle};
use sqlx::{PgConnection, PgExecutor};

/// A row of `vehicle.vehicles`.
pub(crate) struct StoredVehicle {
    pub(crate) registration_number: String,
    make: Option<String>,
    model: Option<String>,
    model_year: Option<i16>,
    /// Rises with every change of the row.
    pub(crate) version: i64,
}

impl StoredVehicle {
    /// The vehicle on the wire, under the canonical number that it was asked for.
    pub(crate) fn into_vehicle(self, registration_number: RegistrationNumber) -> Vehicle {
        let Self {
            make,
            model,
            model_year,
            ..
        } = self;
        Vehicle {
            registration_number,
            make,
            model,
            model_year,
        }
    }
}

#[tracing::instrument(
    skip_all,
    fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "SELECT")
)]
pub(crate) async fn find(
    executor: impl PgExecutor<'_>,
    number: &RegistrationNumber,
) -> sqlx::Result<Option<StoredVehicle>> {
    sqlx::query_as!(
        StoredVehicle,
        "select registration_number, make, model, model_year, version
         from vehicle.vehicles where registration_number = $1",
        number.as_str()
    )
    .fetch_optional(executor)
    .await
}

#[tracing::instrument(
    skip_all,
    fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "SELECT")
)]
pub(crate) async fn find_all(
    executor: impl PgExecutor<'_>,
    numbers: &[RegistrationNumber],
) -> sqlx::Result<Vec<StoredVehicle>> {
    let numbers: Vec<_> = numbers
        .iter()
        .map(|number| number.as_str().to_owned())
        .collect();
    sqlx::query_as!(
        StoredVehicle,
        "select registration_number, make, model, model_year, version
         from vehicle.vehicles where registration_number = any($1)",
        &numbers
    )
    .fetch_all(executor)
    .await
}

pub(crate) async fn newest_migration(connection: &mut PgConnection) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!("select max(version) from vehicle._sqlx_migrations where success")
        .fetch_one(connection)
        .await
}
