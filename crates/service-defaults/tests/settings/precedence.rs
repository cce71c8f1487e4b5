use std::time::Duration;

use super::support::Place;

const SECRETS: &str = r#"{"sample": {"sample": {"word": "secrets"}}, "other": {"port": "any"}}"#;

fn word(place: &Place) -> String {
    place.load().unwrap().service.sample.word.clone()
}

#[test]
fn each_source_wins_over_those_before_it() {
    let place = Place::new();
    assert_eq!(word(&place), "own");
    let place = place.with_config("[sample]\nword = \"file\"");
    assert_eq!(word(&place), "file");
    let place = place.with_secrets(SECRETS);
    assert_eq!(word(&place), "secrets");
    let place = place.with_variable("SAMPLE__SAMPLE__WORD", "variable");
    assert_eq!(word(&place), "variable");
}

#[test]
fn a_source_changes_nothing_but_what_it_names() {
    let place = Place::new()
        .with_config("[server]\nport = 1\n[sample]\npause = \"5s\"")
        .with_secrets(SECRETS)
        .with_variable("SAMPLE__SERVER__REQUEST_DEADLINE", "250ms");
    let settings = place.load().unwrap();
    assert_eq!(settings.common.server.port, 1);
    assert_eq!(
        settings.common.server.request_deadline,
        Duration::from_millis(250)
    );
    assert_eq!(
        settings.common.server.shutdown_timeout,
        Duration::from_secs(10)
    );
    assert_eq!(settings.service.sample.pause, Duration::from_secs(5));
}

#[test]
fn variables_give_numbers_flags_and_lists() {
    let place = Place::new()
        .with_variable("SAMPLE__SERVER__PORT", "8080")
        .with_variable("SAMPLE__SWAGGER__ENABLED", "false")
        .with_variable("SAMPLE__TELEMETRY__SAMPLE_RATIO", "0.5")
        .with_variable(
            "SAMPLE__CORS__ALLOWED_ORIGINS",
            "https://a.example,https://b.example",
        );
    let common = place.load().unwrap().common;
    assert_eq!(common.server.port, 8080);
    assert!(!common.swagger.enabled);
    assert!((common.telemetry.sample_ratio - 0.5).abs() < f64::EPSILON);
    assert_eq!(
        &*common.cors.allowed_origins,
        ["https://a.example", "https://b.example"]
    );
}

#[test]
fn the_variables_that_kubernetes_makes_for_a_service_are_none_of_ours() {
    let place = Place::new()
        .with_variable("SAMPLE_SERVICE_HOST", "10.0.0.1")
        .with_variable("SAMPLE_PORT", "tcp://10.0.0.1:80")
        .with_variable("SAMPLE_PORT_80_TCP_ADDR", "10.0.0.1")
        .with_variable("OTHER__SAMPLE__WORD", "other");
    assert_eq!(word(&place), "own");
}

#[test]
fn secrets_without_a_section_of_the_service_add_nothing() {
    let place = Place::new().with_secrets(r#"{"other": {}}"#);
    assert_eq!(word(&place), "own");
}
