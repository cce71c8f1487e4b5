//! Bounds on what one request may ask of a service, and on how many may ask at once.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use contracts::X_DEADLINE_MS;
use serde::Deserialize;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use crate::{extract::invalid_parameter, problem::Rejection, settings::Violations};

/// The section `[limits]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// Longest request URI in bytes.
    pub max_uri_bytes: usize,
    /// Most bytes of request headers.
    pub max_header_bytes: usize,
    /// Most request headers.
    pub max_headers: usize,
    /// Largest request body in bytes.
    pub max_body_bytes: usize,
    /// API requests in progress at once.
    pub max_requests_in_progress: usize,
}

impl LimitSettings {
    /// Reports values out of bounds. The upper ones are those of the HTTP parser, beyond which it
    /// would refuse by itself, without a problem document.
    pub fn check(&self, violations: &mut Violations) {
        violations.range("limits.max_uri_bytes", &self.max_uri_bytes, 64..=32_768);
        violations.range(
            "limits.max_header_bytes",
            &self.max_header_bytes,
            256..=49_152,
        );
        violations.range("limits.max_headers", &self.max_headers, 8..=200);
        violations.range(
            "limits.max_body_bytes",
            &self.max_body_bytes,
            256..=16_777_216,
        );
        violations.range(
            "limits.max_requests_in_progress",
            &self.max_requests_in_progress,
            1..=100_000,
        );
    }
}

/// Refuses a request whose head is too large: 414 for the URI, 431 for the headers.
pub(crate) async fn head(
    State(limits): State<Arc<LimitSettings>>,
    request: Request,
    next: Next,
) -> Response {
    // Summed from its parts: writing it out would cost an allocation a request.
    let uri = request.uri();
    let scheme = uri
        .scheme_str()
        .map_or(0, |scheme| scheme.len() + "://".len());
    let authority = uri
        .authority()
        .map_or(0, |authority| authority.as_str().len());
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let uri_bytes = scheme + authority + path;
    if uri_bytes > limits.max_uri_bytes {
        let detail = format!("The request URI is over {} bytes.", limits.max_uri_bytes);
        return Rejection::new(
            StatusCode::URI_TOO_LONG,
            "uri_too_long",
            "URI too long",
            detail,
        )
        .into_response();
    }
    let headers = request.headers();
    let header_bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if headers.len() > limits.max_headers || header_bytes > limits.max_header_bytes {
        let detail = format!(
            "The request has over {} headers or over {} bytes of them.",
            limits.max_headers, limits.max_header_bytes
        );
        return Rejection::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers_too_large",
            "Headers too large",
            detail,
        )
        .into_response();
    }
    next.run(request).await
}

/// Refuses a request at once (503) while as many as allowed are in progress.
pub(crate) async fn in_progress(
    State(places): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(_place) = places.try_acquire() else {
        let detail = "As many requests as the service takes are in progress already.";
        return Rejection::unavailable("overloaded", detail, 1).into_response();
    };
    next.run(request).await
}

/// When a request is ended; an extension of every API request, for handlers that can say something
/// useful before.
#[derive(Clone, Copy, Debug)]
pub struct RequestDeadline(pub Instant);

/// Ends a request (503) that takes longer than the service allows or its caller waits, whichever
/// is less. One whose caller no longer waits never begins.
pub(crate) async fn deadline(
    State(limit): State<Duration>,
    mut request: Request,
    next: Next,
) -> Response {
    let limit = match callers_limit(request.headers()) {
        Ok(callers) => callers.map_or(limit, |callers| callers.min(limit)),
        Err(rejection) => return rejection.into_response(),
    };
    if limit.is_zero() {
        return deadline_exceeded().into_response();
    }
    let deadline = Instant::now() + limit;
    request.extensions_mut().insert(RequestDeadline(deadline));
    timeout_at(deadline, next.run(request))
        .await
        .unwrap_or_else(|_| deadline_exceeded().into_response())
}

fn deadline_exceeded() -> Rejection {
    let detail = "The request took longer than the service allows or its caller waits.";
    Rejection::unavailable("deadline_exceeded", detail, 1)
}

/// Most digits of the caller's milliseconds.
const DEADLINE_DIGITS: usize = 9;

/// How long the caller still waits, if it says so.
fn callers_limit(headers: &HeaderMap) -> Result<Option<Duration>, Rejection> {
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
