//! What the comparison of live answers with the copy has found.

use axum::extract::State;
use contracts::ReplicaComparison;
use service_database::Database;
use service_defaults::{extract::Json, problem::Rejection};

use super::store;

/// How live answers of Vehicle compare with the copy
///
/// A share of the live answers of all replicas. The runbook `ReplicaDiffers` says when to trust the
/// copy.
#[utoipa::path(
    get, path = "/api/v1/operations/replica/comparison", tag = "Replica",
    responses((status = 200, description = "What was found", body = ReplicaComparison, headers(("Cache-Control" = String, description = "`no-store`"))))
)]
pub(super) async fn get_replica_comparison(
    State(database): State<Database>,
) -> Result<Json<ReplicaComparison>, Rejection> {
    let found = database.read((), |connection, ()| Box::pin(store::comparison(connection)));
    Ok(Json(found.await?))
}
