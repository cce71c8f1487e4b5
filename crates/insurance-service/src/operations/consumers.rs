//! Consumers: how far they are, and orders to them.

use axum::{Extension, extract::State};
use contracts::{Consumer, ConsumerChange, ConsumerList};
use service_database::Database;
use service_defaults::{
    extract::{Json, Path},
    problem::Rejection,
    request_context::RequestContext,
    telemetry::AUDIT,
};

use super::{change, consumer_not_found, key_id, store};
use crate::consumer::Order;

/// All consumers
///
/// Consumers follow the events of another service. All replicas share their state: any of them
/// tells and changes it, and one at a time does the work.
#[utoipa::path(
    get, path = "/api/v1/operations/consumers", tag = "Replica",
    responses((status = 200, description = "The consumers", body = ConsumerList, headers(("Cache-Control" = String, description = "`no-store`"))))
)]
pub(super) async fn list_consumers(
    State(database): State<Database>,
) -> Result<Json<ConsumerList>, Rejection> {
    let found = database.read((), |connection, ()| {
        Box::pin(store::consumers(connection, None))
    });
    let consumers = found.await?;
    Ok(Json(ConsumerList { consumers }))
}

/// How far a consumer is
#[utoipa::path(
    get, path = "/api/v1/operations/consumers/{consumer}", tag = "Replica",
    params(("consumer" = String, Path, description = "Its name", example = "vehicle_replica")),
    responses(
        (status = 200, description = "Its state", body = Consumer, headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 404, description = "There is none of this name"),
    )
)]
pub(super) async fn get_consumer(
    State(database): State<Database>,
    Path(name): Path<String>,
) -> Result<Json<Consumer>, Rejection> {
    let found = database.read(name, |connection, name| {
        Box::pin(store::consumers(connection, Some(name)))
    });
    let only = found.await?.pop();
    only.map(Json).ok_or_else(consumer_not_found)
}

/// Pauses a consumer, lets it go on, or has it make a new copy
///
/// It obeys after the page of events that it is at. While it is paused its copy grows old, and
/// answers say so. `follow` goes on where it was, also with a copy that was being made. `snapshot`
/// makes a new copy beside the one that is read, which goes on being followed until they are
/// swapped; one that is being made already is given up. Reason, owner and the key's id are logged and shown.
#[utoipa::path(
    put, path = "/api/v1/operations/consumers/{consumer}", tag = "Replica",
    params(("consumer" = String, Path, description = "Its name", example = "vehicle_replica")),
    request_body = ConsumerChange,
    responses(
        (status = 200, description = "Its new state", body = Consumer, headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 404, description = "There is none of this name"),
    )
)]
pub(super) async fn set_consumer(
    State(database): State<Database>,
    Extension(context): Extension<RequestContext>,
    Path(name): Path<String>,
    Json(wanted): Json<ConsumerChange>,
) -> Result<Json<Consumer>, Rejection> {
    let order = Order {
        consumer: name,
        mode: wanted.mode,
        by: context.actor(),
        reason: wanted.reason.expose().to_owned(),
        owner: Some(wanted.owner.expose().to_owned()),
    };
    let done = change(&database, &order, |connection, order| {
        Box::pin(store::set_mode(connection, order))
    });
    let consumer = done.await?.ok_or_else(consumer_not_found)?;
    tracing::warn!(
        target: AUDIT,
        parent: None,
        action = "set_consumer",
        consumer = order.consumer,
        mode = order.mode.name(),
        key_id = key_id(&context),
        request_id = context.request_id(),
        trace_id = context.trace_id(),
        owner = wanted.owner.expose(),
        reason = wanted.reason.expose(),
        "a consumer is controlled by hand"
    );
    Ok(Json(consumer))
}
