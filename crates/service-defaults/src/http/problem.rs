//! Every error answer as a problem document (RFC 9457).
//!
//! Code that refuses a request returns a [`Rejection`]; it carries what went wrong, not a body.
//! `render` writes the body once, at the edge, where the request's ids are known, and turns
//! whatever error answer of a framework comes by into a problem document too.

use std::{borrow::Cow, error::Error, sync::Arc};

use axum::{
    body::Body,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use contracts::{FieldError, PROBLEMS};
use serde_json::{Map, Value};

use crate::{json::Object, request_context::RequestContext};

const JSON: &str = "application/json";
const PROBLEM_JSON: &str = "application/problem+json";
/// Headers that most refusals have.
const HEADERS: usize = 10;

/// An answer that refuses a request.
#[derive(Clone, Debug)]
pub struct Rejection(Box<Refusal>);

#[derive(Clone, Debug)]
struct Refusal {
    status: StatusCode,
    code: Cow<'static, str>,
    title: Cow<'static, str>,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    more: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<Arc<dyn Error + Send + Sync>>,
    overload: bool,
}

impl Rejection {
    /// A refusal with its stable code, a title that is the same for every occurrence, and what
    /// the caller can do about it.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Box::new(Refusal {
            status,
            code: code.into(),
            title: title.into(),
            detail: detail.into(),
            errors: Vec::new(),
            more: Map::new(),
            headers: Vec::new(),
            cause: None,
            overload: false,
        }))
    }

    /// A request that breaks rules (400). One broken rule gives its code to the problem;
    /// several are a `validation_failed`.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let (code, detail) = match errors.as_slice() {
            [only] => (only.code.clone(), only.detail.clone()),
            _ => (
                "validation_failed".into(),
                "See errors for each rule that is broken.".into(),
            ),
        };
        let title = "Invalid request";
        let mut rejection = Self::new(StatusCode::BAD_REQUEST, "", title, detail);
        rejection.0.code = code;
        rejection.0.errors = errors;
        rejection
    }

    /// A temporary refusal (503) after which asking again makes sense in this many seconds.
    pub fn unavailable(
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
        retry_after_seconds: u64,
    ) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            code,
            "Temporarily unavailable",
            detail,
        )
        .with_header(http::header::RETRY_AFTER, retry_after_seconds)
    }

    /// A fault of ours (500). What it was stays in the log.
    pub fn internal() -> Self {
        Self::of_status(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.0.headers.push((name, value.into()));
        self
    }

    /// Adds a member that problems of this code have beside the common ones (RFC 9457, 3.2).
    #[must_use]
    pub fn with_member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.more.insert(name.to_owned(), value.into());
        self
    }

    /// A request that can be understood and asks for what does not do (422), by the rules that it
    /// breaks.
    pub fn unprocessable(errors: Vec<FieldError>) -> Self {
        let mut rejection = Self::invalid(errors);
        rejection.0.status = StatusCode::UNPROCESSABLE_ENTITY;
        rejection
    }

    /// Attaches the error behind the refusal. It is logged once, at the edge, with its chain, and
    /// never shown to the caller.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Error + Send + Sync + 'static) -> Self {
        self.0.cause = Some(Arc::new(cause));
        self
    }

    /// Says that fewer requests at once would have been served: the edge lets fewer in then.
    #[must_use]
    pub fn for_overload(mut self) -> Self {
        self.0.overload = true;
        self
    }

    pub(crate) fn is_for_overload(&self) -> bool {
        self.0.overload
    }

    /// The refusal for an error answer that says nothing but its status.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let (code, title, detail) = match status {
            StatusCode::NOT_FOUND => (
                "route_not_found",
                "Unknown route",
                "No route has this path; see /openapi.json.",
            ),
            StatusCode::METHOD_NOT_ALLOWED => (
                "method_not_allowed",
                "Method not allowed",
                "The route does not have this method; the Allow header lists those it has.",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => (
                "body_too_large",
                "Body too large",
                "The request body is over the size limit.",
            ),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => (
                "unsupported_media_type",
                "Unsupported media type",
                "Send the body with Content-Type: application/json.",
            ),
            status if status.is_client_error() => (
                "bad_request",
                "Bad request",
                "The request cannot be understood.",
            ),
            _ => (
                "internal_error",
                "Internal error",
                "The service failed. The requestId finds the reason in its log.",
            ),
        };
        Self::new(status, code, title, detail)
    }
}

impl IntoResponse for Rejection {
    fn into_response(mut self) -> Response {
        let mut response = self.0.status.into_response();
        // All that the edge adds, so that they find room.
        response.headers_mut().reserve(HEADERS);
        for (name, value) in std::mem::take(&mut self.0.headers) {
            response.headers_mut().append(name, value);
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The members of a [`Problem`](contracts::Problem).
fn document(refusal: &Refusal, status: StatusCode, context: &RequestContext) -> Vec<u8> {
    let mut problem = Object::new();
    problem.text("type", &["/problems/", &*refusal.code].concat());
    problem.text("title", &refusal.title);
    problem.member("status", &status.as_u16());
    problem.text("detail", &refusal.detail);
    problem.text("code", &refusal.code);
    problem.text("requestId", context.request_id());
    problem.text("traceId", context.trace_id());
    problem.member("errors", &refusal.errors);
    for (name, value) in &refusal.more {
        problem.member(name, value);
    }
    problem.end()
}

/// What the edge measures and logs of a problem.
pub(crate) struct Rendered {
    pub(crate) code: Cow<'static, str>,
    /// The error behind it.
    pub(crate) cause: Option<Arc<dyn Error + Send + Sync>>,
}

/// Gives an error answer its problem document and says which it was. Answers that are no errors
/// pass unchanged, and so do those that a handler wrote in JSON, such as the readiness report.
pub(crate) fn render(response: Response, context: &RequestContext) -> (Response, Option<Rendered>) {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return (response, None);
    }
    if response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == JSON)
    {
        return (response, None);
    }
    let (mut parts, _) = response.into_parts();
    let Rejection(refusal) = parts
        .extensions
        .remove::<Rejection>()
        .unwrap_or_else(|| Rejection::of_status(status));
    debug_assert!(
        PROBLEMS.iter().any(|(code, _)| *code == refusal.code),
        "{} is not in contracts::PROBLEMS, so that it has no page",
        refusal.code
    );
    let body = document(&refusal, status, context);
    parts.headers.remove(CONTENT_LENGTH);
    parts
        .headers
        .insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    parts
        .headers
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let Refusal { code, cause, .. } = *refusal;
    let response = Response::from_parts(parts, Body::from(body));
    (response, Some(Rendered { code, cause }))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, StatusCode};
    use contracts::{FieldError, Problem};

    use super::{Refusal, Rejection, document};
    use crate::request_context::{RequestContext, request_id};

    #[test]
    fn a_document_is_what_serde_makes_of_the_problem() {
        let context = RequestContext::new(request_id(&HeaderMap::new()), None, None);
        let error = |pointer: &str| FieldError {
            pointer: Some(pointer.to_owned()),
            parameter: None,
            code: "invalid_body".into(),
            detail: "with \"quotes\"".into(),
        };
        for rejection in [
            Rejection::internal(),
            Rejection::invalid(vec![error("/a\\b")]),
            Rejection::invalid(vec![error("/a"), error("/b")]),
            Rejection::internal().with_member("allowed", vec!["active"]),
        ] {
            let status = StatusCode::BAD_REQUEST;
            let own = document(&rejection.0, status, &context);
            let Refusal {
                title,
                detail,
                code,
                errors,
                more,
                ..
            } = *rejection.0;
            let problem = Problem {
                r#type: format!("/problems/{code}").into(),
                title,
                status: status.as_u16(),
                detail,
                code,
                request_id: context.request_id().to_owned(),
                trace_id: context.trace_id().to_owned(),
                errors,
                more,
            };
            assert_eq!(own, serde_json::to_vec(&problem).unwrap());
        }
    }
}
