use futures_util::FutureExt;

use crate::sample::service;

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
