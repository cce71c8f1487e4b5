use http::Method;

use crate::service::{Service, keyed, send};

/// The series of a metric as they stand in the text.
fn series<'a>(text: &'a str, metric: &str) -> Vec<&'a str> {
    text.lines()
        .filter(|line| line.starts_with(metric))
        .collect()
}

#[tokio::test]
async fn requests_are_measured_by_route_and_not_by_path() {
    let service = Service::start().await;
    for plate in ["ABC123", "ZZZ999", "?"] {
        service.api.get(&format!("/api/v1/vehicles/{plate}")).await;
    }
    service.api.get("/api/v1/vehicles/A").await;
    let text = service.metrics().await;
    for status in [200, 400, 404] {
        let labels = format!(
            "http_server_request_duration_seconds_count{{http_request_method=\"GET\",\
             http_response_status_code=\"{status}\",\
             http_route=\"/api/v1/vehicles/{{registrationNumber}}\""
        );
        assert_eq!(series(&text, &labels).len(), 1, "{labels}\n{text}");
    }
    for plate in ["ABC123", "ZZZ999"] {
        assert!(!text.contains(plate), "{plate} is in the metrics");
    }
}

#[tokio::test]
async fn the_request_that_reads_the_metrics_is_the_one_in_progress() {
    let service = Service::start().await;
    service.api.get("/api/v1/vehicles/ABC123").await;
    let text = service.metrics().await;
    let active = series(&text, "http_server_active_requests{");
    assert_eq!(active.len(), 1, "{active:?}");
    assert!(active[0].ends_with(" 1"), "{active:?}");
}

#[tokio::test]
async fn the_pool_and_the_process_are_measured() {
    let service = Service::with(&[("DATABASE__MAX_CONNECTIONS", "3")]).await;
    service.api.get("/api/v1/vehicles/ABC123").await;
    let text = service.metrics().await;
    let value = |metric: &str, label: &str| -> f64 {
        let line = series(&text, metric)
            .into_iter()
            .find(|line| line.contains(label));
        let line = line.unwrap_or_else(|| panic!("{metric} {label} is missing\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let idle = value("db_client_connection_count", "state=\"idle\"");
    let used = value("db_client_connection_count", "state=\"used\"");
    assert!((idle + used - 1.0).abs() < 0.5, "{idle} idle, {used} used");
    assert!((value("db_client_connection_max", "") - 3.0).abs() < 0.5);
    assert!(value("process_resident_memory_bytes", "") > 0.0);
    assert!(value("process_open_fds", "") > 0.0);
    assert!(
        text.contains("target_info{service_name=\"vehicle\""),
        "{text}"
    );
}

#[tokio::test]
async fn callers_cannot_make_series() {
    let service = Service::start().await;
    let count = async || {
        let text = service.metrics().await;
        series(&text, "http_server_").len()
    };
    let ask = async |number: u32| {
        service.api.get(&format!("/nowhere/{number}")).await;
        service
            .api
            .get(&format!("/api/v1/vehicles/Q{number}"))
            .await;
        let method = Method::from_bytes(format!("M{number}").as_bytes()).unwrap();
        send(&service.api, keyed(method, "/nowhere")).await;
    };
    ask(0).await;
    let before = count().await;
    for number in 1..200 {
        ask(number).await;
    }
    // The one that is new is of `/metrics` itself, which was read once before.
    let own = service.metrics().await;
    let own = series(&own, "http_server_request_duration_seconds")
        .iter()
        .filter(|line| line.contains("http_route=\"/metrics\""))
        .count();
    assert_eq!(count().await, before + own);
}

#[tokio::test]
async fn prometheus_can_read_the_metrics() {
    let service = Service::start().await;
    let answer = service.api.get("/metrics").await;
    assert!(
        answer
            .header("content-type")
            .starts_with("text/plain; version=0.0.4")
    );
    for line in answer.text().lines() {
        let well_formed = line.starts_with("# ")
            || line
                .rsplit_once(' ')
                .is_some_and(|(_, value)| value.parse::<f64>().is_ok());
        assert!(well_formed, "{line}");
    }
}
