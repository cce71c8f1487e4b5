//! What the edge measures and documents is what it serves.

use axum::http::StatusCode;
use test_support::API_KEY;

use super::sample::{get_with_key, service};

#[tokio::test]
async fn a_uri_in_absolute_form_is_measured_as_a_whole() {
    let (_, api) = service(&[]);
    let host = "a".repeat(8_200);
    let answer = get_with_key(&api, &format!("http://{host}/own"), Some(API_KEY)).await;
    assert_eq!(answer.status, StatusCode::URI_TOO_LONG);
    let answer = get_with_key(&api, "http://localhost/own", Some(API_KEY)).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn routes_with_a_listener_of_their_own_are_not_in_the_public_document() {
    for (port, documented) in [("0", true), ("9090", false)] {
        let (_, api) = service(&[("SAMPLE__MANAGEMENT__PORT", port)]);
        let document = api.get("/openapi.json").await.json();
        for route in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(document["paths"][route].is_object(), documented, "{route}");
        }
    }
}
