use std::fs;

use insurance_service::NAME;
use serde_json::Value;
use test_support::{API_KEY, Binary, FakeVehicle, TestDatabase};
use tokio::task::spawn_blocking;

use super::binary;

async fn binary() -> Binary {
    binary::binary(
        &TestDatabase::empty(NAME).await,
        &FakeVehicle::healthy().await,
    )
}

/// What `check` says to a program, with its exit code.
async fn check(binary: &Binary) -> (Option<i32>, Value) {
    let output = binary.run_with(&["check", "--output", "json"]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!said.contains(API_KEY), "{said}");
    (output.status.code(), serde_json::from_str(&said).unwrap())
}

#[tokio::test]
async fn check_tells_programs_what_good_settings_allow() {
    let (code, said) = check(&binary().await).await;
    assert_eq!(code, Some(0));
    assert_eq!(said["settings"], "good");
    let figures = said["worstCase"].as_array().unwrap();
    for (name, value, unit) in [
        ("longest_answer", 27.25, "seconds"),
        ("longest_enrichment", 9.0, "seconds"),
        ("most_calls_in_flight", 6.0, "count"),
        ("calls_per_lookup", 2.0, "count"),
        ("longest_queue", 2048.0, "count"),
        ("cache_memory", 0.0, "bytes"),
        ("retry_amplification", 2.0, "ratio"),
    ] {
        let figure = figures
            .iter()
            .find(|figure| figure["name"] == name)
            .unwrap();
        assert_eq!(figure["value"].as_f64(), Some(value), "{figure}");
        assert_eq!(figure["unit"], unit);
        assert_ne!(figure["because"], "");
    }
}

#[tokio::test]
async fn check_tells_how_many_calls_can_be_at_work_in_a_vehicle_that_does_not_notice() {
    // An attempt takes 4 s, and 5 single and 1 batch call may be out.
    for (options, slow) in [(&[][..], 18), (&["--work", "30s"], 54)] {
        let command = [&["check", "--output", "json"], options].concat();
        let output = binary().await.run_with(&command).await;
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let figures = said["worstCase"].as_array().unwrap();
        let value = |name| {
            let figure = figures.iter().find(|figure| figure["name"] == name);
            figure.unwrap()["value"].as_u64()
        };
        assert_eq!(value("most_calls_at_work_when_silent"), Some(25));
        assert_eq!(value("most_calls_at_work_when_slow"), Some(slow));
    }
}

#[tokio::test]
async fn check_tells_programs_each_thing_that_is_wrong() {
    let binary = binary()
        .await
        .with("VEHICLE_CLIENT__MAX_BATCH_SIZE", "501")
        .with("VEHICLE_CLIENT__CONNECT_TIMEOUT", "5s");
    let (code, said) = check(&binary).await;
    assert_eq!(code, Some(78));
    assert_eq!(said["settings"], "bad");
    let violations = said["violations"].as_array().unwrap();
    let told: Vec<_> = violations
        .iter()
        .map(|it| [&it["setting"], &it["rule"]])
        .collect();
    let expected = [
        [
            "vehicle_client.max_batch_size",
            "501 is outside 1..=500 (INSURANCE__VEHICLE_CLIENT__MAX_BATCH_SIZE)",
        ],
        [
            "vehicle_client.connect_timeout",
            "5s is over vehicle_client.attempt_timeout = 4s \
             (INSURANCE__VEHICLE_CLIENT__CONNECT_TIMEOUT)",
        ],
    ];
    assert_eq!(told, expected);
}

/// The calls that a request makes at most, as `/metrics` has it.
fn calls_for_8_cars(metrics: &str) -> i64 {
    let figure = [("figure", "calls_for_8_cars")];
    test_support::metric(metrics, "settings_worst_case_count", &figure)
}

#[tokio::test]
async fn a_running_service_logs_and_shows_it_at_the_start_and_after_a_reload() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("insurance.toml");
    let write = |batch: bool| {
        let toggles = format!("[feature_toggles]\nenable_batch_vehicle_call = {batch}\n");
        fs::write(&file, toggles).unwrap();
    };
    write(false);
    let binary = binary().await;
    let binary = binary
        .with_argument("--config")
        .with_argument(file.to_str().unwrap());
    let running = binary.serve().await;
    assert_eq!(
        calls_for_8_cars(&running.at.get("/metrics").await.text()),
        16
    );
    write(true);
    let mut running = running;
    let running = spawn_blocking(move || {
        running.wait_for("settings reloaded");
        running
    })
    .await
    .unwrap();
    assert_eq!(
        calls_for_8_cars(&running.at.get("/metrics").await.text()),
        2
    );
    let lines = running.stop().await.unwrap().lines;
    let logged = |figure: &str, unit: &str| -> Vec<_> {
        let lines = lines.iter().filter(|line| line["figure"] == figure);
        lines.map(|line| line[unit].as_f64().unwrap()).collect()
    };
    assert_eq!(logged("calls_for_8_cars", "count"), [16.0, 2.0]);
    assert_eq!(logged("longest_answer", "seconds"), [27.25; 2]);
    assert_eq!(logged("retry_amplification", "ratio"), [2.0; 2]);
    assert_eq!(logged("cache_memory", "bytes"), [0.0; 2]);
}
