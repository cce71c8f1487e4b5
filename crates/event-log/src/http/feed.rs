use std::time::{Duration, SystemTime};

use axum::{
    Extension,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use contracts::CloudEvent;
use service_defaults::{
    extract::{Json, invalid_parameter},
    limits::RequestDeadline,
    problem::Rejection,
    query::Query,
};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::{Shared, wire::cloud_events};
use crate::{EventLog, Head, Page, Wanted};

const BATCH: HeaderValue = HeaderValue::from_static("application/cloudevents-batch+json");
const LOG_BEHIND_MS: HeaderName = HeaderName::from_static("log-behind-ms");
const LOG_ID: HeaderName = HeaderName::from_static("log-id");
const LOG_POSITION: HeaderName = HeaderName::from_static("log-position");
const NEXT_EVENT_ID: HeaderName = HeaderName::from_static("next-event-id");

const EVENTS: u64 = 100;
const MOST_EVENTS: u64 = 1_000;
pub(super) const LONGEST_POLL: Duration = Duration::from_secs(30);
const MOST_TYPES: usize = 20;
/// Said of a log that nobody has looked at yet.
const NOT_KNOWN: Duration = Duration::from_hours(24);
/// Kept back of the time that the caller has, so that an empty page reaches it.
const TIME_TO_ANSWER: Duration = Duration::from_millis(250);

/// Events in the order of the log (http-feeds)
///
/// Without a place to begin it is the beginning of the log. A reader sends `Next-Event-Id` as
/// `lastEventId` of its next request, and waits there with `timeout` until there is something new.
/// 410 says that the log does not have the event that was last read, as after a restore: copy
/// everything anew.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "Events",
    params(
        ("lastEventId" = Option<String>, Query, description = "Events after this one", format = "uuid"),
        ("fromPosition" = Option<u64>, Query, description = "Events from this place on, that one too", minimum = 1),
        ("since" = Option<String>, Query, description = "Events that got their place at this moment or later (RFC 3339, UTC)", example = "2026-01-01T00:00:00Z", format = "date-time"),
        ("limit" = Option<u64>, Query, description = "Most events of the page, 100 where it is not said", minimum = 1, maximum = 1000),
        ("timeout" = Option<u64>, Query, description = "Milliseconds to wait for an event where there is none", minimum = 0, maximum = 30000),
        ("types" = Option<String>, Query, description = "Only events of these types, separated by commas, 20 at most. A page looks at 10000 events at most"),
        ("subject" = Option<String>, Query, description = "Only events of this thing"),
    ),
    responses(
        (status = 200, description = "The next events, at most about 1 MiB of `data`; none at the end", body = Vec<CloudEvent>, content_type = "application/cloudevents-batch+json", headers(
            ("Cache-Control" = String, description = "`no-store`"),
            ("Log-Behind-Ms" = u64, description = "What was changed so many milliseconds before this answer, or earlier, has its place in the log. It grows while events wait for their places, so that a reader at the end of the log does not take itself for up to date"),
            ("Log-Id" = String, description = "Which log it is. Another one after a restore that lost events"),
            ("Log-Position" = String, description = "The last place of the log"),
            ("Next-Event-Id" = String, description = "What to send as `lastEventId` next; missing where nothing was read and no event was named"),
        )),
        (status = 410, description = "The log has no such event", headers(
            ("Cache-Control" = String, description = "`no-store`"),
        )),
    )
)]
pub(super) async fn get_events(
    State(feed): State<Shared>,
    Extension(RequestDeadline(deadline)): Extension<RequestDeadline>,
    mut query: Query,
) -> Result<Response, Rejection> {
    let mut asked = Asked::take(&mut query, feed.log.clone())?;
    let longest = u64::try_from(LONGEST_POLL.as_millis()).unwrap_or(u64::MAX);
    let timeout = query.number("timeout", 0..=longest)?;
    query.end()?;
    let wait = Duration::from_millis(timeout.unwrap_or_default());
    let until = (Instant::now() + wait).min(deadline - TIME_TO_ANSWER);
    let mut passed = None;
    loop {
        let found = feed.read(asked.clone(), |connection, asked| {
            Box::pin(look(connection, asked))
        });
        let found = found.await?.ok_or_else(unknown_event)?;
        let (position, event) = found.page.last.unzip();
        passed = event.or(passed);
        let after = position.unwrap_or(found.after);
        // In mid-log a reader is told at once how far the page looked.
        let at_the_end = found.page.events.is_empty() && after >= found.head.position;
        if !at_the_end || !placed_until(&feed, after, until).await {
            let next = passed.or(asked.last_event);
            return batch(found, next, &feed.source);
        }
        // A moment is asked for again until something was placed at it or later.
        if position.is_some() || !matches!(asked.start, Start::Since(_)) {
            asked.start = Start::After(after);
        }
    }
}

/// Waits for an event after this position, until a moment or a stop; says whether there is one.
async fn placed_until(feed: &Shared, after: i64, until: Instant) -> bool {
    let waits = Instant::now() < until && !feed.shutdown.is_draining();
    waits
        && tokio::select! {
            () = feed.log.placed_after(after) => true,
            () = sleep_until(until) => false,
            () = feed.shutdown.begun() => false,
        }
}

/// What a reader asks for.
#[derive(Clone)]
struct Asked {
    log: EventLog,
    start: Start,
    /// The event that the reader names.
    last_event: Option<Uuid>,
    wanted: Wanted,
}

#[derive(Clone, Copy)]
enum Start {
    After(i64),
    AfterEvent(Uuid),
    Since(SystemTime),
}

impl Asked {
    fn take(query: &mut Query, log: EventLog) -> Result<Self, Rejection> {
        let last_event = query.take::<Uuid>("lastEventId")?;
        let position = query.number("fromPosition", 1..=i64::MAX.unsigned_abs())?;
        let since = moment(query, "since")?;
        let position = position.and_then(|it| i64::try_from(it).ok());
        let starts = [
            ("lastEventId", last_event.map(Start::AfterEvent)),
            ("fromPosition", position.map(|it| Start::After(it - 1))),
            ("since", since.map(Start::Since)),
        ];
        let mut starts = starts
            .into_iter()
            .filter_map(|(name, it)| Some((name, it?)));
        let start = starts.next().map_or(Start::After(0), |(_, start)| start);
        if let Some((name, _)) = starts.next() {
            let rule = "stands alone: lastEventId, fromPosition and since each name a beginning";
            return Err(invalid_parameter(name, &rule));
        }
        let limit = query.number("limit", 1..=MOST_EVENTS)?.unwrap_or(EVENTS);
        let types = query.take::<String>("types")?;
        let types: Vec<_> = types
            .iter()
            .flat_map(|types| types.split(','))
            .map(str::to_owned)
            .collect();
        if types.len() > MOST_TYPES || types.iter().any(|it| it.is_empty() || it.contains('\0')) {
            let rule = format_args!("is 1 to {MOST_TYPES} types, separated by commas");
            return Err(invalid_parameter("types", &rule));
        }
        Ok(Self {
            log,
            start,
            last_event,
            wanted: Wanted {
                after: 0,
                limit: u16::try_from(limit).unwrap_or(u16::MAX),
                types,
                subject: subject(query)?,
            },
        })
    }
}

/// A kind of thing and which one.
fn subject(query: &mut Query) -> Result<Option<(String, String)>, Rejection> {
    let Some(text) = query.take::<String>("subject")? else {
        return Ok(None);
    };
    let parts = text.split_once('/').filter(|_| !text.contains('\0'));
    let (kind, id) = parts.ok_or_else(|| {
        invalid_parameter("subject", &"is a kind of thing, a slash and which one")
    })?;
    Ok(Some((kind.to_owned(), id.to_owned())))
}

/// A moment of this name, if it was sent.
pub(super) fn moment(query: &mut Query, name: &str) -> Result<Option<SystemTime>, Rejection> {
    let Some(text) = query.take::<String>(name)? else {
        return Ok(None);
    };
    let moment = humantime::parse_rfc3339(&text);
    let rule = "is a moment of RFC 3339 in UTC, such as 2026-01-01T00:00:00Z";
    moment.map(Some).map_err(|_| invalid_parameter(name, &rule))
}

struct Found {
    /// What was committed before this moment is before the head.
    complete: Option<Instant>,
    head: Head,
    /// The position that the page begins after.
    after: i64,
    page: Page,
}

/// The next page; `None` where the log does not have the event that it begins after.
async fn look(connection: &mut PgConnection, asked: &Asked) -> sqlx::Result<Option<Found>> {
    let Asked { log, wanted, .. } = asked;
    // Before everything else, so that nothing is taken for placed that the page lacks.
    let complete = log.complete();
    let after = match asked.start {
        Start::After(position) => position,
        Start::Since(time) => {
            let head = log.head(connection).await?;
            let after = log.position_before(connection, time).await?;
            // What is placed from here on may still be before the moment.
            if after >= head.position {
                return Ok(Some(Found {
                    complete,
                    head,
                    after,
                    page: Page::default(),
                }));
            }
            after
        }
        Start::AfterEvent(event) => match log.position_after(connection, event).await? {
            Some(position) => position,
            None => return Ok(None),
        },
    };
    let wanted = Wanted {
        after,
        ..wanted.clone()
    };
    // Before the page, so that only one that was cut ends before it.
    let mut head = log.head(connection).await?;
    let page = log.page(connection, &wanted).await?;
    if let Some((last, _)) = page.last {
        head.position = head.position.max(last);
    }
    Ok(Some(Found {
        complete,
        head,
        after,
        page,
    }))
}

fn batch(found: Found, next: Option<Uuid>, source: &str) -> Result<Response, Rejection> {
    let events = cloud_events(found.page.events, source)?;
    let mut response = Json(events).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, BATCH);
    headers.insert(LOG_POSITION, found.head.position.into());
    let behind = found.complete.map_or(NOT_KNOWN, |it| it.elapsed());
    let behind = u64::try_from(behind.as_millis()).unwrap_or(u64::MAX);
    headers.insert(LOG_BEHIND_MS, behind.into());
    for (name, value) in [(LOG_ID, Some(found.head.log_id)), (NEXT_EVENT_ID, next)] {
        let value = value.and_then(|it| HeaderValue::from_str(&it.to_string()).ok());
        headers.extend(value.map(|it| (name, it)));
    }
    Ok(response)
}

fn unknown_event() -> Rejection {
    Rejection::new(
        StatusCode::GONE,
        "unknown_event",
        "Unknown event",
        "This log does not have the event of lastEventId. Copy everything anew, then follow.",
    )
}
