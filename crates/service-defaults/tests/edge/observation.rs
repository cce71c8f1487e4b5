use axum::http::Method;
use futures_util::FutureExt;
use service_defaults::metrics::DURATION_BUCKETS;
use test_support::{keyed, keyless, metric, send};

use super::sample::service;

#[tokio::test]
async fn a_request_that_its_caller_gave_up_is_counted_and_no_longer_in_progress() {
    let (_, api) = service(&[]);
    assert!(api.get("/hangs").now_or_never().is_none());
    let text = api.get("/metrics").await.text();
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap();
    assert!(
        line("http_server_request_duration_seconds_count").contains("error_type=\"cancelled\""),
        "{text}"
    );
    // The one that reads the metrics.
    assert!(
        line("http_server_active_requests{").ends_with(" 1"),
        "{text}"
    );
}

/// A share of fast requests is computed from the bucket of exactly this bound.
#[test]
fn every_bound_that_a_rule_asks_for_is_a_bucket() {
    let rules = include_str!("../../../../deploy/observability/prometheus/rules/recording.yml");
    let bounds: Vec<f64> = rules
        .split("le=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
        .collect();
    assert!(!bounds.is_empty());
    for bound in bounds {
        assert!(DURATION_BUCKETS.contains(&bound), "{bound}");
    }
}

#[tokio::test]
async fn a_panic_is_counted_as_the_500_that_it_became() {
    let (_, api) = service(&[]);
    api.get("/panics").await;
    let text = api.get("/metrics").await.text();
    assert!(
        text.contains("http_response_status_code=\"500\",http_route=\"/panics\""),
        "{text}"
    );
}

#[tokio::test]
async fn requests_are_measured_by_where_they_came_in_and_how_they_failed() {
    let (_, api) = service(&[
        ("SAMPLE__SERVER__ADDRESS", "127.0.0.2"),
        ("SAMPLE__SERVER__PORT", "5081"),
    ]);
    for path in [
        "/own",
        "/nowhere",
        "/fails",
        "/text",
        "http://elsewhere:1/own",
    ] {
        api.get(path).await;
    }
    let text = api.get("/metrics").await.text();
    let origin = [
        "server_address=\"127.0.0.2\"",
        "server_port=\"5081\"",
        "url_scheme=\"http\"",
    ];
    for metric in [
        "http_server_request_duration_seconds_count{",
        "http_server_active_requests{",
    ] {
        for line in text.lines().filter(|line| line.starts_with(metric)) {
            let missing: Vec<_> = origin.iter().filter(|it| !line.contains(**it)).collect();
            assert!(missing.is_empty(), "{missing:?}: {line}");
        }
    }
    let count = |labels: &[(&str, &str)]| {
        metric(&text, "http_server_request_duration_seconds_count", labels)
    };
    assert_eq!(count(&[]), 5);
    for (status, failed) in [("200", false), ("404", false), ("500", true), ("502", true)] {
        let answered = count(&[("http_response_status_code", status)]);
        let errors = count(&[("error_type", status)]);
        assert!(answered > 0, "{status}: {text}");
        assert_eq!(errors, if failed { answered } else { 0 }, "{status}");
    }
}

#[tokio::test]
async fn refusals_are_counted_by_the_code_of_their_problem() {
    let (_, api) = service(&[]);
    for path in ["/own", "/nowhere", "/nowhere/else", "/fails", "/json"] {
        api.get(path).await;
    }
    send(&api, keyless(Method::GET, "/own")).await;
    send(&api, keyless(Method::GET, "/text")).await;
    let text = api.get("/metrics").await.text();
    let refused = |labels: &[_]| metric(&text, "http_server_problems_total", labels);
    for (code, times) in [
        ("route_not_found", 2),
        ("internal_error", 1),
        ("unauthorized", 2),
    ] {
        assert_eq!(refused(&[("code", code)]), times, "{code}: {text}");
    }
    assert_eq!(refused(&[]), 5);
}

/// The series of a metric as they stand in the text.
fn series<'a>(text: &'a str, metric: &str) -> Vec<&'a str> {
    text.lines()
        .filter(|line| line.starts_with(metric))
        .collect()
}

#[tokio::test]
async fn callers_cannot_make_series() {
    let (_, api) = service(&[]);
    let count = async || {
        let text = api.get("/metrics").await.text();
        series(&text, "http_server_").len()
    };
    let ask = async |number: u32| {
        api.get(&format!("/nowhere/{number}")).await;
        api.get(&format!("/own?{number}")).await;
        api.get(&format!("/own/{number}")).await;
        let method = Method::from_bytes(format!("M{number}").as_bytes()).unwrap();
        send(&api, keyed(method, "/nowhere")).await;
    };
    ask(0).await;
    let before = count().await;
    for number in 1..200 {
        ask(number).await;
    }
    // The one that is new is of `/metrics` itself, which was read once before.
    let own = api.get("/metrics").await.text();
    let own = series(&own, "http_server_request_duration_seconds")
        .iter()
        .filter(|line| line.contains("http_route=\"/metrics\""))
        .count();
    assert_eq!(count().await, before + own);
}

#[tokio::test]
async fn prometheus_can_read_the_metrics() {
    let (_, api) = service(&[]);
    let answer = api.get("/metrics").await;
    assert!(
        answer
            .header("content-type")
            .starts_with("text/plain; version=0.0.4")
    );
    let text = answer.text();
    for told in [
        "process_resident_memory_bytes ",
        "process_open_fds ",
        "target_info{service_name=\"sample\"",
    ] {
        assert!(text.contains(&format!("\n{told}")), "{told}: {text}");
    }
    for line in text.lines() {
        let well_formed = line.starts_with("# ")
            || line
                .rsplit_once(' ')
                .is_some_and(|(_, value)| value.parse::<f64>().is_ok());
        assert!(well_formed, "{line}");
    }
}
