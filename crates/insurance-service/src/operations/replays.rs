//! Replays: starting, watching and ending them.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{FromRef, State},
    http::{HeaderValue, StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use contracts::{Replay, ReplayList, ReplayMode, ReplayRequest};
use service_database::Database;
use service_defaults::{
    extract::{Json, Path, invalid_member},
    problem::Rejection,
    request_context::RequestContext,
    telemetry::AUDIT,
};
use tokio::sync::Notify;
use uuid::Uuid;
use vehicle_client::{Feed, FeedStart};

use super::{change, consumer_not_found, key_id};
use crate::replay::{
    MOST_EVENTS,
    store::{self, Cancel, New, Start},
    window::{End, Wanted, Window, WindowError, find_window},
};

/// The longest window that may be asked for without a word more. Tombstones are kept for as long.
const LONGEST_WINDOW: Duration = Duration::from_hours(30 * 24);
/// After how many seconds Vehicle is worth another question.
const RETRY_AFTER_SECONDS: u64 = 5;

/// What the routes need.
#[derive(Clone, FromRef)]
pub(crate) struct Replays {
    pub(crate) database: Database,
    /// Where this process follows Vehicle.
    pub(crate) feed: Option<Feed>,
    /// Tells the worker of a new one.
    pub(crate) wake: Arc<Notify>,
}

/// Starts a replay
///
/// One at a time for each consumer. A dry run reads a part of the log, as far as the copy is, and
/// compares the last state of each vehicle in it with the copy; nothing is changed, and over 1000
/// vehicles that differ it gives up. A rebuild makes a new copy beside the one that is read, and
/// swaps them.
#[utoipa::path(
    post, path = "/api/v1/operations/replays", tag = "Replica",
    request_body = ReplayRequest,
    responses(
        (status = 202, description = "It is started", body = Replay, headers(
            ("Location" = String, description = "Where to watch it"),
            ("Cache-Control" = String, description = "`no-store`"),
        )),
        (status = 404, description = "There is no consumer of this name"),
        (status = 409, description = "A replay is at work, the consumer of a rebuild is not following, or this process has nothing to compare"),
        (status = 422, description = "The window has no event, or too many"),
    )
)]
pub(super) async fn start_replay(
    State(replays): State<Replays>,
    Extension(context): Extension<RequestContext>,
    Json(request): Json<ReplayRequest>,
) -> Result<Response, Rejection> {
    let feed = replays.feed.as_ref().ok_or_else(replica_off)?;
    let window = match request.mode {
        ReplayMode::Rebuild => None,
        ReplayMode::DryRun => Some(dry_run(&replays.database, feed, &request).await?),
    };
    let new = New {
        id: Uuid::now_v7(),
        consumer: request.consumer,
        window,
        reason: request.reason.expose().to_owned(),
        key_id: key_id(&context).to_owned(),
        actor: context.actor(),
    };
    let started = change(&replays.database, &new, |connection, new| {
        Box::pin(store::start(connection, new))
    });
    match started.await? {
        Start::Started => {}
        Start::Running(id) => return Err(running(id)),
        Start::NotFollowing => {
            return Err(conflict(
                "consumer_not_following",
                "Not following",
                "The consumer is paused, or makes a new copy already. Have it follow first.",
            ));
        }
        Start::NoConsumer => return Err(consumer_not_found()),
    }
    replays.wake.notify_one();
    tracing::warn!(
        target: AUDIT,
        parent: None,
        action = "start_replay",
        consumer = new.consumer,
        mode = request.mode.name(),
        replay_id = %new.id,
        key_id = key_id(&context),
        request_id = context.request_id(),
        trace_id = context.trace_id(),
        reason = new.reason,
        "a replay is started by hand"
    );
    let replay = find(&replays.database, new.id).await?;
    let mut response = (StatusCode::ACCEPTED, replay).into_response();
    let at = HeaderValue::from_str(&format!("/api/v1/operations/replays/{}", new.id));
    response
        .headers_mut()
        .extend(at.ok().map(|at| (LOCATION, at)));
    Ok(response)
}

/// The window of a dry run, which is no larger than the request says.
async fn dry_run(
    database: &Database,
    feed: &Feed,
    request: &ReplayRequest,
) -> Result<Window, Rejection> {
    let wanted = wanted(database, request).await?;
    let window = find_window(feed, &wanted)
        .await
        .map_err(|error| match error {
            WindowError::Empty => unprocessable(
                "window_empty",
                "Nothing to compare",
                "The log has no event in the window, as far as the copy is.",
            ),
            WindowError::OtherLog => replica_off(),
            WindowError::Feed(error) => Rejection::unavailable(
                "vehicle_unavailable",
                "Vehicle could not be asked where the window begins and ends.",
                RETRY_AFTER_SECONDS,
            )
            .with_cause(error),
        })?;
    let events = window.until - window.from + 1;
    if !request.confirm && (events > MOST_EVENTS || window.lasts > LONGEST_WINDOW) {
        let days = window.lasts.as_secs() / (24 * 60 * 60);
        let detail = "Ask for 30 days and 1000000 events at most, or send confirm.";
        let too_large = unprocessable("window_too_large", "Large window", detail);
        return Err(too_large
            .with_member("events", events)
            .with_member("days", days));
    }
    Ok(window)
}

async fn wanted(database: &Database, request: &ReplayRequest) -> Result<Wanted, Rejection> {
    let start = match (&request.from, request.from_position) {
        (Some(moment), _) => FeedStart::Since(checked("from", moment)?),
        (None, position) => FeedStart::Position(signed(position.unwrap_or(1))),
    };
    let end = match (&request.until, request.until_position) {
        (Some(moment), _) => Some(End::Before(checked("until", moment)?)),
        (None, position) => position.map(|it| End::Position(signed(it))),
    };
    let copy = database.read(request.consumer.clone(), |connection, consumer| {
        Box::pin(store::copy(connection, consumer))
    });
    let copy = copy.await?.ok_or_else(consumer_not_found)?;
    let copy = copy.has.ok_or_else(replica_off)?;
    Ok(Wanted { start, end, copy })
}

/// A moment of the body in the form that the feed knows.
fn checked(member: &str, moment: &str) -> Result<String, Rejection> {
    let rule = "is a moment of RFC 3339 in UTC, such as 2026-01-01T00:00:00Z";
    let moment = humantime::parse_rfc3339(moment).map_err(|_| invalid_member(member, &rule))?;
    Ok(humantime::format_rfc3339_micros(moment).to_string())
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The latest replays
#[utoipa::path(
    get, path = "/api/v1/operations/replays", tag = "Replica",
    responses((status = 200, description = "The latest 50, the newest first", body = ReplayList, headers(("Cache-Control" = String, description = "`no-store`"))))
)]
pub(super) async fn list_replays(
    State(database): State<Database>,
) -> Result<Json<ReplayList>, Rejection> {
    let found = database.read((), |connection, ()| {
        Box::pin(store::replays(connection, None))
    });
    let replays = found.await?;
    Ok(Json(ReplayList { replays }))
}

/// How far a replay is
#[utoipa::path(
    get, path = "/api/v1/operations/replays/{id}", tag = "Replica",
    params(("id" = String, Path, description = "Id of the replay", format = "uuid")),
    responses(
        (status = 200, description = "Its state", body = Replay, headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 404, description = "There is none with this id"),
    )
)]
pub(super) async fn get_replay(
    State(database): State<Database>,
    Path(id): Path<Uuid>,
) -> Result<Json<Replay>, Rejection> {
    find(&database, id).await
}

/// Ends a replay before it is done
///
/// A dry run ends after its page. Of a rebuild nothing is left: the copy that is read was followed
/// meanwhile and stays.
#[utoipa::path(
    delete, path = "/api/v1/operations/replays/{id}", tag = "Replica",
    params(("id" = String, Path, description = "Id of the replay", format = "uuid")),
    responses(
        (status = 202, description = "It ends, or has ended by this", body = Replay, headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 404, description = "There is none with this id"),
        (status = 409, description = "It has ended, or cannot be done without"),
    )
)]
pub(super) async fn cancel_replay(
    State(database): State<Database>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<Uuid>,
) -> Result<(StatusCode, Json<Replay>), Rejection> {
    let done = change(&database, &id, |connection, id| {
        Box::pin(store::cancel(connection, *id))
    });
    match done.await?.ok_or_else(replay_not_found)? {
        Cancel::Cancelled => {}
        Cancel::Ended => {
            return Err(conflict(
                "replay_ended",
                "Ended already",
                "The replay has ended already.",
            ));
        }
        Cancel::Needed => {
            return Err(conflict(
                "replay_needed",
                "Needed",
                "The copy that is read is of another log, so that there has to be a new one.",
            ));
        }
    }
    tracing::warn!(
        target: AUDIT,
        parent: None,
        action = "cancel_replay",
        replay_id = %id,
        key_id = key_id(&context),
        request_id = context.request_id(),
        trace_id = context.trace_id(),
        "a replay is ended by hand"
    );
    let replay = find(&database, id).await?;
    Ok((StatusCode::ACCEPTED, replay))
}

async fn find(database: &Database, id: Uuid) -> Result<Json<Replay>, Rejection> {
    let found = database.read(id, |connection, id| {
        Box::pin(store::replays(connection, Some(*id)))
    });
    let only = found.await?.pop();
    only.map(Json).ok_or_else(replay_not_found)
}

fn replay_not_found() -> Rejection {
    Rejection::new(
        StatusCode::NOT_FOUND,
        "replay_not_found",
        "Replay not found",
        "There is no replay with this id.",
    )
}

fn conflict(code: &'static str, title: &'static str, detail: &'static str) -> Rejection {
    Rejection::new(StatusCode::CONFLICT, code, title, detail)
}

fn unprocessable(code: &'static str, title: &'static str, detail: &'static str) -> Rejection {
    Rejection::new(StatusCode::UNPROCESSABLE_ENTITY, code, title, detail)
}

fn replica_off() -> Rejection {
    conflict(
        "replica_off",
        "No copy",
        "This process does not follow Vehicle (replica.enabled), or there is no copy of its log yet.",
    )
}

fn running(id: Uuid) -> Rejection {
    conflict(
        "replay_running",
        "Replay at work",
        "A replay of the consumer is at work. Wait for its end, or cancel it.",
    )
    .with_member("replayId", id.to_string())
}
