//! What a process writes when it logs odd texts and when it panics.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is the failure that is wanted"
)]

use std::process::Command;

use serde_json::Value;
use service_defaults::telemetry::{AUDIT, LogFormat, LogSettings, Telemetry, TelemetrySettings};

const ODD: &str = "line\nbreak \"quote\" \u{1b}[31m {\"message\":1}";

#[test]
#[ignore = "logs for the other test, which runs it in a process of its own"]
fn writes_a_log() {
    let log = LogSettings {
        format: LogFormat::Auto,
        filter: "info".to_owned(),
    };
    let telemetry = TelemetrySettings {
        otlp_endpoint: String::new(),
        sample_ratio: 1.0,
    };
    let _telemetry = Telemetry::install("sample", &log, &telemetry).unwrap();
    let _span = tracing::info_span!("request", odd = ODD).entered();
    tracing::warn!(odd = ODD, level = ODD, "{ODD}");
    let panicked = std::thread::spawn(|| panic!("somebody's secret")).join();
    assert!(panicked.is_err());
}

#[test]
#[ignore = "logs for the other test, which runs it in a process of its own"]
fn writes_with_its_filter_off() {
    let log = LogSettings {
        format: LogFormat::Json,
        filter: "off,audit=off".to_owned(),
    };
    let telemetry = TelemetrySettings {
        otlp_endpoint: String::new(),
        sample_ratio: 1.0,
    };
    let _telemetry = Telemetry::install("sample", &log, &telemetry).unwrap();
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

/// What the test of this name logs, in a process of its own.
fn lines_of(name: &str) -> Vec<Value> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", name, "--nocapture"])
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
        .map(|line| serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap())
        .collect()
}

#[test]
fn every_line_is_json_and_a_panic_keeps_its_message_to_itself() {
    let lines = lines_of("writes_a_log");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0]["message"], ODD);
    assert_eq!(lines[1]["message"], "panic");
    assert!(
        lines[1]["place"].as_str().unwrap().contains("main.rs"),
        "{lines:?}"
    );
}
