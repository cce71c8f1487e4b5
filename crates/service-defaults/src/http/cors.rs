//! Which pages of other origins may call the API from a browser (CORS).

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::Request,
    http::{
        HeaderName, HeaderValue, Method,
        header::{
            AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LINK, LOCATION, ORIGIN,
            RETRY_AFTER, VARY, WWW_AUTHENTICATE,
        },
    },
    response::Response,
};
use futures_util::FutureExt;
use settings::{List, Violations, section};
use tower::{Layer, ServiceExt, service_fn};
use tower_http::cors::CorsLayer;

use crate::{
    access::X_API_KEY,
    rate_limit,
    request_context::{TRACEPARENT, X_REQUEST_ID},
};

/// How long a browser may keep the answer to a preflight.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_hours(1);

section! {
    /// The section `[cors]`.
    pub struct CorsSettings {
        /// Origins whose pages may call the API, comma-separated in a variable; empty = none.
        pub allowed_origins: List = [], where origins;
    }
}

/// Reports origins that no browser would send.
fn origins(origins: &List, at: &str, violations: &mut Violations) {
    for origin in origins.iter().filter(|origin| !is_origin(origin)) {
        let rule = format_args!("`{origin}` is no origin such as https://example.com");
        violations.report(at, rule);
    }
}

/// Scheme, host and port as browsers write them: nothing behind them, nothing in upper case.
fn is_origin(text: &str) -> bool {
    let place = ["http://", "https://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    let host =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]".contains(&byte);
    place.is_some_and(|place| !place.is_empty() && place.bytes().all(host))
        && text.parse::<http::Uri>().is_ok()
}

/// What the pages of the allowed origins are told.
pub(crate) struct CrossOrigin {
    origins: Vec<HeaderValue>,
    layer: CorsLayer,
}

impl CrossOrigin {
    /// Nothing where no origin may call.
    pub(crate) fn new(settings: &CorsSettings) -> Option<Self> {
        let origins: Vec<HeaderValue> = settings
            .allowed_origins
            .iter()
            .filter_map(|origin| origin.parse().ok())
            .collect();
        if origins.is_empty() {
            return None;
        }
        let layer = CorsLayer::new()
            .allow_origin(origins.clone())
            .allow_methods([
                Method::GET,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
            ])
            .allow_headers([
                AUTHORIZATION,
                CONTENT_TYPE,
                IF_MATCH,
                IF_NONE_MATCH,
                X_API_KEY,
                X_REQUEST_ID,
                TRACEPARENT,
                HeaderName::from_static("idempotency-key"),
                HeaderName::from_static("prefer"),
                HeaderName::from_static("x-causation-id"),
                HeaderName::from_static("x-deadline-ms"),
            ])
            .expose_headers([
                ETAG,
                LINK,
                LOCATION,
                RETRY_AFTER,
                WWW_AUTHENTICATE,
                X_REQUEST_ID,
                TRACEPARENT,
                HeaderName::from_static("event-id"),
                HeaderName::from_static("feed-position"),
                HeaderName::from_static("idempotency-replayed"),
                HeaderName::from_static("log-behind-ms"),
                HeaderName::from_static("log-id"),
                HeaderName::from_static("log-position"),
                HeaderName::from_static("next-event-id"),
                HeaderName::from_static("preference-applied"),
                rate_limit::RATE_LIMIT,
                rate_limit::RATE_LIMIT_POLICY,
            ])
            .max_age(PREFLIGHT_MAX_AGE);
        Some(Self { origins, layer })
    }

    /// Leads only requests of allowed origins through the CORS layer: it answers every `OPTIONS`,
    /// key or not, and puts most of its headers on every answer.
    pub(crate) async fn answer<F: Future<Output = Response>>(
        &self,
        request: Request,
        inner: impl Fn(Request) -> F,
    ) -> Response {
        let origin = request.headers().get(ORIGIN);
        if origin.is_some_and(|origin| self.origins.contains(origin)) {
            let inner = service_fn(|request| inner(request).map(Ok));
            let answered: Result<_, Infallible> = self.layer.layer(inner).oneshot(request).await;
            return answered.unwrap_or_else(|never| match never {});
        }
        let mut response = inner(request).await;
        let origin = HeaderValue::from_static("origin");
        response.headers_mut().append(VARY, origin);
        response
    }
}
