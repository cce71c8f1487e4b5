use crate::service::Service;

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
    assert!((value("db_client_connection_max", "") - 3.0).abs() < 0.5);
    assert!(value("process_resident_memory_bytes", "") > 0.0);
    assert!(value("process_open_fds", "") > 0.0);
    assert!(
        text.contains("target_info{service_name=\"vehicle\""),
        "{text}"
    );
}
