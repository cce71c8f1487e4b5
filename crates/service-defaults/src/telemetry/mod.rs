//! Logs and traces of a process.
//!
//! Traces leave only where an OTLP endpoint is set; without one no tracer is installed and the
//! ids of [`RequestContext`](crate::request_context::RequestContext) are all there is.

pub(crate) mod ids;
mod log_writer;
pub mod metrics;

use std::{
    io::{self, IsTerminal, stdout},
    panic,
    sync::OnceLock,
};

use opentelemetry::{metrics::Meter, trace::TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider, TracerProviderBuilder},
};
use serde::Deserialize;
use settings::section;
use tracing::Level;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, FilterFn, LevelFilter},
    fmt,
    layer::{Filter, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use self::{ids::Ids, log_writer::LogWriter};
use crate::{settings::Violations, tls::install_crypto_provider};

/// The writer of this process's log; like the subscriber, there is one.
static LOG: OnceLock<LogWriter> = OnceLock::new();

/// Target of the log lines that say who changed what by hand. They are written whatever
/// `log.filter` says: a filter is for noise, and whoever may set it must not be able to act unseen.
pub const AUDIT: &str = "audit";

section! {
    /// The section `[log]`.
    pub struct LogSettings {
        /// "json", "text", or "auto": text on a terminal, JSON elsewhere.
        pub format: LogFormat = "auto";
        /// Levels by module, as tracing's EnvFilter reads them. Lines of the target `audit` always
        /// appear.
        pub filter: String = "info,sqlx=warn", where readable_filter;
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object a line.
    Json,
    /// For reading.
    Text,
}

section! {
    /// The section `[telemetry]`.
    pub struct TelemetrySettings {
        /// OTLP/HTTP endpoint for traces, such as http://127.0.0.1:4318/v1/traces; empty = no
        /// traces leave.
        pub otlp_endpoint: String = "", where http_url;
        /// Share of new traces that are kept; a caller's decision stands.
        pub sample_ratio: f64 = 1.0, in 0.0..=1.0;
    }
}

fn readable_filter(filter: &String, at: &str, violations: &mut Violations) {
    if let Err(error) = EnvFilter::try_new(filter) {
        violations.report(at, format_args!("`{filter}`: {error}"));
    }
}

fn http_url(endpoint: &String, at: &str, violations: &mut Violations) {
    let uri = endpoint.parse::<http::Uri>();
    let http = uri.is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    if !endpoint.is_empty() && !http {
        violations.report(at, format_args!("`{endpoint}` is no http URL"));
    }
}

/// Flushes what was recorded when it is shut down. Keep it until the end of `main`.
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The exporter did not build.
    #[error("telemetry.otlp_endpoint: the exporter did not start")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The thread that writes the log did not start.
    #[error("the log cannot be written")]
    Writer(#[from] io::Error),
    /// Somebody else installed a subscriber before.
    #[error("logging is set up already")]
    Subscriber(#[from] tracing_subscriber::util::TryInitError),
}

impl Telemetry {
    /// Installs logging and, where an endpoint is set, tracing for this process.
    pub fn install(
        service: &'static str,
        log: &LogSettings,
        telemetry: &TelemetrySettings,
    ) -> Result<Self, TelemetryError> {
        let traces = match telemetry.otlp_endpoint.as_str() {
            "" => None,
            endpoint => Some(tracer_provider(service, endpoint, telemetry.sample_ratio)?),
        };
        let exported = traces.as_ref().map(|traces| {
            tracing_opentelemetry::layer()
                .with_location(false)
                .with_threads(false)
                .with_target(false)
                .with_tracer(traces.tracer("threadpilot"))
                // The spans of libraries, such as the exporter's own HTTP client, are below that.
                .with_filter(LevelFilter::INFO)
        });
        let writer = LogWriter::start(stdout())?;
        tracing_subscriber::registry()
            .with(exported)
            .with(lines(log.format, writer.clone()).with_filter(audited(&log.filter)))
            .try_init()?;
        LOG.get_or_init(|| writer);
        log_panics();
        Ok(Self { traces })
    }

    /// Counts the log lines that were not written, because nobody read them in time.
    pub fn observe(&self, meter: &Meter) {
        meter
            .u64_observable_counter("log.lines.dropped")
            .with_unit("{line}")
            .with_description("Log lines that were not written, because nobody read them in time")
            .with_callback(|lines| {
                lines.observe(LOG.get().map_or(0, LogWriter::dropped_lines), &[]);
            })
            .build();
    }

    /// Sends what is left. Blocks for as long as the exporter takes, a few seconds at most, and
    /// then for a second at most until the log is written.
    pub fn shut_down(self) {
        if let Some(traces) = &self.traces
            && let Err(error) = traces.shutdown()
        {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Also after a panic.
impl Drop for Telemetry {
    fn drop(&mut self) {
        flush_log();
    }
}

/// Waits until the log so far is written, for a second at most.
pub(crate) fn flush_log() {
    if let Some(log) = LOG.get() {
        log.flush_lines();
    }
}

fn tracer_provider(
    service: &'static str,
    endpoint: &str,
    ratio: f64,
) -> Result<SdkTracerProvider, TelemetryError> {
    // The exporter brings its own HTTP client; TLS needs the process's crypto provider.
    install_crypto_provider();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(endpoint)
        .build()?;
    Ok(recorder(service, ratio)
        .with_batch_exporter(exporter)
        .build())
}

fn recorder(service: &'static str, ratio: f64) -> TracerProviderBuilder {
    SdkTracerProvider::builder()
        .with_resource(Resource::builder().with_service_name(service).build())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            ratio,
        ))))
        .with_id_generator(Ids)
}

/// What the filter lets through, and every audit line.
fn audited<S>(filter: &str) -> impl Filter<S> + use<S> {
    FilterFn::new(|metadata| metadata.target() == AUDIT && *metadata.level() <= Level::WARN)
        .with_max_level_hint(LevelFilter::WARN)
        .or(EnvFilter::new(filter))
}

fn lines<S>(format: LogFormat, writer: LogWriter) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let json = match format {
        LogFormat::Auto => !stdout().is_terminal(),
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    if json {
        fmt::layer()
            .with_writer(writer)
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .boxed()
    } else {
        fmt::layer().with_writer(writer).compact().boxed()
    }
}

/// Panics become a log line, so that every line of the log can be parsed. The message is left
/// out: the standard library's own messages quote texts (`byte index 3 is out of bounds of "…"`),
/// and such a text may be personal data.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(%place, %backtrace, "panic");
    }));
}

#[cfg(test)]
mod tests {
    use contracts::may_hold_personal_identity_number;
    use opentelemetry::trace::{Span, Tracer, TracerProvider};

    use super::recorder;

    /// Enough that 17 of them would, by chance, if they were not drawn again.
    const SPANS: usize = 50_000;

    #[test]
    fn no_recorded_span_has_a_trace_id_that_may_name_a_person() {
        let tracer = recorder("test", 1.0).build().tracer("test");
        for _ in 0..SPANS {
            let span = tracer.start("request");
            let id = span.span_context().trace_id().to_string();
            assert!(!may_hold_personal_identity_number(&id), "{id}");
        }
    }
}
