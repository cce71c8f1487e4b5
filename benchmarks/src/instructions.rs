//! Sends one request again and again through the edge, in this process and on one thread: what
//! `benchmarks/instructions.py` counts the instructions of.

use anyhow::ensure;
use axum::body::Body;
use clap::ValueEnum;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use service_defaults::{
    assembly::Application, process::Process, service::Service, telemetry::Telemetry,
};
use settings::Arguments;
use tower::ServiceExt;

use crate::edge::Edge;

const KEY: &str = "0123456789abcdef";

#[derive(clap::Args)]
pub(crate) struct Options {
    scenario: Scenario,
    /// How often
    requests: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Scenario {
    /// A static answer for a caller with a key
    Answered,
    /// The same, with a tracing back-end that samples nothing
    Unsampled,
    /// A wrong key
    Unauthorized,
    /// A route that is none
    NotFound,
}

impl Scenario {
    /// Path, key and status.
    fn exchange(self) -> (&'static str, &'static str, StatusCode) {
        match self {
            Self::Answered | Self::Unsampled => ("/static", KEY, StatusCode::OK),
            Self::Unauthorized => ("/static", "fedcba9876543210", StatusCode::UNAUTHORIZED),
            Self::NotFound => ("/nothing", KEY, StatusCode::NOT_FOUND),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let traces = match options.scenario {
        // Nothing is sent there.
        Scenario::Unsampled => "http://127.0.0.1:9/v1/traces",
        _ => "",
    };
    let sources = Edge::sources(Arguments::default()).with_environment([
        ("EDGE__API_KEYS__BENCHMARK__KEY", KEY),
        ("EDGE__TELEMETRY__OTLP_ENDPOINT", traces),
        ("EDGE__TELEMETRY__SAMPLE_RATIO", "0"),
    ]);
    let process = Process::new(Edge::NAME, sources)?;
    let settings = process.settings();
    // As a service does: what is logged costs, too.
    let telemetry =
        Telemetry::install(Edge::NAME, &settings.common.log, &settings.common.telemetry)?;
    let application = Edge::build(&process)?.public;
    for _ in 0..options.requests {
        ask(application.clone(), options.scenario).await?;
    }
    telemetry.shut_down();
    Ok(())
}

async fn ask(application: Application, scenario: Scenario) -> anyhow::Result<()> {
    let (path, key, status) = scenario.exchange();
    let request = Request::get(path)
        .header("host", "127.0.0.1")
        .header("x-api-key", key)
        .body(Body::empty())?;
    let answer = application.oneshot(request).await?;
    ensure!(answer.status() == status, "{}", answer.status());
    answer.into_body().collect().await?;
    Ok(())
}
