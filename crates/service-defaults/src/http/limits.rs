//! Bounds on what one request may ask of a service.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::Route,
};
use contracts::X_DEADLINE_MS;
use http_body_util::BodyExt;
use settings::section;
use tokio::time::{Instant, timeout_at};
use tower::Service;

use crate::{extract::invalid_parameter, problem::Rejection};

section! {
    /// The section `[limits]`.
    pub struct LimitSettings {
        /// Most API requests in progress at once, no more than server.max_connections. Others wait
        /// for half a second at most; then 503 with Retry-After. There are fewer while requests
        /// find the database too busy.
        pub max_requests_in_progress: usize = 1024, in 1..=100_000;
    }
    removed {
        "max_body_bytes" => "is 65536",
        "max_uri_bytes" => "is 8192",
        "max_header_bytes" => "is 16384",
        "max_headers" => "is 100",
    }
}

/// Largest request body in bytes; then 413.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;

/// When a request is ended; an extension of every API request, for handlers that can say something
/// useful before.
#[derive(Clone, Copy, Debug)]
pub struct RequestDeadline(pub Instant);

/// The request with its whole body in memory.
pub(crate) async fn receive(request: Request, deadline: Instant) -> Result<Request, Rejection> {
    let (parts, body) = request.into_parts();
    let bytes = timeout_at(deadline, read(body))
        .await
        .map_err(|_| body_too_slow())??;
    let mut request = Request::from_parts(parts, Body::from(bytes));
    // Ours is the limit.
    DefaultBodyLimit::disable().apply(&mut request);
    Ok(request)
}

/// A whole body in one piece. A frame kept as it comes would keep the buffer that it was read into,
/// so that small chunks would take many times the memory of what they hold.
async fn read(mut body: Body) -> Result<Vec<u8>, Rejection> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        // Trailers are of no use here.
        let Ok(data) = frame.map_err(|_| unreadable_body())?.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > MAX_BODY_BYTES {
            return Err(Rejection::of_status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Has the handler answer.
pub(crate) async fn call(route: &Route, request: Request) -> Response {
    // A route is always ready.
    let answered = route.clone().call(request);
    answered.await.unwrap_or_else(|never| match never {})
}

fn body_too_slow() -> Rejection {
    Rejection::new(
        StatusCode::REQUEST_TIMEOUT,
        "body_too_slow",
        "Body too slow",
        "The request body did not arrive in the time for the whole request.",
    )
}

fn unreadable_body() -> Rejection {
    let detail = "The request body ended early.";
    let status = StatusCode::BAD_REQUEST;
    Rejection::new(status, "unreadable_body", "Invalid request", detail)
}

/// Most digits of the caller's milliseconds.
const DEADLINE_DIGITS: usize = 9;

/// How long the caller still waits, if it says so.
pub(crate) fn callers_limit(headers: &HeaderMap) -> Result<Option<Duration>, Rejection> {
    let mut values = headers.get_all(X_DEADLINE_MS).iter();
    let milliseconds = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => milliseconds(value.as_bytes()),
        (Some(_), Some(_)) => None,
    };
    milliseconds.map(Some).ok_or_else(|| {
        let rule = format_args!("{X_DEADLINE_MS} is sent once, as 1 to {DEADLINE_DIGITS} digits");
        invalid_parameter(X_DEADLINE_MS, &rule)
    })
}

fn milliseconds(digits: &[u8]) -> Option<Duration> {
    // A number's own parser would take a sign.
    if digits.len() > DEADLINE_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(digits).ok()?;
    text.parse().ok().map(Duration::from_millis)
}
