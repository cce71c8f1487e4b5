//! The `vehicle` schema in SQL.

use std::collections::HashMap;

use contracts::{RegistrationNumber, Vehicle};
use service_database::{Database, Error, Gathered};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// A row of `vehicle.vehicles`.
#[derive(Clone)]
pub(crate) struct StoredVehicle {
    registration_number: String,
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

/// Vehicles by number, those of several requests in one statement.
pub(crate) type Vehicles = Gathered<RegistrationNumber, Option<StoredVehicle>>;

pub(crate) fn vehicles(database: Database) -> Vehicles {
    Gathered::new(database, |connection, numbers| {
        Box::pin(select(connection, numbers))
    })
}

#[tracing::instrument(
    skip_all,
    fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "SELECT")
)]
pub(crate) async fn find(
    vehicles: &Vehicles,
    number: RegistrationNumber,
) -> Result<Option<StoredVehicle>, Error> {
    vehicles.get(number).await
}

/// The vehicles with these numbers, in their order.
#[tracing::instrument(
    skip_all,
    fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "SELECT")
)]
pub(crate) async fn find_all(
    database: &Database,
    numbers: Vec<RegistrationNumber>,
) -> Result<Vec<Option<StoredVehicle>>, Error> {
    let answer = database.read(numbers, |connection, numbers| {
        Box::pin(select(connection, numbers))
    });
    answer.await
}

/// The vehicles with these numbers, each once, in their order.
pub(crate) async fn select(
    executor: impl PgExecutor<'_>,
    numbers: &[RegistrationNumber],
) -> sqlx::Result<Vec<Option<StoredVehicle>>> {
    let numbers: Vec<_> = numbers.iter().map(RegistrationNumber::as_str).collect();
    let rows = sqlx::query_as!(
        StoredVehicle,
        "select registration_number, make, model, model_year, version
         from vehicle.vehicles where registration_number = any($1)",
        &numbers as &[&str]
    )
    .fetch_all(executor)
    .await?;
    let mut found: HashMap<_, _> = rows
        .into_iter()
        .map(|row| (row.registration_number.clone(), row))
        .collect();
    Ok(numbers.iter().map(|it| found.remove(*it)).collect())
}

pub(crate) async fn newest_migration(connection: &mut PgConnection) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!("select max(version) from vehicle._sqlx_migrations where success")
        .fetch_one(connection)
        .await
}

/// Whether a vehicle is what the last of its events says.
pub(crate) struct LastTold {
    pub(crate) registration_number: String,
    pub(crate) event_id: Uuid,
    pub(crate) same: bool,
}

/// The next vehicles that have events, by their registration numbers.
pub(crate) async fn last_told(
    connection: &mut PgConnection,
    after: &str,
) -> sqlx::Result<Vec<LastTold>> {
    sqlx::query_as!(
        LastTold,
        r#"select told.aggregate_id as registration_number, event_id,
             case when data::text = 'null' then vehicles.registration_number is null
             else coalesce(data::jsonb = jsonb_build_object(
                 'registrationNumber', vehicles.registration_number, 'make', make, 'model', model,
                 'modelYear', model_year, 'version', vehicles.version
             ), false) end as "same!"
         from (
             select distinct aggregate_id from vehicle_events.events
             where aggregate_type = 'vehicle' and aggregate_id > $1 order by aggregate_id limit 1000
         ) as told
         cross join lateral (
             select event_id, data from vehicle_events.events
             where aggregate_type = 'vehicle' and aggregate_id = told.aggregate_id
             order by version desc limit 1
         ) as last
         left join vehicle.vehicles on vehicles.registration_number = told.aggregate_id
         order by told.aggregate_id"#,
        after
    )
    .fetch_all(connection)
    .await
}
