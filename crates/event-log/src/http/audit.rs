use std::time::{Duration, SystemTime};

use axum::{extract::State, http::StatusCode};
use contracts::{AuditBucket, AuditEvent, AuditPage, AuditStatistics, AuditWindow};
use service_defaults::{
    extract::{Json, Path, invalid_parameter},
    problem::Rejection,
    query::Query,
};
use uuid::Uuid;

use super::{
    Shared,
    feed::moment,
    too_broad,
    wire::{cloud_event, cloud_events},
};
use crate::{Answer, By, EventLog, Question};

const EVENTS: u64 = 50;
const MOST_EVENTS: u64 = 500;
const DAY: Duration = Duration::from_hours(24);
const WINDOW: Duration = DAY.saturating_mul(30);
const LONGEST_WINDOW: Duration = DAY.saturating_mul(366);
/// The longest window that may be asked for without any other filter.
const LONGEST_BARE_WINDOW: Duration = DAY.saturating_mul(7);
const LONGEST_STATISTICS: Duration = DAY.saturating_mul(31);
const HOUR: Duration = Duration::from_hours(1);
/// What the database counts time in.
const MICROSECOND: Duration = Duration::from_micros(1);
/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can tell, since 1970.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// Who changed what, newest first
///
/// Ask for one thing, one request, one type, one actor or a week at most; all filters narrow each
/// other. The time that was looked at is in the answer: the last 30 days where nothing is said.
#[utoipa::path(
    get, path = "/api/v1/audit/events", tag = "Audit",
    params(
        ("aggregateType" = Option<String>, Query, description = "Of this kind of thing, with `aggregateId`"),
        ("aggregateId" = Option<String>, Query, description = "Of this thing, with `aggregateType`"),
        ("correlationId" = Option<String>, Query, description = "Of the request with this id; `none` counts as not said"),
        ("type" = Option<String>, Query, description = "Of this type"),
        ("actor" = Option<String>, Query, description = "By this actor"),
        ("from" = Option<String>, Query, description = "Placed at this moment or later (RFC 3339, UTC)", format = "date-time"),
        ("until" = Option<String>, Query, description = "Placed before this moment (RFC 3339, UTC), now where it is not said; at most 366 days after `from`", format = "date-time"),
        ("after" = Option<u64>, Query, description = "`next` of the page before", minimum = 1),
        ("limit" = Option<u64>, Query, description = "Most events of the page, 50 where it is not said", minimum = 1, maximum = 500),
    ),
    responses((status = 200, description = "A page of events", body = AuditPage, headers(
        ("Cache-Control" = String, description = "`no-store`"),
    )))
)]
pub(super) async fn find_audited_events(
    State(audit): State<Shared>,
    mut query: Query,
) -> Result<Json<AuditPage>, Rejection> {
    let until = until(&mut query, &audit).await?;
    let question = question(&mut query, until)?;
    query.end()?;
    let window = window((question.from, question.until));
    let asked = (audit.log.clone(), question);
    let answer = audit.read(asked, |connection, (log, question)| {
        Box::pin(log.ask(connection, question))
    });
    let Answer { events, next } = answer.await?;
    Ok(Json(AuditPage {
        events: cloud_events(events, &audit.source)?,
        next: next.map(|it| it.to_string()),
        window,
    }))
}

fn question(query: &mut Query, until: SystemTime) -> Result<Question, Rejection> {
    let aggregate = match (text(query, "aggregateType")?, text(query, "aggregateId")?) {
        (Some(kind), Some(id)) => Some((kind, id)),
        (None, None) => None,
        _ => {
            let rule = "stands with aggregateType, and aggregateType with it";
            return Err(invalid_parameter("aggregateId", &rule));
        }
    };
    let correlation_id = text(query, "correlationId")?.filter(|it| it != "none");
    let (event_type, actor) = (text(query, "type")?, text(query, "actor")?);
    let from = from(query, until, WINDOW, LONGEST_WINDOW)?;
    let filtered =
        aggregate.is_some() || correlation_id.is_some() || event_type.is_some() || actor.is_some();
    let asked = until.duration_since(from).unwrap_or_default();
    if !filtered && asked > LONGEST_BARE_WINDOW {
        return Err(too_broad(
            "Ask for a thing, a request, a type, an actor, or for 7 days at most.",
        ));
    }
    let before = query.number("after", 1..=i64::MAX.unsigned_abs())?;
    let limit = query.number("limit", 1..=MOST_EVENTS)?.unwrap_or(EVENTS);
    Ok(Question {
        aggregate,
        correlation_id,
        event_type,
        actor,
        from,
        until,
        before: before.and_then(|it| i64::try_from(it).ok()),
        limit: u16::try_from(limit).unwrap_or(u16::MAX),
    })
}

/// A text that may be compared with one in the database.
fn text(query: &mut Query, name: &str) -> Result<Option<String>, Rejection> {
    let text = query.take::<String>(name)?;
    if text
        .as_ref()
        .is_some_and(|it| it.is_empty() || it.contains('\0'))
    {
        return Err(invalid_parameter(name, &"is a text"));
    }
    Ok(text)
}

/// `until`, or else the end of all that was placed. The database's clock places and may be ahead of
/// ours, and a change that was just made must not be missing.
async fn until(query: &mut Query, audit: &Shared) -> Result<SystemTime, Rejection> {
    if let Some(until) = moment(query, "until")? {
        return Ok(until);
    }
    let placed_at = audit.read(audit.log.clone(), |connection, log| {
        Box::pin(log.last_placed_at(connection))
    });
    let end = SystemTime::from(placed_at.await?) + MICROSECOND;
    Ok(end.max(SystemTime::now()))
}

/// `from`, or else a usual time before `until`.
fn from(
    query: &mut Query,
    until: SystemTime,
    usual: Duration,
    longest: Duration,
) -> Result<SystemTime, Rejection> {
    let from = match moment(query, "from")? {
        Some(from) => from,
        None => until.checked_sub(usual).unwrap_or(SystemTime::UNIX_EPOCH),
    };
    let asked = until.duration_since(from).unwrap_or_default();
    if asked.is_zero() {
        return Err(invalid_parameter("from", &"is before until"));
    }
    if asked > longest {
        let days = longest.as_secs() / DAY.as_secs();
        return Err(invalid_parameter(
            "from",
            &format_args!("is {days} days before until at most"),
        ));
    }
    Ok(from)
}

fn window((from, until): (SystemTime, SystemTime)) -> AuditWindow {
    let told = |time: SystemTime| {
        let time = time.clamp(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + LAST);
        humantime::format_rfc3339(time).to_string()
    };
    AuditWindow {
        from: told(from),
        until: told(until),
    }
}

/// One event, with its place in the log
#[utoipa::path(
    get, path = "/api/v1/audit/events/{eventId}", tag = "Audit",
    params(("eventId" = String, Path, description = "Id of the event", format = "uuid")),
    responses(
        (status = 200, description = "The event", body = AuditEvent, headers(
            ("Cache-Control" = String, description = "`no-store`"),
        )),
        (status = 404, description = "The log has no such event", headers(
            ("Cache-Control" = String, description = "`no-store`"),
        )),
    )
)]
pub(super) async fn get_audited_event(
    State(audit): State<Shared>,
    Path(id): Path<Uuid>,
) -> Result<Json<AuditEvent>, Rejection> {
    let event = find(&audit, id).await?;
    Ok(Json(AuditEvent {
        position: event.position,
        placed_at: event.placed_at.to_string(),
        event: cloud_event(event, &audit.source)?,
    }))
}

pub(super) async fn find(audit: &Shared, id: Uuid) -> Result<crate::Event, Rejection> {
    let asked: (EventLog, Uuid) = (audit.log.clone(), id);
    let found = audit.read(asked, |connection, (log, id)| {
        Box::pin(log.event(connection, *id))
    });
    found.await?.ok_or_else(|| {
        Rejection::new(
            StatusCode::NOT_FOUND,
            "event_not_found",
            "Event not found",
            "The log has no event with this id; one that was just written gets its place soon.",
        )
    })
}

/// How many events there were, by type, actor or hour
#[utoipa::path(
    get, path = "/api/v1/audit/statistics", tag = "Audit",
    params(
        ("by" = String, Query, description = "`type`, `actor` or `hour`", example = "type", pattern = "^(type|actor|hour)$"),
        ("from" = Option<String>, Query, description = "From the hour of this moment on (RFC 3339, UTC), 31 days where it is not said", format = "date-time"),
        ("until" = Option<String>, Query, description = "To the end of the hour of this moment (RFC 3339, UTC), up to now where it is not said; at most 31 days after `from`", format = "date-time"),
    ),
    responses((status = 200, description = "The counts", body = AuditStatistics, headers(
        ("Cache-Control" = String, description = "`no-store`"),
    )))
)]
pub(super) async fn get_statistics(
    State(audit): State<Shared>,
    mut query: Query,
) -> Result<Json<AuditStatistics>, Rejection> {
    let by = match query.take::<String>("by")?.as_deref() {
        Some("type") => By::Type,
        Some("actor") => By::Actor,
        Some("hour") => By::Hour,
        _ => return Err(invalid_parameter("by", &"is type, actor or hour")),
    };
    let until = until(&mut query, &audit).await?;
    let from = from(&mut query, until, LONGEST_STATISTICS, LONGEST_STATISTICS)?;
    query.end()?;
    // The hour that is not over counts too.
    let last = until - MICROSECOND;
    let span = (whole_hour(from), whole_hour(last) + HOUR);
    let asked = (audit.log.clone(), by, span);
    let counted = audit.read(asked, |connection, (log, by, span)| {
        Box::pin(log.count(connection, *by, *span))
    });
    let counted = counted
        .await?
        .map_err(|_| too_broad("There are over 1000 buckets; ask for less time."))?;
    let buckets = counted.into_iter().map(|it| AuditBucket {
        key: it.key,
        count: it.count,
    });
    Ok(Json(AuditStatistics {
        buckets: buckets.collect(),
        window: window(span),
    }))
}

fn whole_hour(time: SystemTime) -> SystemTime {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let hours = since.as_secs() / HOUR.as_secs();
    SystemTime::UNIX_EPOCH + Duration::from_hours(hours)
}
