use rustix::process::Signal;
use serde_json::Value;
use test_support::{API_KEY, TestDatabase, metric};
use vehicle_service::{NAME, SCHEMA};

use super::{binary::Serving, caller::Caller};

/// Requests that a log line could break on, or that hold what it may not show.
const ODD: [(&[u8], &[u8]); 11] = [
    (b"/api/v1/vehicles/ABC123", b""),
    (b"/api/v1/vehicles/%22%0A%7B%7D%1B[31m", b""),
    (b"/api/v1/vehicles/199001011234?q=199001011234", b""),
    (b"/19900101-1234\"}", b"X-Request-Id: a\"b\r\n"),
    (b"/", b"X-Request-Id: person-199001011234\r\n"),
    (b"/", b"User-Agent: \"\\\x1b[31m\xff\xc3\xa5\r\n"),
    (b"/", b"traceparent: 00-\"-\"-00\r\n"),
    (b"/api/v1/vehicles/%FF%00", b"X-Request-Id: \xff\r\n"),
    (b"/healthz", b""),
    (b"/readyz", b""),
    (b"/metrics", b""),
];

async fn log_of_odd_requests(filter: &str) -> Vec<String> {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let settings = [("SERVER__DRAIN_DELAY", "0s"), ("LOG__FILTER", filter)];
    let serving = Serving::start(&database, &settings).await;
    let odd = async {
        for (path, headers) in ODD {
            // One each: what the parser refuses closes its connection.
            let mut caller = Caller::connect(serving.address).await;
            let (head, _) = caller.get_with(path, headers).await;
            assert!(head.starts_with("http/1.1 "), "{head}");
        }
        serving.signal(Signal::TERM);
    };
    odd.await;
    let (code, log) = serving.end().await;
    assert_eq!(code, Some(0));
    log
}

#[tokio::test]
async fn every_line_is_json_shows_nobody_and_says_what_its_request_was() {
    for line in log_of_odd_requests("debug").await {
        let parsed = serde_json::from_str::<Value>(&line);
        assert!(parsed.is_ok_and(|line| line.is_object()), "{line}");
    }
    let log = log_of_odd_requests("info").await;
    for hidden in ["ABC123", "199001011234", "19900101-1234", API_KEY] {
        assert!(!log.join("\n").contains(hidden), "{hidden}: {log:?}");
    }
    let ended: Vec<Value> = log
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["message"] == "request ended")
        .collect();
    let routine = ["/healthz", "/readyz", "/metrics"];
    assert!(
        ended
            .iter()
            .all(|line| !routine.contains(&line["route"].as_str().unwrap()))
    );
    let first = &ended[0];
    assert!(first["spans"].is_null(), "{first}");
    assert_eq!(first["method"], "GET");
    assert_eq!(first["route"], "/api/v1/vehicles/{registrationNumber}");
    assert_eq!(first["status"], 200);
    assert_eq!(first["key_id"], "test");
    assert!(first["duration_ms"].as_f64().is_some());
    assert_eq!(first["request_id"].as_str().map(str::len), Some(36));
    assert_eq!(first["trace_id"].as_str().map(str::len), Some(32));
}

#[tokio::test]
async fn the_milliseconds_of_a_line_are_the_seconds_of_the_metric() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let mut serving = Serving::start(&database, &[("LOG__FILTER", "info")]).await;
    let mut caller = Caller::connect(serving.address).await;
    caller.get("/api/v1/vehicles/ABC123").await;
    let line = serving.until_line("request ended").await;
    let (_, metrics) = caller.get("/metrics").await;
    // Also where no file can be reloaded.
    assert_eq!(metric(&metrics, "settings_last_reload_successful", &[]), 1);
    let sum = metrics
        .lines()
        .find(|line| line.starts_with("http_server_request_duration_seconds_sum"))
        .and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    let milliseconds = line["duration_ms"].as_f64().unwrap();
    assert!(
        (sum.unwrap() * 1e3 - milliseconds).abs() < 1e-6,
        "{sum:?} {line}"
    );
}

#[tokio::test]
async fn a_reader_of_the_log_who_stalls_holds_up_no_request_no_probe_and_no_stop() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let settings = [("SERVER__DRAIN_DELAY", "0s"), ("LOG__FILTER", "trace")];
    let mut serving = Serving::start(&database, &settings).await;
    serving.stop_reading();
    let mut caller = Caller::connect(serving.address).await;
    // Far more than a pipe takes.
    for _ in 0..300 {
        let (head, _) = caller.get("/api/v1/vehicles/ABC123").await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
    }
    let (head, _) = caller.get("/healthz").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    serving.signal(Signal::TERM);
    assert_eq!(serving.code().await, Some(0));
}
