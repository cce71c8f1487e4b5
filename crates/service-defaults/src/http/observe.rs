//! What is measured and told of a request: its identity, its span, metrics and its closing line.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{
        HeaderValue,
        header::{CACHE_CONTROL, CONNECTION},
    },
    middleware::Next,
    response::Response,
};
use opentelemetry::trace::TraceContextExt;
use tracing::{Instrument, Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{
    error_chain::chain,
    lifecycle::Shutdown,
    metrics::{Metrics, Origin, Outcome, method_label},
    problem,
    request_context::RequestContext,
    server::ListenerPort,
};

#[derive(Clone)]
pub(crate) struct Observer {
    pub(crate) metrics: Metrics,
    pub(crate) origin: Origin,
    pub(crate) shutdown: Shutdown,
    pub(crate) is_routine: bool,
}

/// Gives a request its identity, watches it to its end and writes its one closing line.
///
/// Neither the span nor the line has the request's path, only its route's template: the path may
/// hold personal data.
pub(crate) async fn observe(
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
        macro_rules! closing_line {
            ($level:ident) => {
                // Outside the span, whose fields these are too.
                tracing::$level!(
                    parent: None,
                    method = self.method,
                    route = route.unwrap_or_default(),
                    status,
                    duration_ms = duration.as_secs_f64() * 1e3,
                    key_id = self.context.key_id().unwrap_or_default(),
                    request_id = self.context.request_id(),
                    trace_id = %self.context.trace_id(),
                    "request ended"
                )
            };
        }
        if self.observer.is_routine && status < 400 {
            closing_line!(debug);
        } else {
            closing_line!(info);
        }
    }
}
