//! Logs and traces of a process.
//!
//! Traces leave only where an OTLP endpoint is set; without one no tracer is installed and the
//! ids of [`RequestContext`](crate::request_context::RequestContext) are all there is.

pub(crate) mod ids;
mod log_lines;
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
use settings::{Violations, section};
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, FilterFn, LevelFilter},
    fmt,
    layer::{Filter, SubscriberExt},
    util::SubscriberInitExt,
};

use self::{
    ids::Ids,
    log_lines::{JsonLines, TimeAndRequest},
    log_writer::LogWriter,
};
use crate::tls::install_crypto_provider;

/// The writer of this process's log; like the subscriber, there is one.
static LOG: OnceLock<LogWriter> = OnceLock::new();

/// Target of the log lines that say who changed what by hand. They are written whatever
/// `log.filter` says: a filter is for noise, and whoever may set it must not be able to act unseen.
pub const AUDIT: &str = "audit";

section! {
    /// The section `[log]`.
    pub struct LogSettings {
        /// Levels by module, as tracing's EnvFilter reads them. Lines of the target `audit` always
        /// appear.
        pub filter: String = "info,sqlx=warn,async_nats=off", where readable_filter;
    }
    removed {
        "format" => "is text on a terminal and JSON elsewhere",
    }
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
        let writer = LogWriter::start(stdout())?;
        // A layer that is there and does nothing would switch every span on.
        let mut layers = vec![lines(writer.clone(), &log.filter)];
        layers.extend(traces.as_ref().map(exported));
        tracing_subscriber::registry().with(layers).try_init()?;
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

/// Hands our own spans, and what we log within them, to the tracing back-end.
fn exported(traces: &SdkTracerProvider) -> Box<dyn Layer<Registry> + Send + Sync> {
    tracing_opentelemetry::layer()
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracer(traces.tracer("threadpilot"))
        .with_filter(FilterFn::new(is_ours).with_max_level_hint(LevelFilter::INFO))
        .boxed()
}

/// Whether it is of one of our crates, whose folders stand side by side. What a library says may
/// hold anything, such as the text of a statement.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    let crates = file!().split_once(env!("CARGO_PKG_NAME"));
    let ours = |file: &str| crates.is_some_and(|(folder, _)| file.starts_with(folder));
    *metadata.level() <= Level::INFO && metadata.file().is_some_and(ours)
}

/// The lines that the filter lets through, and every audit line. No spans: without a tracing
/// back-end, making them would be work for nothing.
fn logged<S>(filter: &str) -> impl Filter<S> + use<S> {
    let line =
        FilterFn::new(|metadata| !metadata.is_span()).with_max_level_hint(LevelFilter::TRACE);
    let audit =
        FilterFn::new(|metadata| metadata.target() == AUDIT && *metadata.level() <= Level::WARN)
            .with_max_level_hint(LevelFilter::WARN);
    line.and(audit.or(EnvFilter::new(filter)))
}

/// Text on a terminal, JSON elsewhere.
fn lines(writer: LogWriter, filter: &str) -> Box<dyn Layer<Registry> + Send + Sync> {
    if !stdout().is_terminal() {
        return JsonLines(writer).with_filter(logged(filter)).boxed();
    }
    let text = fmt::layer().with_writer(writer).with_timer(TimeAndRequest);
    text.compact().with_filter(logged(filter)).boxed()
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
    use std::sync::{Arc, Mutex};

    use contracts::may_hold_personal_identity_number;
    use opentelemetry::trace::{Span, Tracer, TracerProvider};
    use opentelemetry_sdk::{
        error::OTelSdkResult,
        trace::{SpanData, SpanExporter},
    };
    use tracing_subscriber::layer::SubscriberExt;

    use super::{exported, recorder};

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

    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(spans);
            Ok(())
        }
    }

    #[test]
    fn what_libraries_say_is_not_exported() {
        let kept = Kept::default();
        let traces = recorder("test", 1.0)
            .with_simple_exporter(kept.clone())
            .build();
        let subscriber = tracing_subscriber::registry().with(exported(&traces));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info_span!("request").in_scope(|| {
                tracing::info!("ours");
                // Its library says at INFO that it has no name.
                traces.tracer("");
            });
        });
        let spans = kept.0.lock().unwrap();
        let said: Vec<_> = spans[0].events.iter().map(|event| &event.name).collect();
        assert_eq!(said, ["ours"], "{spans:?}");
    }
}
