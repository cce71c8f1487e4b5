//! Changes of the `vehicle` schema in SQL. The events of a change are written by its triggers.

use std::time::Duration;

use contracts::{RegistrationNumber, UncheckedText, VehicleDetails};
use event_log::{Origin, new_event_id};
use service_database::Database;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{error::Error, precondition::Precondition};

/// A change of one vehicle that somebody asks for.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) number: RegistrationNumber,
    pub(crate) precondition: Precondition,
    pub(crate) origin: Origin,
}

/// What came of a registration or an update.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Put {
    /// There is a new vehicle of this version.
    Registered(i64, Uuid),
    /// The vehicle has this new version.
    Updated(i64, Uuid),
    /// It says that already: nothing is changed, and no event tells of it.
    Already(i64),
}

struct Present {
    version: i64,
    make: Option<String>,
    model: Option<String>,
    model_year: Option<i16>,
}

impl Present {
    fn says(&self, details: &VehicleDetails) -> bool {
        self.make.as_deref() == details.make.as_ref().map(UncheckedText::expose)
            && self.model.as_deref() == details.model.as_ref().map(UncheckedText::expose)
            && self.model_year == details.model_year
    }
}

/// Registers or updates a vehicle, within this time.
#[tracing::instrument(skip_all, fields(otel.kind = "client", db.system.name = "postgresql"))]
pub(crate) async fn put(
    database: &Database,
    asked: &(Change, VehicleDetails),
    time: Duration,
) -> Result<Put, Error> {
    database
        .change(time, asked, |connection, (change, details)| {
            Box::pin(register_or_update(connection, change, details))
        })
        .await
}

async fn register_or_update(
    connection: &mut PgConnection,
    change: &Change,
    details: &VehicleDetails,
) -> Result<Put, Error> {
    let present = lock(connection, &change.number).await?;
    change
        .precondition
        .check(present.as_ref().map(|it| it.version))?;
    let event = new_event_id();
    match present {
        Some(present) if present.says(details) => Ok(Put::Already(present.version)),
        Some(_) => {
            change.origin.announce(connection, Some(event)).await?;
            let version = update(connection, &change.number, details).await?;
            Ok(Put::Updated(version, event))
        }
        None => {
            change.origin.announce(connection, Some(event)).await?;
            let version = insert(connection, &change.number, details).await?;
            // Somebody else was faster.
            let version = version.ok_or(Error::AlreadyRegistered { current: None })?;
            Ok(Put::Registered(version, event))
        }
    }
}

/// Deregisters a vehicle, within this time. The event of it.
#[tracing::instrument(skip_all, fields(otel.kind = "client", db.system.name = "postgresql"))]
pub(crate) async fn delete(
    database: &Database,
    change: &Change,
    time: Duration,
) -> Result<Uuid, Error> {
    database
        .change(time, change, |connection, change| {
            Box::pin(deregister(connection, change))
        })
        .await
}

async fn deregister(connection: &mut PgConnection, change: &Change) -> Result<Uuid, Error> {
    let present = lock(connection, &change.number).await?;
    change.precondition.check(present.map(|it| it.version))?;
    let event = new_event_id();
    change.origin.announce(connection, Some(event)).await?;
    remove(connection, &change.number).await?;
    Ok(event)
}

async fn lock(
    connection: &mut PgConnection,
    number: &RegistrationNumber,
) -> sqlx::Result<Option<Present>> {
    sqlx::query_as!(
        Present,
        "select version, make, model, model_year from vehicle.vehicles
         where registration_number = $1 for update",
        number.as_str()
    )
    .fetch_optional(connection)
    .await
}

async fn insert(
    connection: &mut PgConnection,
    number: &RegistrationNumber,
    details: &VehicleDetails,
) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        "insert into vehicle.vehicles (registration_number, make, model, model_year)
         values ($1, $2, $3, $4) on conflict do nothing returning version",
        number.as_str(),
        details.make.as_ref().map(UncheckedText::expose),
        details.model.as_ref().map(UncheckedText::expose),
        details.model_year
    )
    .fetch_optional(connection)
    .await
}

async fn update(
    connection: &mut PgConnection,
    number: &RegistrationNumber,
    details: &VehicleDetails,
) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        "update vehicle.vehicles set make = $2, model = $3, model_year = $4
         where registration_number = $1 returning version",
        number.as_str(),
        details.make.as_ref().map(UncheckedText::expose),
        details.model.as_ref().map(UncheckedText::expose),
        details.model_year
    )
    .fetch_one(connection)
    .await
}

async fn remove(connection: &mut PgConnection, number: &RegistrationNumber) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from vehicle.vehicles where registration_number = $1",
        number.as_str()
    )
    .execute(connection)
    .await
    .map(drop)
}
