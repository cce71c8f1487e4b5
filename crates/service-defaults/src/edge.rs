//! The edge of a service: every layer that a request passes before it reaches a handler.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{
        HeaderValue, StatusCode,
        header::{
            ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
            REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::{Next, from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::get,
};
use opentelemetry::trace::TraceContextExt;
use serde::Deserialize;
use tower::{ServiceBuilder, util::option_layer};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{Instrument, Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{
    api_keys::{self, Access, KeyRing},
    cors::{self, CrossOrigin},
    head,
    health::{self, Readiness},
    lifecycle::Shutdown,
    limits::{self, Admission},
    metrics::{self, Metrics, Origin, Outcome, method_label},
    openapi,
    problem::{self, Rejection},
    problem_page,
    process::chain,
    rate_limit,
    request_context::RequestContext,
    server::{ListenerPort, ServerSettings},
    settings::{CommonSettings, Violations},
};

/// The routes that need no key. Every other one does, known or not.
pub const OPEN_ROUTES: [&str; 8] = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/problems/{code}",
    "/swagger",
    "/swagger/",
    "/swagger/{*rest}",
];

const METRICS_ROUTE: &str = "/metrics";
const API_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
const SWAGGER_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'",
);
/// For a year (RFC 6797); not for subdomains, which may be somebody else's.
const STAY_WITH_HTTPS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// The section `[swagger]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwaggerSettings {
    /// Serves the page and the document.
    pub enabled: bool,
}

/// The section `[management]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagementSettings {
    /// Port of a separate listener for the management routes; 0 = none.
    pub port: u16,
    /// Asks for a key on `/metrics`.
    pub metrics_require_key: bool,
}

impl ManagementSettings {
    /// Reports a port that the main listener has already.
    pub fn check(&self, server: &ServerSettings, violations: &mut Violations) {
        if self.port != 0 && self.port == server.port {
            violations.report("management.port", "is server.port as well");
        }
    }
}

/// What the edge is built from.
pub struct Edge<'a> {
    /// Bounds, keys' rates and what is switched on.
    pub settings: &'a CommonSettings,
    /// Keys in force.
    pub keys: &'a KeyRing,
    /// The service's metrics.
    pub metrics: &'a Metrics,
    /// The service's readiness.
    pub readiness: &'a Readiness,
    /// Tells when the service is stopping.
    pub shutdown: &'a Shutdown,
}

/// A service behind its edge.
pub struct Assembled {
    /// Everything for the main listener.
    pub public: Router,
    /// The management routes, where they have a listener of their own.
    pub management: Option<Router>,
    /// The OpenAPI document.
    pub document: OpenApi,
}

/// Puts the edge around a service's API.
pub fn assemble(api: OpenApiRouter, edge: &Edge<'_>) -> Assembled {
    let (api, api_document) = api.split_for_parts();
    let (management, management_document) = management_routes(edge).split_for_parts();
    let pages = OpenApiRouter::new().routes(routes!(problem_page::get_problem));
    let (pages, pages_document) = pages.split_for_parts();
    let mut document = api_document;
    document.merge(pages_document);
    let mut public = guarded(api, edge).merge(pages);
    let separate = if edge.settings.management.port == 0 {
        document.merge(management_document);
        public = public.merge(management);
        None
    } else {
        Some(around(management, edge, edge.settings.management.port))
    };
    let document = openapi::complete(document);
    if edge.settings.swagger.enabled {
        let page = Config::from("/openapi.json")
            .persist_authorization(true)
            .try_it_out_enabled(true);
        public = public.merge(SwaggerUi::new("/swagger").config(page));
        let text = document.to_json().unwrap_or_default();
        let answer = move || async move { ([(CONTENT_TYPE, "application/json")], text) };
        public = public.route("/openapi.json", get(answer));
    }
    Assembled {
        public: around(public, edge, edge.settings.server.port),
        management: separate,
        document,
    }
}

fn management_routes(edge: &Edge<'_>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(health::get_health))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(health::get_readiness))
                .with_state(edge.readiness.clone()),
        )
        .merge(
            OpenApiRouter::new()
                .routes(routes!(metrics::get_metrics))
                .with_state(edge.metrics.clone()),
        )
}

/// The layers of API routes only. Management routes pass none of them, so that an overloaded
/// service still says how it is. Outermost first:
///
/// 1. `rate_limit::per_key`: a noisy key takes no place from another one.
/// 2. `limits::admit`: the body and its bounds, a place in progress, the time of the handler and
///    its queries.
fn guarded(api: Router, edge: &Edge<'_>) -> Router {
    let admission = Arc::new(Admission::new(edge.settings));
    let api = api
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(admission, limits::admit));
    match edge.settings.rate_limit.buckets() {
        Some(buckets) => api.layer(from_fn_with_state(buckets, rate_limit::per_key)),
        None => api,
    }
}

/// The layers of every route, outermost first:
///
/// 1. `observe`: ids, span, metrics, closing log line, problem documents; sees every answer.
/// 2. `secure`: security headers on every answer.
/// 3. panics become a 500, inside what must see that 500.
/// 4. CORS, which answers preflights of allowed origins; they carry no key.
/// 5. `head::check`: what the request's head alone decides, before anything reads it.
/// 6. `authenticate`: no key, no further.
fn around(routes: Router, edge: &Edge<'_>, port: u16) -> Router {
    let mut open_routes = OPEN_ROUTES.to_vec();
    if edge.settings.management.metrics_require_key {
        open_routes.retain(|route| *route != METRICS_ROUTE);
    }
    let access = Access {
        keys: edge.keys.clone(),
        open_routes: open_routes.into(),
    };
    let observer = Observer {
        metrics: edge.metrics.clone(),
        origin: Origin::new(&edge.settings.server, port),
        shutdown: edge.shutdown.clone(),
    };
    let https = edge.settings.server.scheme() == "https";
    let cross_origin = CrossOrigin::new(&edge.settings.cors);
    let routes = routes.fallback(async || StatusCode::NOT_FOUND).layer(
        ServiceBuilder::new()
            .layer(from_fn_with_state(observer, observe))
            .layer(from_fn_with_state(https, secure))
            .layer(CatchPanicLayer::custom(|_| {
                Rejection::internal().into_response()
            }))
            .layer(option_layer(
                cross_origin.map(|it| from_fn_with_state(it, cors::answer)),
            ))
            .layer(from_fn_with_state(
                Arc::new(edge.settings.limits.clone()),
                head::check,
            ))
            .layer(from_fn_with_state(access, api_keys::authenticate)),
    );
    // Around the router, which adds `Allow` outside all of its layers.
    Router::new()
        .fallback_service(routes)
        .layer(map_response(methods_are_told_with_405))
}

/// Drops `Allow` from all other answers: who may not use a route does not learn its methods.
async fn methods_are_told_with_405(mut response: Response) -> Response {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().remove(ALLOW);
    }
    response
}

async fn secure(State(https): State<bool>, request: Request, next: Next) -> Response {
    let swagger = request
        .extensions()
        .get::<MatchedPath>()
        .is_some_and(|route| route.as_str().starts_with("/swagger"));
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let policy = if swagger { SWAGGER_POLICY } else { API_POLICY };
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    if https {
        headers.insert(STRICT_TRANSPORT_SECURITY, STAY_WITH_HTTPS);
    }
    response
}

#[derive(Clone)]
struct Observer {
    metrics: Metrics,
    origin: Origin,
    shutdown: Shutdown,
}

/// Gives a request its identity, watches it to its end and writes its one closing line.
///
/// Neither the span nor the line has the request's path, only its route's template: the path may
/// hold personal data.
async fn observe(
    State(mut observer): State<Observer>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(ListenerPort(port)) = request.extensions().get() {
        observer.origin.set_port(*port);
    }
    let (context, caller) = RequestContext::from_headers(request.headers());
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route_name = route.as_ref().map_or("", MatchedPath::as_str);
    let span = tracing::info_span!(
        "request",
        otel.name = format_args!("{method} {route_name}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route_name,
        http.response.status_code = Empty,
        error.type = Empty,
        otel.status_code = Empty,
        request_id = context.request_id(),
        trace_id = Empty,
        key_id = Empty,
    );
    // Fails only where no tracer is installed, which is the usual case.
    let _ = span.set_parent(caller);
    let context = context.with_recorded_span(span.context().span().span_context());
    span.record("trace_id", tracing::field::display(context.trace_id()));
    request.extensions_mut().insert(context.clone());

    observer.metrics.request_started(method, &observer.origin);
    let ending = Ending {
        observer,
        context,
        span,
        method,
        route,
        started: Instant::now(),
        outcome: Outcome::Cancelled,
    };
    let response = next.run(request).instrument(ending.span.clone()).await;
    ending.answer(response)
}

/// A request until its end. Dropped before there is an answer, it was cancelled by its caller.
struct Ending {
    observer: Observer,
    context: RequestContext,
    span: Span,
    method: &'static str,
    route: Option<MatchedPath>,
    started: Instant,
    outcome: Outcome,
}

impl Ending {
    fn answer(mut self, response: Response) -> Response {
        let (mut response, cause) = problem::render(response, &self.context);
        let status = response.status();
        self.outcome = Outcome::Answered(status.as_u16());
        self.span
            .record("http.response.status_code", status.as_u16());
        if status.is_server_error() {
            self.span.record("error.type", status.as_str());
            self.span.record("otel.status_code", "ERROR");
        }
        if let Some(cause) = cause {
            let chain = chain(cause.as_ref());
            self.span
                .in_scope(|| tracing::error!(error = chain, "the request failed"));
        }
        let headers = response.headers_mut();
        self.context.write_headers(headers);
        if self.observer.shutdown.is_draining() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if status.is_server_error() {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        response
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        let route = self.route.as_ref().map(MatchedPath::as_str);
        let Observer {
            metrics, origin, ..
        } = &self.observer;
        metrics.request_ended(self.method, origin, route, self.outcome, duration);
        let status = match self.outcome {
            Outcome::Answered(status) => status,
            // Nginx's number for a request that its client closed.
            Outcome::Cancelled => 499,
        };
        let _entered = self.span.enter();
        tracing::info!(
            method = self.method,
            route = route.unwrap_or_default(),
            status,
            duration_ms = duration.as_secs_f64() * 1e3,
            key_id = self.context.key_id().unwrap_or_default(),
            request_id = self.context.request_id(),
            trace_id = %self.context.trace_id(),
            "request ended"
        );
    }
}
