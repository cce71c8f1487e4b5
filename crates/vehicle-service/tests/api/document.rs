//! The OpenAPI document, and the routes that it names.

use test_support::{KEYS, READ, assert_documented, assert_keys_are_needed};

use super::service::Service;

#[tokio::test]
async fn the_document_is_the_reviewed_one_and_every_route_asks_for_the_key_that_it_names() {
    let service = Service::with(&KEYS).await;
    let document = service.api.get_open("/openapi.json").await.json();
    assert_documented("api/vehicle.openapi.json", &document);
    let scopes = [
        ("get_vehicle", READ),
        ("find_vehicles", READ),
        ("put_vehicle", &["write"]),
        ("delete_vehicle", &["write"]),
        ("copy_vehicles", &["feed"]),
        ("get_events", &["feed"]),
        ("find_audited_events", &["audit"]),
        ("get_audited_event", &["audit"]),
        ("get_statistics", &["audit"]),
        ("get_inclusion_proof", &["audit"]),
        ("get_checkpoint", &["audit"]),
        ("get_consistency_proof", &["audit"]),
    ];
    assert_keys_are_needed(&service.api, &document, &scopes).await;
}
