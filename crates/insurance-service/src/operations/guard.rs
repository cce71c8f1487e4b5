//! Manual control of the guard around Vehicle, for those who operate the service.
//!
//! Everything here is about the process that answers: each replica has a guard and a cache of its
//! own. Every change is told by one audit line, which no log filter holds back.

use std::time::Duration;

use axum::{Extension, extract::State, http::StatusCode};
use contracts::{RegistrationNumber, VehicleGuard, VehicleGuardChange};
use service_defaults::{
    extract::{Json, Path},
    request_context::RequestContext,
    telemetry::AUDIT,
};
use vehicle_client::{IsolationOrder, VehicleClient};

use super::{
    guard_state::{rfc3339, vehicle_guard},
    key_id,
};

/// What the guard around Vehicle is doing
///
/// In the process that answers: each replica has a guard of its own.
#[utoipa::path(
    get, path = "/api/v1/operations/vehicle-guard", tag = "Vehicle guard",
    responses((status = 200, description = "The state of the guard", body = VehicleGuard, headers(("Cache-Control" = String, description = "`no-store`"))))
)]
pub(super) async fn get_vehicle_guard(State(vehicles): State<VehicleClient>) -> Json<VehicleGuard> {
    Json(vehicle_guard(vehicles.guard_state()))
}

/// Stops all calls to Vehicle for a while, or lets the guard decide again
///
/// In the process that answers: tell every replica. While `isolated`, cars are looked up in the
/// cache only; the others are `unavailable` with the cause `breaker_open`. A new order takes the
/// place of the present one. Calls in flight are not taken back: they end by
/// `vehicle_client.attempt_timeout`. Reason, owner and the key's id are logged.
#[utoipa::path(
    put, path = "/api/v1/operations/vehicle-guard", tag = "Vehicle guard",
    request_body = VehicleGuardChange,
    responses((status = 200, description = "The new state of the guard", body = VehicleGuard, headers(("Cache-Control" = String, description = "`no-store`"))))
)]
pub(super) async fn set_vehicle_guard(
    State(vehicles): State<VehicleClient>,
    Extension(context): Extension<RequestContext>,
    Json(change): Json<VehicleGuardChange>,
) -> Json<VehicleGuard> {
    let order = IsolationOrder {
        reason: change.reason.expose().to_owned(),
        owner: change.owner.expose().to_owned(),
        key_id: key_id(&context).to_owned(),
    };
    // Validation lets an end through for an isolation, and only for one.
    let (action, until) = if let Some(seconds) = change.expires_in_seconds {
        let until = vehicles.isolate(order, Duration::from_secs(seconds));
        ("isolate", Some(rfc3339(until)))
    } else {
        vehicles.release();
        ("release", None)
    };
    tracing::warn!(
        target: AUDIT,
        parent: None,
        action,
        key_id = key_id(&context),
        request_id = context.request_id(),
        trace_id = context.trace_id(),
        owner = change.owner.expose(),
        reason = change.reason.expose(),
        until,
        "the guard around Vehicle is controlled by hand"
    );
    Json(vehicle_guard(vehicles.guard_state()))
}

/// Forgets what is known of a vehicle
///
/// At once, also where it was never known, in the process that answers: each replica has a cache
/// of its own, and forgets by itself when `vehicle_client.cache.hard_stale` is over. The next
/// lookup asks Vehicle.
#[utoipa::path(
    delete, path = "/api/v1/operations/vehicle-cache/{registrationNumber}", tag = "Vehicle guard",
    params(("registrationNumber" = String, Path, description = "Registration number in any spelling", example = "ABC123", max_length = 64, pattern = "^[ -]*([0-9A-Za-zÅÄÖåäö][ -]*){2,7}$")),
    responses((status = 204, description = "Nothing is known of the vehicle any more", headers(("Cache-Control" = String, description = "`no-store`"))))
)]
pub(super) async fn erase_vehicle(
    State(vehicles): State<VehicleClient>,
    Extension(context): Extension<RequestContext>,
    Path(number): Path<RegistrationNumber>,
) -> StatusCode {
    vehicles.erase(&number);
    // Not which one: plates are indirect personal data.
    tracing::warn!(
        target: AUDIT,
        parent: None,
        action = "erase_vehicle",
        key_id = key_id(&context),
        request_id = context.request_id(),
        trace_id = context.trace_id(),
        "a vehicle is forgotten"
    );
    StatusCode::NO_CONTENT
}
