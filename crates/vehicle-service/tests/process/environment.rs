//! What the binary makes of variables that are nearly settings.

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use serde_json::{Value, json};
use test_support::TestDatabase;
use vehicle_service::{NAME, SCHEMA};

use super::{
    binary::{Serving, command, text},
    caller::within,
};

const KEY: (&str, &str) = ("API_KEYS__TEST__KEY", "test-key-0123456789");

#[tokio::test]
async fn what_is_no_text_stops_the_start() {
    let odd = |text: &str| OsString::from_vec([text.as_bytes(), b"\xff"].concat());
    for (name, value, told) in [
        (
            OsString::from("VEHICLE__LOG__FILTER"),
            odd("info"),
            "log.filter: VEHICLE__LOG__FILTER is not UTF-8",
        ),
        (
            odd("VEHICLE__LOG__FILTER"),
            OsString::from("info"),
            "VEHICLE__LOG__FILTER\u{fffd}: is no name of a setting",
        ),
    ] {
        let mut check = command(&["check"], &[KEY]);
        let output = within(check.env(name, value).output()).await.unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(told), "{said}");
    }
}

/// Names of which one is a setting's but for its underscores, one would be a key's, and the others
/// are what Kubernetes makes for a service called `vehicle`.
const NEARLY: [(&str, &str); 6] = [
    ("VEHICLE_SERVER_PORT", "tcp://10.0.0.1:5081"),
    ("VEHICLE_API_KEYS_CORE_KEY", "hunter2hunter2hunter2"),
    ("VEHICLE_SERVICE_HOST", "10.0.0.1"),
    ("VEHICLE_SERVICE_PORT", "5081"),
    ("VEHICLE_PORT", "tcp://10.0.0.1:5081"),
    ("VEHICLE_PORT_5081_TCP_ADDR", "10.0.0.1"),
];
const WARNINGS: [&str; 2] = [
    "VEHICLE_API_KEYS_CORE_KEY sets nothing; settings of api_keys begin with VEHICLE__API_KEYS__",
    "VEHICLE_SERVER_PORT sets nothing; VEHICLE__SERVER__PORT would",
];

#[tokio::test]
async fn check_warns_of_names_with_too_few_underscores() {
    let mut check = command(&["check"], &[KEY]);
    let output = within(check.envs(NEARLY).output()).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    let warnings: Vec<_> = said
        .lines()
        .filter_map(|line| line.strip_prefix("warning: "))
        .collect();
    assert_eq!(warnings, WARNINGS, "{said}");
    assert!(!said.contains("hunter2"), "{said}");

    for (key, code) in [(&[KEY][..], 0), (&[], 78)] {
        let mut check = command(&["check", "--output", "json"], key);
        let output = within(check.envs(NEARLY).output()).await.unwrap();
        assert_eq!(output.status.code(), Some(code));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said["warnings"], json!(WARNINGS), "{said}");
    }
    // Without the key that was meant the start is refused, and the warning says why.
    let output = within(command(&["serve"], &[]).envs(NEARLY).output()).await;
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(78));
    let said = text(&output.stderr);
    assert!(
        said.contains(&format!("warning: {}", WARNINGS[0])),
        "{said}"
    );
}

#[tokio::test]
async fn a_start_warns_of_names_with_too_few_underscores() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let mut serve = command(&["serve"], &[("SERVER__PORT", "0")]);
    serve.envs(NEARLY);
    let serving = Serving::spawn(serve, &database).await;
    let warnings: Vec<_> = serving
        .log
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["level"] == "WARN")
        .map(|line| line["message"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(warnings, WARNINGS);
}
