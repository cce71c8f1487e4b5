//! The edge of a service: every layer that a request passes before it reaches a handler.

use std::{sync::Arc, time::Duration};

use axum::{
    Router, extract::DefaultBodyLimit, middleware::from_fn_with_state, response::IntoResponse,
};
use tower::{ServiceBuilder, util::option_layer};
use tower_http::catch_panic::CatchPanicLayer;

use super::{
    head,
    observe::{Observer, observe},
    secure::{Headers, secure},
};
use crate::{
    access,
    assembly::Parts,
    cors::{self, CrossOrigin},
    limits::{self, Admission},
    metrics::Origin,
    problem::Rejection,
    rate_limit::{self, Buckets},
    surface::{Access, Limits, Surface},
};

/// The edge of one listener, with what all of its surfaces share.
pub(crate) struct Edge<'a> {
    parts: &'a Parts<'a>,
    origin: Origin,
    admission: Arc<Admission>,
    buckets: Option<Arc<Buckets>>,
}

impl<'a> Edge<'a> {
    pub(crate) fn new(parts: &'a Parts<'a>, port: u16) -> Self {
        Self {
            parts,
            origin: Origin::new(&parts.settings.server, port),
            admission: admission(
                parts,
                parts.settings.server.request_deadline,
                parts.settings.limits.max_requests_in_progress,
            ),
            buckets: parts.settings.rate_limit.buckets(),
        }
    }

    /// Puts the layers around routes, outermost first:
    ///
    /// 1. `observe`: ids, span, metrics, closing log line, problem documents; sees every answer.
    /// 2. `secure`: security headers on every answer.
    /// 3. panics become a 500, inside what must see that 500.
    /// 4. CORS, which answers preflights of allowed origins; they carry no key.
    /// 5. `head::check`: what the request's head alone decides, before anything reads it.
    /// 6. `authenticate`, unless the surface is open: no key, no further.
    /// 7. `rate_limit::per_key`, if it has limits: a noisy key takes no place from another one.
    /// 8. `limits::admit`, likewise: the body and its bounds, a place in progress, the time of the
    ///    handler and its queries.
    pub(crate) fn around(&self, surface: &Surface, routes: Router) -> Router {
        let settings = self.parts.settings;
        let observer = Observer {
            metrics: self.parts.metrics.clone(),
            origin: self.origin.clone(),
            shutdown: self.parts.shutdown.clone(),
            is_routine: surface.is_routine,
        };
        let headers = Headers {
            https: settings.server.scheme() == "https",
            content_policy: surface.content_policy.clone(),
        };
        let cross_origin = CrossOrigin::new(&settings.cors);
        let head_limits = Arc::new(settings.limits.clone());
        let keys = match surface.access {
            Access::Open => None,
            Access::Key(scope) => Some((self.parts.keys.clone(), scope)),
        };
        let admission = match surface.limits {
            Limits::None => None,
            Limits::Shared => Some(self.admission.clone()),
            Limits::Own { deadline, places } => Some(admission(self.parts, deadline, places)),
        };
        let buckets = self.buckets.clone().filter(|_| admission.is_some());
        let layers = ServiceBuilder::new()
            .layer(from_fn_with_state(observer, observe))
            .layer(from_fn_with_state(headers, secure))
            .layer(CatchPanicLayer::custom(|_| {
                Rejection::internal().into_response()
            }))
            .layer(option_layer(
                cross_origin.map(|it| from_fn_with_state(it, cors::answer)),
            ))
            .layer(from_fn_with_state(head_limits, head::check))
            .layer(option_layer(
                keys.map(|it| from_fn_with_state(it, access::authenticate)),
            ))
            .layer(option_layer(
                buckets.map(|it| from_fn_with_state(it, rate_limit::per_key)),
            ))
            .layer(option_layer(admission.map(|it| {
                let admit = from_fn_with_state(it, limits::admit);
                (admit, DefaultBodyLimit::disable())
            })));
        routes.layer(layers)
    }
}

fn admission(parts: &Parts<'_>, deadline: Duration, places: usize) -> Arc<Admission> {
    let max_body_bytes = parts.settings.limits.max_body_bytes;
    Arc::new(Admission::new(max_body_bytes, deadline, places))
}
