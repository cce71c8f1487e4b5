//! Metrics of one service: OpenTelemetry instruments, read as Prometheus text at `/metrics`.
//!
//! Each service has its own registry instead of the process-wide one, so that two services in one
//! process (tests) do not count for each other.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use axum::{extract::State, http::header::CONTENT_TYPE, response::IntoResponse};
use opentelemetry::{
    KeyValue,
    metrics::{
        BoundCounter, BoundHistogram, BoundUpDownCounter, Counter, Histogram, Meter, MeterProvider,
        UpDownCounter,
    },
};
use opentelemetry_sdk::{Resource, metrics::SdkMeterProvider};
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};

use crate::{problem::Rejection, server::ServerSettings};

/// Bucket bounds of request durations in seconds (OpenTelemetry HTTP semantic conventions).
pub const DURATION_BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// The instruments and the registry of one service. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
    meter: Meter,
    http: Arc<HttpServer>,
}

struct HttpServer {
    duration: Histogram<f64>,
    active: UpDownCounter<i64>,
    problems: Counter<u64>,
    refused: Counter<u64>,
}

/// Why metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The Prometheus exporter did not build.
    #[error("the Prometheus exporter did not start")]
    Exporter(#[from] opentelemetry_sdk::error::OTelSdkError),
    /// A collector was not taken by the registry.
    #[error("the process collector was not registered")]
    Collector(#[from] prometheus::Error),
}

impl Metrics {
    /// Sets up the metrics of the service of this name.
    pub fn new(service: &'static str) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build()?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        let provider = SdkMeterProvider::builder()
            .with_resource(Resource::builder_empty().with_service_name(service).build())
            .with_reader(exporter)
            .build();
        let meter = provider.meter("threadpilot");
        let http = HttpServer {
            duration: meter
                .f64_histogram("http.server.request.duration")
                .with_unit("s")
                .with_description("Time from a request's head to its answer")
                .with_boundaries(DURATION_BUCKETS.to_vec())
                .build(),
            active: meter
                .i64_up_down_counter("http.server.active_requests")
                .with_unit("{request}")
                .with_description("Requests in progress")
                .build(),
            problems: meter
                .u64_counter("http.server.problems")
                .with_unit("{request}")
                .with_description("Requests that were refused, by the code of their problem")
                .build(),
            refused: meter
                .u64_counter("http.server.admission.refused")
                .with_unit("{request}")
                .with_description("Requests for which there was no place in time")
                .build(),
        };
        Ok(Self {
            registry,
            provider,
            meter,
            http: Arc::new(http),
        })
    }

    /// Makes instruments of this service.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Everything measured so far in Prometheus's text format.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// Stops recording.
    pub fn shut_down(&self) {
        // Fails only when it was shut down before.
        let _ = self.provider.shutdown();
    }

    pub(crate) fn refused(&self) -> Counter<u64> {
        self.http.refused.clone()
    }

    /// The series of the requests to a route by a method on a port.
    pub(crate) fn series(
        &self,
        origin: &Origin,
        port: u16,
        method: &'static str,
        route: Option<&str>,
    ) -> Series {
        let mut labels = origin.labels(method, port).to_vec();
        let active = self.http.active.bind(&labels);
        labels.extend(route.map(|route| KeyValue::new("http.route", route.to_owned())));
        Series {
            active,
            duration: self.http.duration.clone(),
            labels,
            ended: Mutex::default(),
            problems: self.http.problems.clone(),
            refused: Mutex::default(),
        }
    }
}

/// The series of one route, by method and port. There are few of them, which are looked up in a
/// list: to hash all labels at each request would take longer than the rest of the measuring.
#[derive(Default)]
pub(crate) struct RouteSeries(RwLock<Vec<(MethodAndPort, Arc<Series>)>>);

type MethodAndPort = (&'static str, u16);

impl RouteSeries {
    pub(crate) fn of(
        &self,
        method: &'static str,
        port: u16,
        make: impl FnOnce() -> Series,
    ) -> Arc<Series> {
        let key = (method, port);
        let found = |all: &[(_, Arc<Series>)]| {
            let (_, series) = all.iter().find(|(of, _)| *of == key)?;
            Some(series.clone())
        };
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = found(&known) {
            return series;
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        found(&known).unwrap_or_else(|| {
            let series = Arc::new(make());
            known.push((key, series.clone()));
            series
        })
    }
}

/// What is measured of the requests to one route by one method on one port.
pub(crate) struct Series {
    active: BoundUpDownCounter<i64>,
    duration: Histogram<f64>,
    labels: Vec<KeyValue>,
    ended: Mutex<Vec<(Outcome, BoundHistogram<f64>)>>,
    problems: Counter<u64>,
    refused: Mutex<Vec<(Cow<'static, str>, BoundCounter<u64>)>>,
}

impl Series {
    pub(crate) fn request_started(&self) {
        self.active.add(1);
    }

    pub(crate) fn request_ended(&self, outcome: Outcome, duration: Duration) {
        self.active.add(-1);
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let known = ended.iter().find(|(of, _)| *of == outcome);
        let known = known.map(|(_, bound)| bound.clone());
        let bound = known.unwrap_or_else(|| {
            let bound = self.duration.bind(&self.ended_labels(outcome));
            ended.push((outcome, bound.clone()));
            bound
        });
        drop(ended);
        bound.record(duration.as_secs_f64());
    }

    /// Counts an answer that was a problem of this code, of which `contracts::PROBLEMS` has all.
    pub(crate) fn request_refused(&self, code: Cow<'static, str>) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bound)) = refused.iter().find(|(of, _)| *of == code) {
            bound.add(1);
            return;
        }
        let bound = self.problems.bind(&[KeyValue::new("code", code.clone())]);
        bound.add(1);
        refused.push((code, bound));
    }

    fn ended_labels(&self, outcome: Outcome) -> Vec<KeyValue> {
        let mut labels = self.labels.clone();
        if let Outcome::Answered(status) = outcome {
            let status = i64::from(status);
            labels.push(KeyValue::new("http.response.status_code", status));
        }
        let failure = outcome.error_type();
        labels.extend(failure.map(|kind| KeyValue::new("error.type", kind)));
        labels
    }
}

/// Where a listener is, by the settings: what callers write in `Host` would make series.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    scheme: &'static str,
    address: Arc<str>,
    /// Where the settings leave it to the system, a request knows by which it came.
    pub(crate) port: u16,
}

impl Origin {
    /// The listener of this port.
    pub(crate) fn new(server: &ServerSettings, port: u16) -> Self {
        Self {
            scheme: server.scheme(),
            address: server.address.to_string().into(),
            port,
        }
    }

    fn labels(&self, method: &'static str, port: u16) -> [KeyValue; 4] {
        [
            KeyValue::new("http.request.method", method),
            KeyValue::new("url.scheme", self.scheme),
            KeyValue::new("server.address", self.address.clone()),
            KeyValue::new("server.port", i64::from(port)),
        ]
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With an answer of this status.
    Answered(u16),
    /// The caller went away before there was one.
    Cancelled,
}

impl Outcome {
    /// What went wrong on our side or on the way (`error.type`): a status of 5xx, or that the
    /// caller went away.
    pub(crate) fn error_type(self) -> Option<Cow<'static, str>> {
        match self {
            Self::Answered(status @ 500..) => Some(status.to_string().into()),
            Self::Answered(_) => None,
            Self::Cancelled => Some("cancelled".into()),
        }
    }
}

/// The method as a metric label: one of the known ones, or `_OTHER`.
pub(crate) fn method_label(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        _ => "_OTHER",
    }
}

/// The service's metrics in Prometheus's text format
#[utoipa::path(
    get, path = "/metrics", tag = "Operations",
    responses((status = 200, description = "Prometheus text format", body = String, content_type = "text/plain"))
)]
pub(crate) async fn get_metrics(State(metrics): State<Metrics>) -> impl IntoResponse {
    match metrics.render() {
        Ok(text) => ([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => Rejection::internal().with_cause(error).into_response(),
    }
}
