use service_defaults::settings::Settings;

use super::support::{Place, Sample};

#[test]
fn a_value_that_cannot_be_used_is_named_with_its_setting_and_its_bound() {
    for (config, parts) in [
        ("[server]\nprot = 1", &["server", "prot", "port"][..]),
        ("[sevrer]\nport = 1", &["sevrer"]),
        ("[sample]\nwrod = \"\"", &["sample", "wrod", "word"]),
        ("[server]\nport = 70000", &["server.port", "70000"]),
        ("[server]\nport = -1", &["server.port", "-1"]),
        ("[server]\naddress = \"here\"", &["server.address"]),
        (
            "[server]\nrequest_deadline = 10",
            &["server.request_deadline", "`10`", "250ms"],
        ),
        (
            "[server]\nrequest_deadline = \"10\"",
            &["server.request_deadline", "`10`", "250ms"],
        ),
        (
            "[server]\nrequest_deadline = \"10 parsecs\"",
            &["server.request_deadline", "10 parsecs"],
        ),
        (
            "[server]\nrequest_deadline = \"1ms\"",
            &["server.request_deadline", "1ms", "10ms..=10m"],
        ),
        (
            "[server]\nmax_connections = 0",
            &["server.max_connections", "0 is outside 1..=100000"],
        ),
        (
            "[server]\nmax_connections = 1023",
            &[
                "limits.max_requests_in_progress",
                "1024",
                "server.max_connections = 1023",
            ],
        ),
        (
            "[limits]\nmax_requests_in_progress = 0",
            &["limits.max_requests_in_progress", "1..=100000"],
        ),
        (
            "[rate_limit]\nrequests_per_second = 1000001",
            &["rate_limit.requests_per_second", "0..=1000000"],
        ),
        (
            "[telemetry]\nsample_ratio = 1.5",
            &["telemetry.sample_ratio", "1.5", "0..=1"],
        ),
        (
            "[telemetry]\nsample_ratio = nan",
            &["telemetry.sample_ratio", "0..=1"],
        ),
        (
            "[telemetry]\notlp_endpoint = \"collector:4318\"",
            &["telemetry.otlp_endpoint", "collector:4318"],
        ),
        (
            "[telemetry]\notlp_endpoint = \"not a url\"",
            &["telemetry.otlp_endpoint", "not a url"],
        ),
        ("[log]\nfilter = \"info,=,x\"", &["log.filter", "info,=,x"]),
        (
            "[server]\nport = 7\n[management]\nport = 7",
            &["management.port", "server.port"],
        ),
        (
            "[sample]\npause = \"2m\"",
            &["sample.pause", "2m", "0s..=1m"],
        ),
    ] {
        let message = Place::new().with_config(config).refused();
        for part in parts {
            assert!(message.contains(part), "{config}: {message} lacks {part}");
        }
    }
}

#[test]
fn an_origin_that_no_browser_would_send_is_refused() {
    for origin in [
        "*",
        "null",
        "example.com",
        "https://",
        "https://example.com/",
        "https://example.com/a",
        "https://Example.com",
        "https://example.com?x",
        "https://a b",
        "ftp://example.com",
        "https://user@example.com",
    ] {
        let place = Place::new().with_variable("SAMPLE__CORS__ALLOWED_ORIGINS", origin);
        let message = place.refused();
        assert!(
            message.contains("cors.allowed_origins") && message.contains(origin),
            "{message}"
        );
    }
    for origin in [
        "https://example.com",
        "http://localhost:3000",
        "http://[::1]:80",
    ] {
        let place = Place::new().with_variable("SAMPLE__CORS__ALLOWED_ORIGINS", origin);
        assert!(place.load().is_ok(), "{origin}");
    }
}

#[test]
fn a_scope_that_opens_nothing_is_refused() {
    for (scopes, rule) in [
        (
            "all",
            "`all` is none of read, write, admin, feed, audit, api, operations",
        ),
        ("api,Operations", "`Operations` is none of"),
        ("", "is empty"),
    ] {
        let place = Place::new().with_variable("SAMPLE__API_KEYS__TEST__SCOPES", scopes);
        let message = place.refused();
        assert!(
            message.contains("api_keys.test.scopes: ") && message.contains(rule),
            "{message}"
        );
    }
    let number = Place::new().with_config("[api_keys.test]\nscopes = [{}]");
    let message = number.refused();
    assert!(
        message.contains("api_keys.test.scopes") && message.contains("a list of texts"),
        "{message}"
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let config = "[server]\nport = true\ndrain_delay = \"6m\"\nprot = 1\n[swagger]\nenabled = []\n\
                  [rate_limit]\nrequests_per_second = -1\n[sample]\npause = \"2m\"";
    let message = Place::new().without_key().with_config(config).refused();
    let settings: Vec<_> = message
        .lines()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert_eq!(
        settings,
        [
            "server.port",
            "server.drain_delay",
            "server.prot",
            "rate_limit.requests_per_second",
            "api_keys",
            "swagger.enabled",
            "sample.pause",
        ]
    );
}

#[test]
fn a_key_that_is_gone_is_warned_of_and_no_other() {
    let place = Place::new().with_config("[sample]\nrest = \"2ms\"");
    let variable = Place::new().with_variable("SAMPLE__SAMPLE__REST", "2ms");
    let file = place.path("config.toml").display().to_string();
    for (place, origin) in [(place, &*file), (variable, "SAMPLE__SAMPLE__REST")] {
        let (loaded, warnings) = place.sources().read::<Settings<Sample>>();
        assert!(loaded.is_ok());
        let told = format!("sample.rest: is no setting any more; it is 7 ms ({origin})");
        assert_eq!(warnings, [told]);
    }
    // Only where it was.
    let message = Place::new().with_config("[server]\nrest = 1").refused();
    assert!(message.contains("server.rest: is no setting"), "{message}");
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let missing = Place::new();
    let path = missing.path("missing.toml");
    let missing = missing.with_config_at(&path).refused();
    assert!(
        missing.contains("missing.toml") && missing.contains("No such file"),
        "{missing}"
    );
    for text in ["", " \n\n"] {
        let empty = Place::new().with_config(text).refused();
        assert!(empty.contains("config.toml: is empty"), "{empty}");
        let empty = Place::new().with_secrets(text).refused();
        assert!(empty.contains("secrets.json: is empty"), "{empty}");
    }
    let broken = Place::new().with_config("[server\nport = 1").refused();
    assert!(
        broken.contains("config.toml") && broken.contains("line 1"),
        "{broken}"
    );
    let broken = Place::new().with_secrets("{\"sample\": ").refused();
    assert!(
        broken.contains("secrets.json") && broken.contains("line 1"),
        "{broken}"
    );
    let list = Place::new().with_secrets("{\"sample\": []}").refused();
    assert!(
        list.contains("secrets.json") && list.contains("sample"),
        "{list}"
    );
}
