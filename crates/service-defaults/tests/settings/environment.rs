//! Variables give the same settings at every start, or none.

use std::path::PathBuf;

use super::support::{KEY, Place};

/// A place is asked so often that nothing can go by chance.
const STARTS: usize = 20;

fn with_all(variables: &[(&str, &str)]) -> Place {
    variables.iter().fold(Place::new(), |place, (name, value)| {
        place.with_variable(name, value)
    })
}

#[test]
fn two_names_for_one_setting_are_refused_with_both() {
    for (variables, setting) in [
        (
            [("SAMPLE__SERVER__PORT", "1"), ("sample__server__port", "2")],
            "server.port: ",
        ),
        (
            [("SAMPLE__SERVER__PORT", "1"), ("Sample__Server__Port", "1")],
            "server.port: ",
        ),
        (
            [
                ("SAMPLE__API_KEYS__LOCAL", "hunter2hunter2hunter2"),
                ("SAMPLE__API_KEYS__LOCAL__KEY", KEY),
            ],
            "api_keys.local: ",
        ),
        (
            [
                ("SAMPLE__API_KEYS", "hunter2hunter2hunter2"),
                ("SAMPLE__API_KEYS__LOCAL__KEY", KEY),
            ],
            "api_keys: ",
        ),
    ] {
        for _ in 0..STARTS {
            let message = with_all(&variables).refused();
            assert!(message.contains(setting), "{message}");
            for (name, _) in variables {
                assert!(message.contains(name), "{message} lacks {name}");
            }
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}

#[test]
fn a_name_that_could_be_no_setting_is_refused() {
    for name in [
        "SAMPLE__",
        "SAMPLE__SERVER__",
        "SAMPLE____SERVER",
        "SAMPLE__SERVER____PORT",
        "SAMPLE__SERVER.PORT",
        "SAMPLE__SERVER-PORT",
        "SAMPLE__CORS__ALLOWED_ORIGINS[0]",
        "SAMPLE__SERVER_PÖRT",
    ] {
        let message = Place::new().with_variable(name, "1").refused();
        let rule = format!("{name}: is no name of a setting");
        assert!(message.contains(&rule), "{message}");
    }
}

#[test]
fn what_is_no_number_is_refused_where_one_is_due() {
    const PORT: &str = "whole number in 0..=65535";
    const RATIO: &str = "number in 0..=1";
    for (setting, value, kind) in [
        ("server.port", "true", PORT),
        ("server.port", "False", PORT),
        ("server.port", "on", PORT),
        ("server.port", "80.5", PORT),
        ("server.port", "", PORT),
        ("server.port", " 80", PORT),
        ("server.port", "65536", PORT),
        (
            "limits.max_requests_in_progress",
            "yes",
            "whole number in 1..=100000",
        ),
        ("telemetry.sample_ratio", "true", RATIO),
        ("telemetry.sample_ratio", "off", RATIO),
        (
            "server.drain_delay",
            "2",
            "duration such as 250ms, 5s or 10m in 0s..=5m",
        ),
    ] {
        let name = format!("SAMPLE__{}", setting.replace('.', "__").to_uppercase());
        let message = Place::new().with_variable(&name, value).refused();
        let told = format!("{setting}: `{value}` is no {kind} ({name})");
        assert_eq!(message, told);
    }
    for (setting, value, kind) in [
        ("server.port", "true", PORT),
        ("server.port", "80.5", PORT),
        ("server.port", "80.0", PORT),
        ("telemetry.sample_ratio", "false", RATIO),
        (
            "server.drain_delay",
            "2",
            "duration such as 250ms, 5s or 10m in 0s..=5m",
        ),
    ] {
        let (section, key) = setting.split_once('.').unwrap();
        let told =
            |file: PathBuf| format!("{setting}: `{value}` is no {kind} ({})", file.display());
        let place = Place::new();
        let place = place.with_config(&format!("[{section}]\n{key} = {value}"));
        assert_eq!(place.refused(), told(place.path("config.toml")));
        let secrets = format!(r#"{{"sample": {{"{section}": {{"{key}": {value}}}}}}}"#);
        let place = Place::new().with_secrets(&secrets);
        assert_eq!(place.refused(), told(place.path("secrets.json")));
    }
    let ratio = Place::new().with_variable("SAMPLE__TELEMETRY__SAMPLE_RATIO", "1");
    let ratio = ratio.load().unwrap().common.telemetry.sample_ratio;
    assert!((ratio - 1.0).abs() < f64::EPSILON);
    // The one time that needs no unit.
    for place in [
        Place::new().with_variable("SAMPLE__SERVER__DRAIN_DELAY", "0"),
        Place::new().with_config("[server]\ndrain_delay = 0"),
    ] {
        assert!(place.load().unwrap().common.server.drain_delay.is_zero());
    }
}

#[test]
fn a_value_that_cannot_be_used_is_told_with_its_variable() {
    for (name, value, setting) in [
        ("SAMPLE__SERVER__PORT", "70000", "server.port: "),
        ("SAMPLE__SERVER__MAX_CONNECTIONS", "0", "max_connections: "),
        ("SAMPLE__LOG__FILTER", "=", "log.filter: "),
        ("SAMPLE__SWAGGER__ENABLED", "maybe", "swagger.enabled: "),
        ("SAMPLE__SAMPLE__PAUSE", "soon", "sample.pause: "),
        ("SAMPLE__SERVER__PROT", "1", "prot"),
        ("SAMPLE__SEVRER__PORT", "1", "sevrer"),
        ("SAMPLE__SERVER_PORT", "1", "server_port"),
        ("sample__server__port", "70000", "server.port: "),
        ("SAMPLE__API_KEYS__A__SCOPES", "x", "api_keys.a"),
    ] {
        let message = Place::new().with_variable(name, value).refused();
        let named = message.contains(&format!("({name})"));
        assert!(message.contains(setting) && named, "{message}");
    }
    // The file is at fault, not the variable beside it.
    let place = Place::new().with_variable("SAMPLE__SERVER__PORT", "80");
    let message = place
        .with_config("[rate_limit]\nrequests_per_second = -1")
        .refused();
    assert!(!message.contains("SAMPLE__"), "{message}");
    assert!(message.contains("config.toml)"), "{message}");
}
