use std::{ffi::OsString, net::TcpListener, os::unix::ffi::OsStringExt};

use test_support::TestDatabase;
use vehicle_service::SCHEMA;

use super::{
    binary::{Serving, command, run, text},
    caller::within,
};

const KEY: (&str, &str) = ("API_KEYS__TEST__KEY", "test-key-0123456789");

#[tokio::test]
async fn check_says_that_good_settings_are_good() {
    // Somebody else's variable that is no text is none of our business.
    let mut command = command(&["check"], &[KEY]);
    command.env("OTHER", OsString::from_vec(vec![0xff]));
    let output = within(command.output()).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(
        said.starts_with("vehicle: the settings are good; at worst they allow\n\nlongest_request "),
        "{said}"
    );
    assert!(!said.contains(KEY.1), "{said}");
}

#[tokio::test]
async fn check_compares_the_connections_with_the_limit_on_open_files() {
    let binary = env!("CARGO_BIN_EXE_vehicle-service");
    let script = "ulimit -n 1000 && exec \"$0\" check";
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", script, binary]).env_clear();
    command.env(format!("VEHICLE__{}", KEY.0), KEY.1);
    let said = within(command.output()).await.unwrap();
    let said = text(&said.stdout);
    let compared = "744  744 of server.max_connections 4096, by the system's limit on open files\n";
    assert!(said.contains(compared), "{said}");
}

#[tokio::test]
async fn help_says_what_the_service_is_how_it_is_called_and_what_its_exit_codes_mean() {
    let output = within(command(&["--help"], &[]).output()).await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stdout);
    for part in [
        "cars by registration number",
        "migrate ",
        "--healthcheck",
        "VEHICLE__SERVER__PORT=8080 vehicle-service",
        "78  the settings cannot be used",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let output = within(command(&["--port", "1"], &[]).output()).await;
    assert_eq!(output.unwrap().status.code(), Some(2));
}

#[tokio::test]
async fn what_is_wrong_is_named_and_stops_the_start() {
    for (arguments, variable, message) in [
        (&["check"][..], ("SERVER__PORT", "99999"), "server.port"),
        (&["check"], ("DATABASE__URL", "nonsense"), "database.url"),
        (
            &["check", "--config", "/missing.toml"],
            ("LOG__FILTER", "info"),
            "/missing.toml",
        ),
        (
            &["serve"],
            ("API_KEYS__TEST__KEY", ""),
            "api_keys.test.key: is not set",
        ),
    ] {
        let output = within(command(arguments, &[KEY, variable]).output())
            .await
            .unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(
            said.starts_with("vehicle: cannot start\n") && said.contains(message),
            "{said}"
        );
        assert!(!said.contains("nonsense"), "{said}");
    }
}

#[tokio::test]
async fn every_command_warns_of_settings_of_an_earlier_release_and_goes_on() {
    let database = TestDatabase::empty(vehicle_service::NAME).await;
    let mut serving = None;
    for command in ["migrate", "seed", "settings", "check", "--healthcheck"] {
        if command == "--healthcheck" {
            serving = Some(Serving::start(&database, &[]).await);
        }
        let port = serving.as_ref().map_or(0, |it| it.address.port());
        let settings = [
            ("LIMITS__MAX_HEADERS", "7"),
            ("RATE_LIMIT__BURST", "x"),
            ("DATABASE__MIN_CONNECTIONS", "9"),
            ("SERVER__PORT", &*port.to_string()),
        ];
        let output = run(&database, &[command], &settings).await;
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{said}");
        for (setting, constant, variable) in [
            ("limits.max_headers", "100", "LIMITS__MAX_HEADERS"),
            (
                "rate_limit.burst",
                "requests_per_second",
                "RATE_LIMIT__BURST",
            ),
            (
                "database.min_connections",
                "max_connections",
                "DATABASE__MIN_CONNECTIONS",
            ),
        ] {
            let told = format!(
                "{setting}: is no setting any more; it is {constant} (VEHICLE__{variable})"
            );
            assert_eq!(said.matches(&told).count(), 1, "{command}: {said}");
        }
    }
}

#[tokio::test]
async fn a_setting_that_never_was_stops_what_needs_it() {
    let database = TestDatabase::empty(vehicle_service::NAME).await;
    let unknown = [("LIMITS__MAX_HEADER", "7")];
    let output = run(&database, &["check"], &unknown).await;
    assert_eq!(output.status.code(), Some(78));
    let said = text(&output.stderr);
    assert!(said.contains("limits.max_header: is no setting"), "{said}");
    // What it was told is not needed for the reference.
    let output = run(&database, &["settings"], &unknown).await;
    assert_eq!(output.status.code(), Some(0));
    let page = include_str!("../../../../docs/settings.md");
    let said = text(&output.stdout);
    assert!(
        said.starts_with("# Listening") && page.contains(&*said),
        "{said}"
    );
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let database = TestDatabase::new(vehicle_service::NAME, SCHEMA).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (setting, name) in [
        ("SERVER__PORT", "server.port"),
        ("MANAGEMENT__PORT", "management.port"),
    ] {
        let mut more = vec![(setting, &*port)];
        if setting != "SERVER__PORT" {
            more.push(("SERVER__PORT", "0"));
        }
        let output = run(&database, &["serve"], &more).await;
        let log = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(
            log.contains(&format!("{name}: cannot listen on port {port}")),
            "{log}"
        );
    }
}
