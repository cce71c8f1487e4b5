//! Events that could not be applied: looking at them, and what becomes of them.

use axum::{Extension, extract::State, http::StatusCode};
use contracts::{
    DeadLetter, DeadLetterNote, DeadLetterPage, DeadLetterRetry, DeadLetterStatus,
    DeadLetterWithEvent, DeadLettersRetried,
};
use service_database::Database;
use service_defaults::{
    extract::{Json, Path, PathPair},
    problem::Rejection,
    query::Query,
    request_context::RequestContext,
    telemetry::AUDIT,
};
use uuid::Uuid;

use super::{change, consumer_not_found, key_id, store};

/// Dead letters of a page.
const LETTERS: u64 = 50;
const MOST_LETTERS: u64 = 500;

/// The dead letters of a consumer
#[utoipa::path(
    get, path = "/api/v1/operations/consumers/{consumer}/dead-letters", tag = "Replica",
    params(
        ("consumer" = String, Path, description = "Its name", example = "vehicle_replica"),
        ("status" = Option<DeadLetterStatus>, Query, description = "Only those of this status"),
        ("after" = Option<String>, Query, description = "`next` of the page before", format = "uuid"),
        ("limit" = Option<u64>, Query, description = "Most dead letters of the page, 50 where it is not said", minimum = 1, maximum = 500),
    ),
    responses(
        (status = 200, description = "A page of dead letters", body = DeadLetterPage, headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 404, description = "There is no consumer of this name"),
    )
)]
pub(super) async fn list_dead_letters(
    State(database): State<Database>,
    Path(consumer): Path<String>,
    mut query: Query,
) -> Result<Json<DeadLetterPage>, Rejection> {
    let status = query.take::<StatusName>("status")?;
    let after = query.take::<Uuid>("after")?;
    let limit = query.number("limit", 1..=MOST_LETTERS)?.unwrap_or(LETTERS);
    query.end()?;
    let asked = store::Asked {
        consumer,
        status: status.map(|it| it.0),
        after,
        limit: i64::try_from(limit).unwrap_or(i64::MAX),
    };
    let found = database.read(asked, |connection, asked| {
        Box::pin(store::dead_letters(connection, asked))
    });
    found.await?.map(Json).ok_or_else(consumer_not_found)
}

/// A dead letter with its event
#[utoipa::path(
    get, path = "/api/v1/operations/consumers/{consumer}/dead-letters/{id}", tag = "Replica",
    params(
        ("consumer" = String, Path, description = "Its name", example = "vehicle_replica"),
        ("id" = String, Path, description = "Id of the dead letter", format = "uuid"),
    ),
    responses(
        (status = 200, description = "The dead letter", body = DeadLetterWithEvent, headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 404, description = "The consumer has no such dead letter"),
    )
)]
pub(super) async fn get_dead_letter(
    State(database): State<Database>,
    PathPair(consumer, id): PathPair<String, Uuid>,
) -> Result<Json<DeadLetterWithEvent>, Rejection> {
    let found = database.read((consumer, id), |connection, (consumer, id)| {
        Box::pin(store::dead_letter(connection, consumer, *id))
    });
    found.await?.map(Json).ok_or_else(dead_letter_not_found)
}

/// Has a dead letter tried again
///
/// The consumer tries it as soon as it can. Where the thing has a newer version already, nothing is
/// changed and the letter is closed as superseded.
#[utoipa::path(
    post, path = "/api/v1/operations/consumers/{consumer}/dead-letters/{id}/retry", tag = "Replica",
    params(
        ("consumer" = String, Path, description = "Its name", example = "vehicle_replica"),
        ("id" = String, Path, description = "Id of the dead letter", format = "uuid"),
    ),
    responses(
        (status = 202, description = "It is tried again", body = DeadLetter, headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 404, description = "The consumer has no such dead letter"),
        (status = 409, description = "It is closed already"),
    )
)]
pub(super) async fn retry_dead_letter(
    State(database): State<Database>,
    Extension(context): Extension<RequestContext>,
    PathPair(consumer, id): PathPair<String, Uuid>,
) -> Result<(StatusCode, Json<DeadLetter>), Rejection> {
    let move_to = (DeadLetterStatus::Retrying, None);
    let letter = end(&database, &context, (consumer, id), move_to).await?;
    Ok((StatusCode::ACCEPTED, letter))
}

/// Closes a dead letter that is corrected
///
/// Nothing is applied: say so where the source was corrected, and its next event comes. Until then
/// the car is not told as up to date.
#[utoipa::path(
    post, path = "/api/v1/operations/consumers/{consumer}/dead-letters/{id}/resolve", tag = "Replica",
    params(
        ("consumer" = String, Path, description = "Its name", example = "vehicle_replica"),
        ("id" = String, Path, description = "Id of the dead letter", format = "uuid"),
    ),
    request_body = DeadLetterNote,
    responses(
        (status = 200, description = "It is closed", body = DeadLetter, headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 404, description = "The consumer has no such dead letter"),
        (status = 409, description = "It is closed already"),
    )
)]
pub(super) async fn resolve_dead_letter(
    State(database): State<Database>,
    Extension(context): Extension<RequestContext>,
    PathPair(consumer, id): PathPair<String, Uuid>,
    Json(note): Json<DeadLetterNote>,
) -> Result<Json<DeadLetter>, Rejection> {
    let move_to = (DeadLetterStatus::Resolved, Some(note));
    end(&database, &context, (consumer, id), move_to).await
}

/// Gives a dead letter up
///
/// The copy stays as it is, and says what it said before the event; not as up to date, until a later
/// event of the car or another copy.
#[utoipa::path(
    post, path = "/api/v1/operations/consumers/{consumer}/dead-letters/{id}/discard", tag = "Replica",
    params(
        ("consumer" = String, Path, description = "Its name", example = "vehicle_replica"),
        ("id" = String, Path, description = "Id of the dead letter", format = "uuid"),
    ),
    request_body = DeadLetterNote,
    responses(
        (status = 200, description = "It is closed", body = DeadLetter, headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 404, description = "The consumer has no such dead letter"),
        (status = 409, description = "It is closed already"),
    )
)]
pub(super) async fn discard_dead_letter(
    State(database): State<Database>,
    Extension(context): Extension<RequestContext>,
    PathPair(consumer, id): PathPair<String, Uuid>,
    Json(note): Json<DeadLetterNote>,
) -> Result<Json<DeadLetter>, Rejection> {
    let move_to = (DeadLetterStatus::Discarded, Some(note));
    end(&database, &context, (consumer, id), move_to).await
}

/// Has the oldest parked dead letters tried again
#[utoipa::path(
    post, path = "/api/v1/operations/consumers/{consumer}/dead-letters/retry", tag = "Replica",
    params(("consumer" = String, Path, description = "Its name", example = "vehicle_replica")),
    request_body = DeadLetterRetry,
    responses(
        (status = 202, description = "They are tried again", body = DeadLettersRetried, headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 404, description = "There is no consumer of this name"),
    )
)]
pub(super) async fn retry_dead_letters(
    State(database): State<Database>,
    Extension(context): Extension<RequestContext>,
    Path(consumer): Path<String>,
    Json(wanted): Json<DeadLetterRetry>,
) -> Result<(StatusCode, Json<DeadLettersRetried>), Rejection> {
    let limit = i64::try_from(wanted.limit).unwrap_or(i64::MAX);
    let asked = (consumer, limit);
    let done = change(&database, &asked, |connection, (consumer, limit)| {
        Box::pin(store::retry_oldest(connection, consumer, *limit))
    });
    let retrying = done.await?.ok_or_else(consumer_not_found)?;
    tracing::warn!(
        target: AUDIT,
        parent: None,
        action = "retry_dead_letters",
        consumer = asked.0,
        retrying,
        key_id = key_id(&context),
        request_id = context.request_id(),
        trace_id = context.trace_id(),
        reason = wanted.reason.expose(),
        "dead letters are tried again"
    );
    Ok((StatusCode::ACCEPTED, Json(DeadLettersRetried { retrying })))
}

/// Gives an open dead letter another status.
async fn end(
    database: &Database,
    context: &RequestContext,
    (consumer, id): (String, Uuid),
    (status, note): (DeadLetterStatus, Option<DeadLetterNote>),
) -> Result<Json<DeadLetter>, Rejection> {
    let note = note.map(|it| it.note.expose().to_owned());
    let wanted = store::Move {
        consumer,
        id,
        status,
        by: context.actor(),
        note,
    };
    let done = change(database, &wanted, |connection, wanted| {
        Box::pin(store::move_dead_letter(connection, wanted))
    });
    let (letter, moved) = done.await?.ok_or_else(dead_letter_not_found)?;
    if !moved {
        return Err(Rejection::new(
            StatusCode::CONFLICT,
            "dead_letter_closed",
            "Closed already",
            "The dead letter is closed already.",
        ));
    }
    tracing::warn!(
        target: AUDIT,
        parent: None,
        action = "move_dead_letter",
        consumer = wanted.consumer,
        dead_letter_id = %id,
        status = status.name(),
        key_id = key_id(context),
        request_id = context.request_id(),
        trace_id = context.trace_id(),
        note = wanted.note,
        "a dead letter is handled by hand"
    );
    Ok(Json(letter))
}

fn dead_letter_not_found() -> Rejection {
    Rejection::new(
        StatusCode::NOT_FOUND,
        "dead_letter_not_found",
        "Dead letter not found",
        "The consumer has no dead letter with this id.",
    )
}

#[derive(Clone, Copy)]
struct StatusName(DeadLetterStatus);

#[derive(Debug, thiserror::Error)]
#[error("is the name of a status")]
struct NoStatus;

impl std::str::FromStr for StatusName {
    type Err = NoStatus;

    fn from_str(text: &str) -> Result<Self, NoStatus> {
        DeadLetterStatus::named(text).map(Self).ok_or(NoStatus)
    }
}
