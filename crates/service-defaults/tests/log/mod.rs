//! What a process writes when it logs odd texts and when it panics.

use std::process::Command;

use axum::routing::get;
use futures_util::future::join_all;
use serde_json::Value;
use service_defaults::{
    process::Process,
    scope::Scope,
    settings::Checked,
    surface::{Routes, Surface},
    telemetry::{AUDIT, LogSettings, Telemetry, TelemetrySettings},
};
use settings::{Arguments, Sources};
use test_support::{API_KEY, Api};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::edge::sample::service;

const ODD: &str = "line\nbreak \"quote\" \u{1b}[31m {\"message\":1}";

fn telemetry(filter: &str) -> Telemetry {
    let log = LogSettings {
        filter: filter.to_owned(),
    };
    let traces = TelemetrySettings {
        otlp_endpoint: String::new(),
        sample_ratio: 1.0,
    };
    Telemetry::install("sample", &log, &traces).unwrap()
}

#[test]
#[ignore = "logs for the other test, which runs it in a process of its own"]
fn writes_a_log() {
    let _telemetry = telemetry("info");
    let _span = tracing::info_span!("request", odd = ODD).entered();
    tracing::warn!(odd = ODD, "{ODD}");
    let panicked = std::thread::spawn(|| panic!("somebody's secret")).join();
    assert!(panicked.is_err());
}

#[test]
#[ignore = "logs for the other test, which runs it in a process of its own"]
fn writes_with_its_filter_off() {
    let _telemetry = telemetry("off,audit=off");
    let _span = tracing::info_span!("request", unseen = true).entered();
    tracing::error!("unseen");
    tracing::info!(target: AUDIT, "unseen");
    tracing::warn!(target: AUDIT, action = "isolate", "seen");
}

#[test]
fn audit_lines_are_written_whatever_the_filter_says() {
    let lines = lines_of("writes_with_its_filter_off");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["message"], "seen");
    assert_eq!(lines[0]["action"], "isolate");
    assert_eq!(lines[0]["target"], "audit");
}

settings::section! {
    /// A service with nothing but what all services have.
    struct Nothing {}
}

impl Checked for Nothing {}

#[tokio::test]
#[ignore = "logs for the other test, which runs it in a process of its own"]
async fn writes_of_a_request() {
    let _telemetry = telemetry("info");
    let sources = Sources::new("sample", &[], Arguments::default())
        .with_environment([("SAMPLE__API_KEYS__TEST__KEY", API_KEY)]);
    let process = Process::<Nothing>::new("sample", sources).unwrap();
    let logs = async || {
        let span = tracing::info_span!("work");
        tracing::warn!(spans_cost_nothing = span.is_disabled(), "in it");
        tracing::warn!(trace_id = "its own", "with a field of the same name");
        "logged"
    };
    let routes = OpenApiRouter::new().route("/logs", get(logs));
    let routes = Routes::new(OpenApi::default()).with(Surface::keyed(&[Scope::Api]), routes);
    let api = Api(process.assemble(routes, &process.readiness()).public);
    let answer = api.get_with("/logs", &[("x-request-id", "core-42")]).await;
    assert_eq!(answer.text(), "logged");
    tracing::warn!("outside of it");
}

#[test]
fn every_line_of_a_request_names_it_and_has_each_field_once() {
    let lines = lines_of("writes_of_a_request");
    let [inside, own, ended, outside, ..] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert_eq!(inside["message"], "in it");
    assert_eq!(inside["spans_cost_nothing"], true);
    assert_eq!(ended["message"], "request ended");
    for line in [inside, ended] {
        assert_eq!(line["request_id"], "core-42", "{line}");
        assert_eq!(line["key_id"], "test", "{line}");
        assert_eq!(line["trace_id"].as_str().map(str::len), Some(32), "{line}");
        assert_eq!(line["trace_id"], ended["trace_id"], "{line}");
    }
    assert_eq!(own["trace_id"], "its own");
    assert!(outside["request_id"].is_null(), "{outside}");
}

#[tokio::test(start_paused = true)]
#[ignore = "logs for the other test, which runs it in a process of its own"]
async fn writes_of_a_flood() {
    let _telemetry = telemetry("info");
    let (_, api) = service(&[("SAMPLE__LIMITS__MAX_REQUESTS_IN_PROGRESS", "1")]);
    let flood = |requests| join_all((0..requests).map(|_| api.get("/own")));
    // Each waits for the only place, in vain.
    tokio::join!(api.get("/hangs"), flood(20));
    tokio::join!(api.get("/hangs"), flood(1));
    for _ in 0..20 {
        api.get("/busy").await;
    }
}

#[test]
fn a_flood_leaves_the_lines_of_one_refused_request_a_second() {
    let lines = lines_of("writes_of_a_flood");
    let of = |message| {
        let of = |line: &&Value| line["message"] == message;
        lines.iter().filter(of).collect::<Vec<_>>()
    };
    let refused: Vec<_> = of("request ended")
        .into_iter()
        .filter(|line| line["route"] == "/own")
        .map(|line| line["unlogged"].as_u64())
        .collect();
    assert_eq!(refused, [Some(0), Some(19)]);
    let failed = of("the request failed");
    assert_eq!(failed.len(), 1, "{failed:?}");
    // The two that had the place, and one of those that failed.
    let others = of("request ended").len() - refused.len();
    assert_eq!(others, 3);
}

/// What the test of this name logs, in a process of its own. No line has a field twice.
fn lines_of(name: &str) -> Vec<Value> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            &format!("log::{name}"),
            "--nocapture",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        !text.contains("secret") && !errors.contains("secret"),
        "{text}{errors}"
    );
    // The others are the test runner's own.
    text.lines()
        .filter(|line| line.contains('{'))
        .map(|line| {
            let line = &line[line.find('{').unwrap()..];
            let parsed: Value = serde_json::from_str(line).unwrap();
            for name in parsed.as_object().unwrap().keys() {
                let times = line.matches(&format!("\"{name}\":")).count();
                assert_eq!(times, 1, "{name}: {line}");
            }
            parsed
        })
        .collect()
}

#[test]
fn every_line_is_json_and_a_panic_keeps_its_message_to_itself() {
    let lines = lines_of("writes_a_log");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0]["message"], ODD);
    assert_eq!(lines[1]["message"], "panic");
    assert!(
        lines[1]["place"].as_str().unwrap().contains("log/mod.rs"),
        "{lines:?}"
    );
}
