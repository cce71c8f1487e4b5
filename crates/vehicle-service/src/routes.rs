use axum::{
    extract::{FromRef, State},
    http::{HeaderMap, HeaderValue, StatusCode, header::CACHE_CONTROL},
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::get,
};
use contracts::{BatchAnswer, BatchRequest, RegistrationNumber, Vehicle};
use event_log::EventLog;
use headers::{ETag, HeaderMapExt, IfMatch, IfNoneMatch};
use service_database::Database;
use service_defaults::{
    extract::{Json, Path},
    openapi::with_examples,
    scope::Scope,
    surface::{Routes, Surface},
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    batch::Batch,
    copy,
    error::Error,
    register::{self, Register},
    settings::VehiclesSettings,
    store,
    store::Vehicles,
};

/// Requests and what was answered to them, as a test of the document wrote them down.
const EXAMPLES: &str = include_str!("examples.json");

/// Part of every entity tag; raised when the same row is written differently.
const REPRESENTATION: u32 = 1;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "ThreadPilot Vehicle API",
        description = "Looks up cars by registration number, and keeps their register.",
    ),
    servers(
        (url = "/", description = "Where this document was read"),
        (url = "http://127.0.0.1:5081", description = "The local stack"),
    ),
    tags(
        (name = "Vehicles", description = "Cars by registration number"),
        (name = "Events", description = "Every change in the order of the log; needs a key with the scope `feed`"),
        (name = "Audit", description = "Who changed what, and proofs; needs a key with the scope `audit`"),
        (name = "Operations", description = "For the platform; open"),
    )
)]
struct Document;

#[derive(Clone, FromRef)]
struct Service {
    database: Database,
    stored: Vehicles,
    vehicles: VehiclesSettings,
}

/// The API of the service.
pub(crate) fn api(database: Database, log: EventLog, vehicles: VehiclesSettings) -> Routes {
    let writes = OpenApiRouter::new()
        .routes(routes!(register::put_vehicle, register::delete_vehicle))
        .with_state(Register {
            database: database.clone(),
            log,
        });
    let copies = OpenApiRouter::new()
        .routes(routes!(copy::copy_vehicles))
        .layer(map_response(never_stored))
        .with_state(database.clone());
    let api = OpenApiRouter::new()
        .routes(routes!(get_vehicle))
        .routes(routes!(find_vehicles))
        // `BATCH` is a registration number like any other.
        .route("/api/v1/vehicles/batch", get(get_vehicle_named_batch))
        .with_state(Service {
            stored: store::vehicles(database.clone()),
            database,
            vehicles,
        });
    Routes::new(with_examples(Document::openapi(), EXAMPLES))
        .with(
            Surface::keyed(&[Scope::Write]).with_limits(register::LIMITS),
            writes,
        )
        .with(
            Surface::keyed(&[Scope::Feed]).with_limits(copy::LIMITS),
            copies,
        )
        .with(Surface::keyed(&[Scope::Read, Scope::Api]), api)
}

/// A page of everything is stored nowhere on its way.
async fn never_stored(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

/// One vehicle by its registration number
///
/// Any spelling finds it: `abc 123`, `ABC-123` and `abc123` are the same vehicle.
#[utoipa::path(
    get, path = "/api/v1/vehicles/{registrationNumber}", tag = "Vehicles",
    params(
        ("registrationNumber" = String, Path, description = "Registration number in any spelling", example = "ABC123", max_length = 64, pattern = "^[ -]*([0-9A-Za-zÅÄÖåäö][ -]*){2,7}$"),
        ("If-Match" = Option<String>, Header, description = "Entity tags of the versions that the caller takes; `*` for any"),
        ("If-None-Match" = Option<String>, Header, description = "Entity tag of the answer that the caller has"),
    ),
    responses(
        (status = 200, description = "The vehicle", body = Vehicle, headers(
            ("ETag" = String, description = "Strong entity tag of this version of the vehicle"),
            ("Cache-Control" = String, description = "How long the answer may be reused"),
        )),
        (status = 304, description = "The caller's answer is still good", headers(
            ("ETag" = String, description = "The entity tag that it still has"),
            ("Cache-Control" = String, description = "How much longer the answer may be reused"),
        )),
        (status = 404, description = "No vehicle has this registration number"),
        (status = 412, description = "The vehicle has none of the versions of `If-Match`"),
    )
)]
async fn get_vehicle(
    State(stored): State<Vehicles>,
    State(settings): State<VehiclesSettings>,
    Path(number): Path<RegistrationNumber>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let row = store::find(&stored, number.clone())
        .await?
        .ok_or(Error::NotFound)?;
    let tag = entity_tag(row.version);
    // In the order of RFC 9110, 13.2.2.
    let wanted = headers.typed_get::<IfMatch>();
    if !holds(wanted.as_ref(), tag.as_ref(), IfMatch::precondition_passes) {
        return Err(Error::OtherVersion);
    }
    let known = headers.typed_get::<IfNoneMatch>();
    let mut response = if holds(
        known.as_ref(),
        tag.as_ref(),
        IfNoneMatch::precondition_passes,
    ) {
        Json(row.into_vehicle(number)).into_response()
    } else {
        StatusCode::NOT_MODIFIED.into_response()
    };
    let max_age = format!("private, max-age={}", settings.max_age.as_secs());
    if let Ok(value) = max_age.parse() {
        response.headers_mut().insert(CACHE_CONTROL, value);
    }
    if let Some(tag) = tag {
        response.headers_mut().typed_insert(tag);
    }
    Ok(response)
}

async fn get_vehicle_named_batch(
    stored: State<Vehicles>,
    settings: State<VehiclesSettings>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let number = "BATCH".parse().map_err(|_| Error::NotFound)?;
    get_vehicle(stored, settings, Path(number), headers).await
}

/// Several vehicles at once
///
/// Every entry is accounted for in exactly one list of the answer, in the request's order.
#[utoipa::path(
    post, path = "/api/v1/vehicles/batch", tag = "Vehicles",
    request_body = BatchRequest,
    responses((status = 200, description = "What was found, what was not, and what cannot be looked up", body = BatchAnswer))
)]
async fn find_vehicles(
    State(database): State<Database>,
    Json(request): Json<BatchRequest>,
) -> Result<Json<BatchAnswer>, Error> {
    let batch = Batch::from(request);
    let found = if batch.numbers.is_empty() {
        Vec::new()
    } else {
        store::find_all(&database, batch.numbers.clone()).await?
    };
    Ok(Json(batch.answer(found)))
}

/// Whether a condition on the entity tag is met, or was not made.
fn holds<C>(condition: Option<&C>, tag: Option<&ETag>, passes: fn(&C, &ETag) -> bool) -> bool {
    condition
        .zip(tag)
        .is_none_or(|(condition, tag)| passes(condition, tag))
}

/// Strong entity tag of a version of a vehicle.
pub(crate) fn entity_tag(version: i64) -> Option<ETag> {
    format!("\"{REPRESENTATION}.{version}\"").parse().ok()
}
