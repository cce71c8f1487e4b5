//! What those who operate the service may look at and change by hand.
//!
//! Every change is told by one audit line, which no log filter holds back.

mod comparison;
mod consumers;
mod dead_letters;
mod guard;
mod guard_state;
mod replays;
mod store;

use std::time::Duration;

use axum::{http::StatusCode, middleware::map_response};
use service_database::{Database, Error, Work};
use service_defaults::{
    problem::Rejection,
    request_context::RequestContext,
    scope::Scope,
    surface::{Limits, Routes, Surface},
};
use utoipa_axum::{router::OpenApiRouter, routes};
use vehicle_client::VehicleClient;

pub(crate) use guard_state::check;
pub(crate) use replays::Replays;

use crate::routes::never_stored;

/// Longest time of a request.
const DEADLINE: Duration = Duration::from_secs(5);

/// Longest wait for a lock, twice as long as a page of the consumer's aims at: its transaction holds
/// what orders change.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Apart from the API's: who takes control is not kept waiting by those that are to be stopped.
const LIMITS: Limits = Limits::Own {
    deadline: DEADLINE,
    places: 8,
};

/// Adds the routes of operators to those of the service.
pub(crate) fn mount(routes: Routes, vehicles: VehicleClient, replays: Replays) -> Routes {
    let guard = OpenApiRouter::new()
        .routes(routes!(guard::get_vehicle_guard, guard::set_vehicle_guard))
        .routes(routes!(guard::erase_vehicle))
        .with_state(vehicles);
    let replica = OpenApiRouter::new()
        .routes(routes!(consumers::list_consumers))
        .routes(routes!(consumers::get_consumer, consumers::set_consumer))
        .routes(routes!(dead_letters::list_dead_letters))
        .routes(routes!(dead_letters::retry_dead_letters))
        .routes(routes!(dead_letters::get_dead_letter))
        .routes(routes!(dead_letters::retry_dead_letter))
        .routes(routes!(dead_letters::resolve_dead_letter))
        .routes(routes!(dead_letters::discard_dead_letter))
        .routes(routes!(comparison::get_replica_comparison))
        .routes(routes!(replays::start_replay, replays::list_replays))
        .routes(routes!(replays::get_replay, replays::cancel_replay))
        .with_state(replays);
    let [guard, replica] = [guard, replica].map(|it| it.layer(map_response(never_stored)));
    let for_guard = Surface::keyed(&[Scope::Admin, Scope::Operations])
        .with_limits(LIMITS)
        .with_unknown_paths("/api/v1/operations/");
    let for_replica = Surface::keyed(&[Scope::Admin]).with_limits(LIMITS);
    routes.with(for_guard, guard).with(for_replica, replica)
}

/// Makes a change that an operator has ordered.
async fn change<A: Sync, T: Send>(
    database: &Database,
    argument: &A,
    work: Work<A, T, Error>,
) -> Result<T, Error> {
    let bounds = (DEADLINE, LONGEST_WAIT);
    database.change_patiently(bounds, argument, work).await
}

fn key_id(context: &RequestContext) -> &str {
    context.key_id().unwrap_or_default()
}

/// Nobody has the name.
fn consumer_not_found() -> Rejection {
    Rejection::new(
        StatusCode::NOT_FOUND,
        "consumer_not_found",
        "Consumer not found",
        "Nobody consumes events under this name.",
    )
}
