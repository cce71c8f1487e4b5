//! A first copy of all vehicles, for those who follow the events afterwards.

use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderName, HeaderValue},
    response::{IntoResponse, Response},
};
use contracts::{MAX_PAGE_SIZE, RegistrationNumber, Vehicle, VehiclePage, VersionedVehicle};
use service_database::Database;
use service_defaults::{extract::Json, query::Query, surface::Limits};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;

const LOG_ID: HeaderName = HeaderName::from_static("log-id");
const LOG_POSITION: HeaderName = HeaderName::from_static("log-position");
const FEED_POSITION: HeaderName = HeaderName::from_static("feed-position");

/// Apart from the lookups', which are not to wait for a reader of everything.
pub(crate) const LIMITS: Limits = Limits::Own {
    deadline: Duration::from_secs(10),
    places: 2,
};

/// All vehicles, page by page
///
/// For a first copy. Read the events after the `Feed-Position` of the first page (`lastEventId`)
/// once the last page is there, and apply each whose version is higher than that of the copy: what
/// changed meanwhile is among them. Where `Log-Id` changes, begin anew.
#[utoipa::path(
    get, path = "/api/v1/vehicles", tag = "Vehicles",
    params(
        ("after" = Option<String>, Query, description = "`next` of the page before", example = "ABC123", max_length = 64, pattern = "^[ -]*([0-9A-Za-zÅÄÖåäö][ -]*){2,7}$"),
        ("limit" = Option<u64>, Query, description = "Most vehicles of the page, 1000 where it is not said", minimum = 1, maximum = 1000),
    ),
    responses((status = 200, description = "A page in the order of registration numbers", body = VehiclePage, headers(
        ("Cache-Control" = String, description = "`no-store`"),
        ("Feed-Position" = String, description = "Id of the last event that was placed before the page was read; missing where there is none"),
        ("Log-Id" = String, description = "Id of the log that the event is in"),
        ("Log-Position" = String, description = "The place of that event; 0 where there is none"),
    )))
)]
pub(crate) async fn copy_vehicles(
    State(database): State<Database>,
    mut query: Query,
) -> Result<Response, Error> {
    let after = query.take::<RegistrationNumber>("after")?;
    let limit = query.number("limit", 1..=MAX_PAGE_SIZE)?;
    query.end()?;
    let page = Page {
        after: after.map_or_else(String::new, |it| it.as_str().to_owned()),
        limit: limit
            .unwrap_or(MAX_PAGE_SIZE)
            .try_into()
            .unwrap_or(i64::MAX),
    };
    let limit = page.limit;
    let read = database.read(page, |connection, page| Box::pin(read(connection, page)));
    let (end, rows) = read.await?;
    let is_full = usize::try_from(limit).is_ok_and(|limit| rows.len() >= limit);
    let vehicles: Vec<_> = rows.into_iter().filter_map(Row::into_vehicle).collect();
    let last = vehicles.last().filter(|_| is_full);
    let next = last.map(|it| it.vehicle.registration_number.clone());
    let mut response = Json(VehiclePage { vehicles, next }).into_response();
    let headers = response.headers_mut();
    let value = |text: String| HeaderValue::from_str(&text).ok();
    headers.extend(value(end.log_id.to_string()).map(|it| (LOG_ID, it)));
    headers.insert(LOG_POSITION, end.position.into());
    let event = end.last_event.and_then(|it| value(it.to_string()));
    headers.extend(event.map(|it| (FEED_POSITION, it)));
    Ok(response)
}

struct Page {
    after: String,
    limit: i64,
}

/// Where the log of the changes ends.
struct End {
    log_id: Uuid,
    position: i64,
    last_event: Option<Uuid>,
}

struct Row {
    registration_number: String,
    make: Option<String>,
    model: Option<String>,
    model_year: Option<i16>,
    version: i64,
}

impl Row {
    /// The schema's checks are those of the number.
    fn into_vehicle(self) -> Option<VersionedVehicle> {
        Some(VersionedVehicle {
            vehicle: Vehicle {
                registration_number: self.registration_number.parse().ok()?,
                make: self.make,
                model: self.model,
                model_year: self.model_year,
            },
            version: self.version,
        })
    }
}

/// The position first: what is placed later may be missing in the page, and is in the feed.
async fn read(connection: &mut PgConnection, page: &Page) -> sqlx::Result<(End, Vec<Row>)> {
    let end = sqlx::query_as!(
        End,
        "select log_id, position,
             (select event_id from vehicle_events.log where log.position = head.position) as last_event
         from vehicle_events.head"
    );
    let end = end.fetch_one(&mut *connection).await?;
    let rows = sqlx::query_as!(
        Row,
        "select registration_number, make, model, model_year, version from vehicle.vehicles
         where registration_number > $1 order by registration_number limit $2",
        page.after,
        page.limit
    );
    Ok((end, rows.fetch_all(connection).await?))
}
