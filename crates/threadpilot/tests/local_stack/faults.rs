//! Vehicle fails on purpose, and Insurance says so.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    net::TcpListener,
    path::Path,
    process::Stdio,
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::process::Command;

use super::running::{Running, client, command, data_dir, until};

const README: &str = include_str!("../../../../README.md");

/// With less patience for Vehicle, so that a paused one is given up soon, and with less of Vehicle
/// for its database, so that it answers before that.
fn impatient(data_dir: &Path, options: &[&str], patience: &str) -> Command {
    let mut command = command(data_dir, options);
    command
        .env("INSURANCE__VEHICLE_CLIENT__CONNECT_TIMEOUT", patience)
        .env("INSURANCE__VEHICLE_CLIENT__ATTEMPT_TIMEOUT", patience)
        .env("VEHICLE__DATABASE__ACQUIRE_TIMEOUT", "250ms");
    command
}

async fn started(data_dir: &Path, fault: &str, patience: &str) -> Running {
    let mut command = impatient(data_dir, &["--vehicle-fault", fault], patience);
    Running::of(command.spawn().unwrap()).await
}

async fn profile(stack: &Running) -> String {
    let url = format!("{}/api/v1/insurances/199001011234", stack.insurance);
    let (status, text) = stack.get(&client(None), &url).await;
    assert_eq!(status, 200, "{text}");
    text
}

/// The line of the README's section that begins so.
fn told(beginning: &str) -> &'static str {
    let section = README.split("\n## See it fail\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut lines = section.lines().map(str::trim_start);
    lines.find(|line| line.starts_with(beginning)).unwrap()
}

#[tokio::test]
async fn a_slow_vehicle_is_answered_and_told_as_the_readme_shows() {
    let folder = data_dir();
    let stack = started(folder.path(), "slow", "500ms").await;
    assert_eq!(
        profile(&stack).await,
        told(r#"{"personalIdentityNumber":"199001011234""#)
    );

    let (client, url) = (client(None), format!("{}/readyz", stack.insurance));
    until(async || {
        profile(&stack).await;
        stack.get(&client, &url).await.1 == told(r#"{"ready":true"#)
    })
    .await;
    assert!(profile(&stack).await.contains(r#""cause":"breaker_open""#));
}

#[tokio::test]
async fn faults_are_typed_into_the_terminal_and_taken_back() {
    let folder = data_dir();
    let (mut keys, terminal) = terminal();
    let mut command = impatient(folder.path(), &[], "2s");
    command.stdin(Stdio::from(terminal));
    let mut stack = Running::of(command.spawn().unwrap()).await;
    assert!(
        stack
            .said
            .iter()
            .any(|line| line.contains("type slow, errors, down or normal")),
        "{:?}",
        stack.said
    );
    keys.write_all(b"slwo\n").unwrap();
    stack.says("type slow, errors, down or normal").await;

    let steps = [
        ("slow", "vehicle is paused", r#""cause":"timeout""#),
        (
            "errors",
            "vehicle has lost its database",
            r#""cause":"server_error""#,
        ),
        ("down", "vehicle does not run", r#""cause":"connection""#),
        ("slow", "vehicle is paused", r#""cause":"timeout""#),
        ("normal", "vehicle runs as it should", r#""source":"live""#),
    ];
    for (fault, words, expected) in steps {
        writeln!(keys, "{fault}").unwrap();
        stack.says(words).await;
        // A busy Vehicle may need a moment for its database.
        until(async || profile(&stack).await.contains(expected)).await;
        if fault == "errors" {
            // It is the real one without its database.
            let url = format!("{}/api/v1/vehicles/ABC123", stack.vehicle);
            let (_, text) = stack.get(&client(None), &url).await;
            assert!(text.contains(r#""code":"database_unavailable""#), "{text}");
        }
    }
    a_fault_that_could_not_be_made_is_not_told(&mut stack, &mut keys).await;
}

async fn a_fault_that_could_not_be_made_is_not_told(stack: &mut Running, keys: &mut File) {
    let address = stack.vehicle.trim_start_matches("http://").to_owned();
    writeln!(keys, "down").unwrap();
    stack.says("vehicle does not run").await;
    let taken = TcpListener::bind(&address).unwrap();
    let before = stack.said.len();
    writeln!(keys, "errors").unwrap();
    for _ in 0..2 {
        stack.says("starting vehicle again in").await;
    }
    let told = |line: &String| line.contains("lost its database");
    assert!(!stack.said[before..].iter().any(told), "{:?}", stack.said);
    drop(taken);
    stack.says("vehicle has lost its database").await;
}

/// A terminal: what types into it, and what a program reads from.
fn terminal() -> (File, File) {
    let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&keys).unwrap();
    unlockpt(&keys).unwrap();
    let name = ptsname(&keys, Vec::new()).unwrap();
    let terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    (File::from(keys), terminal)
}
