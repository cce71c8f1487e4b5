use axum::{
    extract::State,
    http::{StatusCode, header::RETRY_AFTER},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use contracts::{ConsistencyProof, InclusionProof};
use service_defaults::{
    extract::{Json, Path, invalid_parameter},
    problem::Rejection,
    query::Query,
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Shared, audit::find};
use crate::{EventLog, tree::Hash};

/// The proof that an event is in the log of a checkpoint
///
/// By RFC 9162, section 2.1.3: whoever keeps the checkpoint need not trust the service.
#[utoipa::path(
    get, path = "/api/v1/audit/events/{eventId}/proof", tag = "Audit",
    params(
        ("eventId" = String, Path, description = "Id of the event", format = "uuid"),
        ("size" = Option<u64>, Query, description = "The size of the checkpoint, the last one where it is not said", minimum = 1),
    ),
    responses(
        (status = 200, description = "The proof", body = InclusionProof, headers(
            ("Cache-Control" = String, description = "`no-store`"),
        )),
        (status = 404, description = "The log has no such event, or no checkpoint of this size that is newer than it", headers(
            ("Cache-Control" = String, description = "`no-store`"),
        )),
        (status = 409, description = "No such checkpoint is signed yet", headers(
            ("Cache-Control" = String, description = "`no-store`"),
            ("Retry-After" = String, description = "Seconds after which asking again makes sense; missing where no checkpoints are signed"),
        )),
    )
)]
pub(super) async fn get_inclusion_proof(
    State(audit): State<Shared>,
    Path(id): Path<Uuid>,
    mut query: Query,
) -> Result<Json<InclusionProof>, Rejection> {
    let size = size(&mut query, "size")?;
    query.end()?;
    let event = find(&audit, id).await?;
    let (position, leaf) = (event.position, event.leaf_hash());
    let asked = (audit.log.clone(), position, size);
    let proof = audit.read(asked, |connection, (log, position, size)| {
        Box::pin(inclusion(log, connection, *position, *size))
    });
    let proof = proof.await?.map_err(|it| it.told(audit.signs));
    let (size, checkpoint, hashes) = proof?;
    Ok(Json(InclusionProof {
        position,
        leaf_hash: BASE64_STANDARD.encode(leaf),
        size,
        hashes: in_base64(&hashes),
        checkpoint,
    }))
}

async fn inclusion(
    log: &EventLog,
    connection: &mut PgConnection,
    position: i64,
    wanted: Option<i64>,
) -> sqlx::Result<Result<(i64, String, Vec<Hash>), Missing>> {
    let (size, note) = match log.note(connection, wanted).await? {
        Ok(found) => found,
        Err(missing) => return Ok(Err(missing)),
    };
    let hashes = log.inclusion(connection, position.unsigned_abs(), size.unsigned_abs());
    let missing = match wanted {
        Some(_) => Missing::Never,
        None => Missing::NotYet,
    };
    let hashes = hashes.await?.ok_or(missing);
    Ok(hashes.map(|hashes| (size, note, hashes)))
}

/// A signed checkpoint of the log
///
/// A note as C2SP `tlog-checkpoint` has it, signed with Ed25519. The service's command `check` shows
/// the public key.
#[utoipa::path(
    get, path = "/api/v1/audit/checkpoint", tag = "Audit",
    params(("size" = Option<u64>, Query, description = "The size of an older one", minimum = 1)),
    responses(
        (status = 200, description = "The last checkpoint, or that of this size", body = String, content_type = "text/plain", headers(
            ("Cache-Control" = String, description = "`no-store`"),
        )),
        (status = 404, description = "No checkpoint has this size", headers(
            ("Cache-Control" = String, description = "`no-store`"),
        )),
        (status = 409, description = "No such checkpoint is signed yet", headers(
            ("Cache-Control" = String, description = "`no-store`"),
            ("Retry-After" = String, description = "Seconds after which asking again makes sense; missing where no checkpoints are signed"),
        )),
    )
)]
pub(super) async fn get_checkpoint(
    State(audit): State<Shared>,
    mut query: Query,
) -> Result<String, Rejection> {
    let size = size(&mut query, "size")?;
    query.end()?;
    let asked = (audit.log.clone(), size);
    let note = audit.read(asked, |connection, (log, size)| {
        Box::pin(log.note(connection, *size))
    });
    let note = note.await?.map_err(|it| it.told(audit.signs));
    note.map(|(_, note)| note)
}

/// The proof that the log of one size begins with that of a smaller one
///
/// By RFC 9162, section 2.1.4: between two checkpoints nothing was changed or taken away.
#[utoipa::path(
    get, path = "/api/v1/audit/checkpoint/consistency", tag = "Audit",
    params(
        ("from" = u64, Query, description = "The smaller size", example = 1, minimum = 1),
        ("to" = Option<u64>, Query, description = "The larger one, that of the last checkpoint where it is not said", minimum = 1),
    ),
    responses(
        (status = 200, description = "The proof", body = ConsistencyProof, headers(
            ("Cache-Control" = String, description = "`no-store`"),
        )),
        (status = 409, description = "No checkpoint of this size or a larger one is signed yet", headers(
            ("Cache-Control" = String, description = "`no-store`"),
            ("Retry-After" = String, description = "Seconds after which asking again makes sense; missing where no checkpoints are signed"),
        )),
    )
)]
pub(super) async fn get_consistency_proof(
    State(audit): State<Shared>,
    mut query: Query,
) -> Result<Json<ConsistencyProof>, Rejection> {
    let from = size(&mut query, "from")?;
    let to = size(&mut query, "to")?;
    query.end()?;
    let from = from.ok_or_else(|| invalid_parameter("from", &"is a size, from 1 on"))?;
    if to.is_some_and(|to| from > to) {
        return Err(invalid_parameter("from", &"is not above to"));
    }
    let asked = (audit.log.clone(), from, to);
    let proof = audit.read(asked, |connection, (log, from, to)| {
        Box::pin(consistency(log, connection, *from, *to))
    });
    let (to, hashes) = proof.await?.map_err(|it| it.told(audit.signs))?;
    let hashes = in_base64(&hashes);
    Ok(Json(ConsistencyProof { from, to, hashes }))
}

async fn consistency(
    log: &EventLog,
    connection: &mut PgConnection,
    from: i64,
    to: Option<i64>,
) -> sqlx::Result<Result<(i64, Vec<Hash>), Missing>> {
    let last = match log.note(connection, None).await? {
        Ok((size, _)) => size,
        Err(missing) => return Ok(Err(missing)),
    };
    let to = to.unwrap_or(last);
    // Nobody has signed for what is behind it.
    if to > last {
        return Ok(Err(Missing::NotYet));
    }
    let hashes = log.consistency(connection, from.unsigned_abs(), to.unsigned_abs());
    let hashes = hashes.await?.ok_or(Missing::NotYet);
    Ok(hashes.map(|hashes| (to, hashes)))
}

/// Why there is no such checkpoint.
enum Missing {
    /// There may be one later.
    NotYet,
    /// There never will be.
    Never,
}

impl Missing {
    fn told(self, signs: bool) -> Rejection {
        let not_yet = |detail| {
            let (code, title) = ("not_yet_signed", "Not yet signed");
            Rejection::new(StatusCode::CONFLICT, code, title, detail)
        };
        match self {
            Self::NotYet if signs => not_yet(
                "There is no such checkpoint yet. One is signed every minute or every 1000 events.",
            )
            .with_header(RETRY_AFTER, 60),
            Self::NotYet => not_yet(
                "There is no such checkpoint, and none is signed: event_log.signing_key is not set.",
            ),
            Self::Never => Rejection::new(
                StatusCode::NOT_FOUND,
                "checkpoint_not_found",
                "Checkpoint not found",
                "No checkpoint has this size, or it is older than the event.",
            ),
        }
    }
}

impl EventLog {
    /// The checkpoint of a size, or the last one: its size and its note.
    async fn note(
        &self,
        connection: &mut PgConnection,
        size: Option<i64>,
    ) -> sqlx::Result<Result<(i64, String), Missing>> {
        let last = "select position, note from event_log.checkpoints
             where $1::bigint is null order by position desc limit 1";
        let next = "select position, note from event_log.checkpoints
             where position >= $1 order by position limit 1";
        let select = self.sql(if size.is_some() { next } else { last });
        let query = sqlx::query_as(select).bind(size);
        let found: Option<(i64, String)> = query.fetch_optional(connection).await?;
        let found = found.ok_or(Missing::NotYet);
        Ok(found.and_then(|found| match size {
            Some(size) if size != found.0 => Err(Missing::Never),
            _ => Ok(found),
        }))
    }
}

fn size(query: &mut Query, name: &str) -> Result<Option<i64>, Rejection> {
    let size = query.number(name, 1..=i64::MAX.unsigned_abs())?;
    Ok(size.and_then(|it| i64::try_from(it).ok()))
}

fn in_base64(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(|it| BASE64_STANDARD.encode(it)).collect()
}
