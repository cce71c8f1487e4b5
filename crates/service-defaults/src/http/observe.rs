//! What is measured and told of a request: its identity, its span, metrics and its closing line.

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request},
    http::{
        HeaderValue,
        header::{CACHE_CONTROL, CONNECTION},
    },
    response::Response,
};
use opentelemetry::{
    Context,
    trace::{SpanContext, TraceContextExt},
};
use tracing::{Instrument, Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{
    error_chain::chain,
    lifecycle::Shutdown,
    metrics::{Metrics, Origin, Outcome, RouteSeries, Series, method_label},
    problem::{self, Rejection, Rendered},
    request_context::{RequestContext, callers_span, request_id},
    server::ListenerPort,
};

pub(crate) struct Observer {
    pub(crate) metrics: Metrics,
    pub(crate) origin: Origin,
    pub(crate) shutdown: Shutdown,
    pub(crate) is_routine: bool,
    /// Of the lines about requests that were refused because there were too many.
    pub(crate) refusals: Sampler,
}

impl Observer {
    /// Gives a request its identity, to watch it to its end and write its one closing line.
    ///
    /// Neither the span nor the line has the request's path, only its route's template: the path
    /// may hold personal data.
    pub(crate) fn begin(&self, request: &mut Request, of_route: &RouteSeries) -> Observed<'_> {
        let method = method_label(request.method());
        let extensions = request.extensions();
        let port = extensions
            .get()
            .map_or(self.origin.port, |ListenerPort(port)| *port);
        let route = extensions.get::<MatchedPath>().cloned();
        let route_name = route.as_ref().map_or("", MatchedPath::as_str);
        let caller = callers_span(request.headers());
        let request_id = request_id(request.headers());
        let span = span(method, route_name, &request_id, caller.as_ref());
        let recorded = recorded(&span);
        let context = RequestContext::new(request_id, caller.as_ref(), recorded.as_ref());
        request.extensions_mut().insert(context.clone());
        let series = of_route.of(method, port, || {
            let route = route.as_ref().map(MatchedPath::as_str);
            self.metrics.series(&self.origin, port, method, route)
        });
        series.request_started();
        Observed {
            observer: self,
            context,
            span,
            series,
            method,
            route,
            started: Instant::now(),
            outcome: Outcome::Cancelled,
            line: Line::Due,
        }
    }
}

/// The span of a request. Disabled where no tracing back-end is, which costs nothing.
fn span(method: &str, route: &str, request_id: &str, caller: Option<&SpanContext>) -> Span {
    let span = tracing::info_span!(
        "request",
        otel.name = format_args!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        error.type = Empty,
        otel.status_code = Empty,
        request_id,
        key_id = Empty,
    );
    if let (false, Some(caller)) = (span.is_disabled(), caller) {
        // Fails only where no tracer is installed.
        let _ = span.set_parent(Context::new().with_remote_span_context(caller.clone()));
    }
    span
}

/// The identity of the span, where a tracer records it.
fn recorded(span: &Span) -> Option<SpanContext> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context().span().span_context().clone();
    context.is_valid().then_some(context)
}

/// A request until its end. Dropped before there is an answer, it was cancelled by its caller.
pub(crate) struct Observed<'a> {
    observer: &'a Observer,
    context: RequestContext,
    span: Span,
    series: Arc<Series>,
    method: &'static str,
    route: Option<MatchedPath>,
    started: Instant,
    outcome: Outcome,
    line: Line,
}

/// Whether a request leaves lines in the log.
enum Line {
    Due,
    /// For itself and so many that left none.
    DueForMore(u64),
    LeftOut,
}

impl Observed<'_> {
    /// Who the request is.
    pub(crate) fn context(&self) -> &RequestContext {
        &self.context
    }

    /// What this future does is of the request.
    pub(crate) fn within<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        self.context.scope(future.instrument(self.span.clone()))
    }

    /// Ends it with an answer.
    pub(crate) fn end(mut self, response: Response) -> Response {
        let refusal = response.extensions().get::<Rejection>();
        let overload = refusal.is_some_and(Rejection::is_for_overload);
        let (mut response, problem) = problem::render(response, &self.context);
        if overload {
            let unlogged = self.observer.refusals.take();
            self.line = unlogged.map_or(Line::LeftOut, Line::DueForMore);
        }
        let status = response.status();
        self.outcome = Outcome::Answered(status.as_u16());
        if let Some(Rendered { code, cause }) = problem {
            self.series.request_refused(code);
            if let Some(cause) = cause {
                self.log_failure(cause.as_ref());
            }
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

    fn log_failure(&self, cause: &(dyn Error + Send + Sync)) {
        if matches!(self.line, Line::LeftOut) {
            return;
        }
        let log = || tracing::error!(error = chain(cause), "the request failed");
        self.span.in_scope(|| self.context.in_scope(log));
    }

    fn record(&self) {
        if let Some(key_id) = self.context.key_id() {
            self.span.record("key_id", key_id);
        }
        let Outcome::Answered(status) = self.outcome else {
            return;
        };
        self.span.record("http.response.status_code", status);
        if status >= 500 {
            self.span.record("error.type", status.to_string());
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        if !self.span.is_disabled() {
            self.record();
        }
        let route = self.route.as_ref().map(MatchedPath::as_str);
        self.series.request_ended(self.outcome, duration);
        let status = match self.outcome {
            Outcome::Answered(status) => status,
            // Nginx's number for a request that its client closed.
            Outcome::Cancelled => 499,
        };
        let unlogged = match self.line {
            Line::Due => None,
            Line::DueForMore(unlogged) => Some(unlogged),
            Line::LeftOut => return,
        };
        macro_rules! closing_line {
            ($level:ident) => {
                tracing::$level!(
                    parent: None,
                    method = self.method,
                    route = route.unwrap_or_default(),
                    status,
                    unlogged,
                    duration_ms = duration.as_secs_f64() * 1e3,
                    key_id = self.context.key_id().unwrap_or_default(),
                    request_id = self.context.request_id(),
                    trace_id = self.context.trace_id(),
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

/// Lets one of the many equal lines of a second into the log.
#[derive(Default)]
pub(crate) struct Sampler(Mutex<Sampled>);

#[derive(Default)]
struct Sampled {
    logged: Option<tokio::time::Instant>,
    unlogged: u64,
}

impl Sampler {
    /// How many lines were left out since the last one, if one is to be written now.
    fn take(&self) -> Option<u64> {
        self.take_at(tokio::time::Instant::now())
    }

    fn take_at(&self, now: tokio::time::Instant) -> Option<u64> {
        let mut sampled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = Duration::from_secs(1);
        if sampled.logged.is_some_and(|at| now - at < pause) {
            sampled.unlogged += 1;
            return None;
        }
        sampled.logged = Some(now);
        Some(std::mem::take(&mut sampled.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Sampler;

    #[test]
    fn one_line_a_second_is_let_through_with_the_number_of_those_before() {
        let (sampler, start) = (Sampler::default(), Instant::now());
        let at = |milliseconds| sampler.take_at(start + Duration::from_millis(milliseconds));
        assert_eq!(
            [at(0), at(1), at(999), at(1_000), at(1_001), at(3_000)],
            [Some(0), None, None, Some(2), None, Some(1)]
        );
    }
}
