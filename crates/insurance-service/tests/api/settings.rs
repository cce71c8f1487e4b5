//! Settings that contradict themselves are refused, with the key, the figure and the bound.

use insurance_service::{InsuranceSettings, sources};
use service_defaults::settings::Arguments;

/// Why these settings are refused; empty where they are not.
fn refusal(settings: &[(&str, &str)]) -> String {
    let base = [
        ("API_KEYS__TEST__KEY", test_support::API_KEY),
        ("VEHICLE_CLIENT__API_KEY", test_support::API_KEY),
    ];
    let variables = base
        .iter()
        .chain(settings)
        .map(|(name, value)| (format!("INSURANCE__{name}"), (*value).to_owned()));
    sources(Arguments::default())
        .with_environment(variables)
        .load::<InsuranceSettings>()
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

#[test]
fn the_documented_defaults_are_good() {
    assert_eq!(refusal(&[]), "");
}

#[test]
fn each_value_out_of_bounds_is_refused_by_name() {
    for (name, value, expected) in [
        (
            "VEHICLE_CLIENT__CA_CERTIFICATE",
            "/nowhere/ca.pem",
            "vehicle_client.ca_certificate: /nowhere/ca.pem cannot be read",
        ),
        (
            "VEHICLE_CLIENT__MAX_BATCH_SIZE",
            "501",
            "vehicle_client.max_batch_size: 501 is outside 1..=500",
        ),
        (
            "VEHICLE_CLIENT__MAX_BATCH_SIZE",
            "0",
            "vehicle_client.max_batch_size: 0 is outside 1..=500",
        ),
        (
            "VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_SINGLE",
            "0",
            "vehicle_client.max_degree_of_parallelism_single: 0 is outside 1..=1000",
        ),
        (
            "VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_BATCH",
            "1001",
            "vehicle_client.max_degree_of_parallelism_batch: 1001 is outside 1..=1000",
        ),
        (
            "VEHICLE_CLIENT__QUEUE_LENGTH",
            "100001",
            "vehicle_client.queue_length: 100001 is outside 0..=100000",
        ),
        (
            "VEHICLE_CLIENT__QUEUE_WAIT",
            "11s",
            "vehicle_client.queue_wait: 11s is outside 0s..=10s",
        ),
        (
            "VEHICLE_CLIENT__CONNECT_TIMEOUT",
            "9ms",
            "vehicle_client.connect_timeout: 9ms is outside 10ms..=10s",
        ),
        (
            "VEHICLE_CLIENT__ATTEMPT_TIMEOUT",
            "61s",
            "vehicle_client.attempt_timeout: 1m 1s is outside 10ms..=1m",
        ),
        (
            "VEHICLE_CLIENT__ATTEMPT_TIMEOUT",
            "500000000000y",
            "vehicle_client.attempt_timeout: ",
        ),
        (
            "VEHICLE_CLIENT__MAX_RETRIES",
            "6",
            "vehicle_client.max_retries: 6 is outside 0..=5",
        ),
        (
            "VEHICLE_CLIENT__RETRY_PAUSE",
            "0ms",
            "vehicle_client.retry_pause: 0s is outside 1ms..=10s",
        ),
        (
            "VEHICLE_CLIENT__MAX_RETRY_PAUSE",
            "49ms",
            "vehicle_client.max_retry_pause: 49ms is outside 50ms..=1m",
        ),
        (
            "VEHICLE_CLIENT__MAX_ANSWER_BYTES",
            "1023",
            "vehicle_client.max_answer_bytes: 1023 is outside 1024..=67108864",
        ),
        (
            "VEHICLE_CLIENT__IDLE_CONNECTION_TIMEOUT",
            "0s",
            "vehicle_client.idle_connection_timeout: 0s is outside 1s..=10m",
        ),
        (
            "ENRICHMENT__DEADLINE",
            "0s",
            "enrichment.deadline: 0s is outside 10ms..=1m",
        ),
    ] {
        let refusal = refusal(&[(name, value)]);
        assert!(refusal.contains(expected), "{expected}\n{refusal}");
    }
}

#[test]
fn values_that_contradict_each_other_are_refused_with_both() {
    for (settings, expected) in [
        (
            &[("VEHICLE_CLIENT__ATTEMPT_TIMEOUT", "1s")][..],
            "vehicle_client.attempt_timeout: all attempts with their pauses take up to 2.05s, \
             over enrichment.deadline = 2s",
        ),
        (
            &[("VEHICLE_CLIENT__MAX_RETRIES", "5")],
            "over enrichment.deadline = 2s",
        ),
        (
            &[("ENRICHMENT__DEADLINE", "10s")],
            "enrichment.deadline: 10s leaves no time within server.request_deadline = 10s",
        ),
        (
            &[("SERVER__REQUEST_DEADLINE", "2s")],
            "enrichment.deadline: 2s leaves no time within server.request_deadline = 2s",
        ),
        (
            &[("VEHICLE_CLIENT__CONNECT_TIMEOUT", "501ms")],
            "vehicle_client.connect_timeout: 501ms is over vehicle_client.attempt_timeout = 500ms",
        ),
    ] {
        let refusal = refusal(settings);
        assert!(refusal.contains(expected), "{expected}\n{refusal}");
    }
}

#[test]
fn what_cannot_be_called_or_shown_is_refused() {
    for url in [
        "ftp://vehicle",
        "http://user@vehicle",
        "http://:secret@vehicle",
        "http://vehicle/?key=1",
        "http://vehicle/#part",
    ] {
        let refusal = refusal(&[("VEHICLE_CLIENT__BASE_URL", url)]);
        assert!(refusal.contains("vehicle_client.base_url: is no"), "{url}");
        assert!(!refusal.contains("secret"));
    }
    for (key, rule) in [
        ("", "is not set"),
        ("<generated by ./init.sh>", "placeholder"),
        ("changeme", "placeholder"),
        ("two\nlines-of-a-key", "holds characters that no header can"),
    ] {
        let refusal = refusal(&[("VEHICLE_CLIENT__API_KEY", key)]);
        let expected = format!("vehicle_client.api_key: {rule}");
        let placeholder = "vehicle_client.api_key: still holds the template's placeholder";
        assert!(
            refusal.contains(&expected) || refusal.contains(placeholder),
            "{refusal}"
        );
        assert!(key.is_empty() || !refusal.contains(key), "{refusal}");
    }
}

#[test]
fn unknown_keys_and_wrong_kinds_are_refused_by_name() {
    for (name, value, expected) in [
        ("FEATURE_TOGGLES__ENABLE_BATCH", "true", "enable_batch"),
        ("VEHICLE_CLIENT__MAX_RETRY", "1", "max_retry"),
        (
            "FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL",
            "perhaps",
            "feature_toggles.enable_batch_vehicle_call",
        ),
        (
            "PERSONAL_IDENTITY_NUMBER__CHECK",
            "strict",
            "personal_identity_number.check",
        ),
        ("ENRICHMENT__DEADLINE", "2", "enrichment.deadline"),
    ] {
        let refusal = refusal(&[(name, value)]);
        assert!(refusal.contains(expected), "{expected}\n{refusal}");
    }
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let refusal = refusal(&[
        ("VEHICLE_CLIENT__MAX_BATCH_SIZE", "501"),
        ("VEHICLE_CLIENT__MAX_RETRIES", "6"),
        ("DATABASE__MAX_CONNECTIONS", "0"),
    ]);
    for setting in ["max_batch_size", "max_retries", "max_connections"] {
        assert!(refusal.contains(setting), "{refusal}");
    }
}
