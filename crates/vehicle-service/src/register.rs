//! Registering, changing and deregistering vehicles.

use std::time::Duration;

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use contracts::{RegistrationNumber, UncheckedText, Vehicle, VehicleDetails};
use event_log::{EventLog, Origin};
use headers::HeaderMapExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use service_database::Database;
use service_defaults::{
    extract::{Json, Path},
    limits::RequestDeadline,
    request_context::RequestContext,
    surface::Limits,
};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    change::{self, Change, Put},
    error::Error,
    precondition::Precondition,
    routes::entity_tag,
};

const EVENT_ID: HeaderName = HeaderName::from_static("event-id");

/// Apart from the lookups', whose connections changes that wait for each other are not to take.
pub(crate) const LIMITS: Limits = Limits::Own {
    deadline: Duration::from_secs(2),
    places: 4,
};

/// What changes need.
#[derive(Clone)]
pub(crate) struct Register {
    pub(crate) database: Database,
    pub(crate) log: EventLog,
}

/// Registers a vehicle, or changes what the register says of it
///
/// With `If-None-Match: *` a new one is registered; with `If-Match` the version is changed that the
/// caller has read. What the register says already is no change and no event. An answer with 503
/// may come of a change that was made: read the vehicle, or try again, which is safe. An
/// `Idempotency-Key` is not read: the precondition lets it be done only once.
#[utoipa::path(
    put, path = "/api/v1/vehicles/{registrationNumber}", tag = "Vehicles",
    params(
        ("registrationNumber" = String, Path, description = "Registration number in any spelling", example = "JKL012", max_length = 64, pattern = "^[ -]*([0-9A-Za-zÅÄÖåäö][ -]*){2,7}$"),
        ("If-Match" = Option<String>, Header, description = "Entity tags of the versions that the caller wants to change; `*` for any"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only where there is no such vehicle yet", example = "*"),
        ("X-Causation-Id" = Option<String>, Header, description = "Id of the event that led to this change; the change's event names it. One that cannot be read is left out"),
    ),
    request_body = VehicleDetails,
    responses(
        (status = 200, description = "The vehicle as it is now", body = Vehicle, headers(
            ("ETag" = String, description = "Strong entity tag of this version of the vehicle"),
            ("Event-Id" = String, description = "Id of the event that tells of the change; missing where there was none"),
        )),
        (status = 201, description = "The vehicle is registered", body = Vehicle, headers(
            ("ETag" = String, description = "Strong entity tag of this version of the vehicle"),
            ("Event-Id" = String, description = "Id of the event that tells of the registration"),
            ("Location" = String, description = "Where the vehicle is"),
        )),
        (status = 404, description = "No vehicle has this registration number"),
        (status = 409, description = "Somebody else changes the same vehicle", headers(("Retry-After" = u64, description = "Seconds after which asking again makes sense, where it does"))),
        (status = 412, description = "The vehicle has none of the versions of `If-Match`, or is there already", headers(
            ("ETag" = String, description = "Entity tag of the version that there is"),
        )),
        (status = 428, description = "There is neither `If-Match` nor `If-None-Match: *`"),
    )
)]
pub(crate) async fn put_vehicle(
    State(register): State<Register>,
    Extension(context): Extension<RequestContext>,
    Extension(RequestDeadline(deadline)): Extension<RequestDeadline>,
    Path(number): Path<RegistrationNumber>,
    headers: HeaderMap,
    Json(details): Json<VehicleDetails>,
) -> Result<Response, Error> {
    let change = Change {
        number: number.clone(),
        precondition: Precondition::of_put(&headers)?,
        origin: Origin::of_request(&context, &headers),
    };
    let asked = (change, details);
    let done = change::put(&register.database, &asked, left(deadline)).await?;
    register.log.appended();
    let (_, details) = asked;
    Ok(match done {
        Put::Registered(version, event) => {
            let location = location(&number).map(|it| (LOCATION, it));
            let mut response = said(number, &details, version, Some(event));
            *response.status_mut() = StatusCode::CREATED;
            response.headers_mut().extend(location);
            response
        }
        Put::Updated(version, event) => said(number, &details, version, Some(event)),
        Put::Already(version) => said(number, &details, version, None),
    })
}

/// Deregisters a vehicle
///
/// An answer with 503 may come of a deregistration that was made: another one is 404 then. An
/// `Idempotency-Key` is not read.
#[utoipa::path(
    delete, path = "/api/v1/vehicles/{registrationNumber}", tag = "Vehicles",
    params(
        ("registrationNumber" = String, Path, description = "Registration number in any spelling", example = "JKL012", max_length = 64, pattern = "^[ -]*([0-9A-Za-zÅÄÖåäö][ -]*){2,7}$"),
        ("If-Match" = String, Header, description = "Entity tags of the versions that may go; `*` for any", example = "*"),
        ("X-Causation-Id" = Option<String>, Header, description = "Id of the event that led to this change; the change's event names it. One that cannot be read is left out"),
    ),
    responses(
        (status = 204, description = "The vehicle is gone", headers(
            ("Event-Id" = String, description = "Id of the event that tells of it"),
        )),
        (status = 404, description = "No vehicle has this registration number"),
        (status = 409, description = "Somebody else changes the same vehicle", headers(("Retry-After" = u64, description = "Seconds after which asking again makes sense, where it does"))),
        (status = 412, description = "The vehicle has none of the versions of `If-Match`", headers(
            ("ETag" = String, description = "Entity tag of the version that there is"),
        )),
        (status = 428, description = "There is no `If-Match`"),
    )
)]
pub(crate) async fn delete_vehicle(
    State(register): State<Register>,
    Extension(context): Extension<RequestContext>,
    Extension(RequestDeadline(deadline)): Extension<RequestDeadline>,
    Path(number): Path<RegistrationNumber>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let change = Change {
        number,
        precondition: Precondition::of_delete(&headers)?,
        origin: Origin::of_request(&context, &headers),
    };
    let event = change::delete(&register.database, &change, left(deadline)).await?;
    register.log.appended();
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().extend(event_id(event));
    Ok(response)
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// The vehicle as it is after a change.
fn said(
    number: RegistrationNumber,
    details: &VehicleDetails,
    version: i64,
    event: Option<Uuid>,
) -> Response {
    let text = |it: &UncheckedText| it.expose().to_owned();
    let vehicle = Vehicle {
        registration_number: number,
        make: details.make.as_ref().map(text),
        model: details.model.as_ref().map(text),
        model_year: details.model_year,
    };
    let mut response = Json(vehicle).into_response();
    let headers = response.headers_mut();
    if let Some(tag) = entity_tag(version) {
        headers.typed_insert(tag);
    }
    headers.extend(event.and_then(event_id));
    response
}

fn event_id(event: Uuid) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::from_str(&event.to_string()).ok()?;
    Some((EVENT_ID, value))
}

fn location(number: &RegistrationNumber) -> Option<HeaderValue> {
    let escaped = utf8_percent_encode(number.as_str(), NON_ALPHANUMERIC);
    HeaderValue::from_str(&format!("/api/v1/vehicles/{escaped}")).ok()
}
