//! The OpenAPI document, and the routes that it names.

use test_support::{FakeVehicle, KEYS, OPERATE, READ, assert_documented, assert_keys_are_needed};

use super::service::Service;

#[tokio::test]
async fn the_document_is_the_reviewed_one_and_every_route_asks_for_the_key_that_it_names() {
    let service = Service::with(FakeVehicle::healthy().await, &KEYS).await;
    let served = service.api.get_open("/openapi.json").await.json();
    assert_eq!(served, service.document);
    assert_documented("api/insurance.openapi.json", &served);
    let scopes = [
        ("get_insurances", READ),
        ("look_up_insurances", READ),
        ("get_vehicle_guard", OPERATE),
        ("set_vehicle_guard", OPERATE),
        ("erase_vehicle", OPERATE),
        ("list_consumers", &["admin"]),
        ("get_consumer", &["admin"]),
        ("set_consumer", &["admin"]),
        ("list_dead_letters", &["admin"]),
        ("get_dead_letter", &["admin"]),
        ("retry_dead_letter", &["admin"]),
        ("resolve_dead_letter", &["admin"]),
        ("discard_dead_letter", &["admin"]),
        ("retry_dead_letters", &["admin"]),
        ("get_replica_comparison", &["admin"]),
        ("start_replay", &["admin"]),
        ("list_replays", &["admin"]),
        ("get_replay", &["admin"]),
        ("cancel_replay", &["admin"]),
        ("get_policy", &["read"]),
        ("list_policies", &["read"]),
        ("list_prices", &["read"]),
        ("set_price", &["admin"]),
        ("erase_person", &["admin"]),
        ("draft_policy", &["write"]),
        ("patch_policy", &["write"]),
        ("move_policy", &["write"]),
        ("change_policy", &["write"]),
        ("get_events", &["feed"]),
        ("find_audited_events", &["audit"]),
        ("get_audited_event", &["audit"]),
        ("get_statistics", &["audit"]),
        ("get_inclusion_proof", &["audit"]),
        ("get_checkpoint", &["audit"]),
        ("get_consistency_proof", &["audit"]),
    ];
    assert_keys_are_needed(&service.api, &served, &scopes).await;
    assert_eq!(service.vehicle.calls(), 0);
}
