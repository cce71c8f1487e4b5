use insurance_service::{NAME, SCHEMA};
use test_support::{API_KEY, Binary, FakeVehicle, TestDatabase};

/// The binary with what it needs to start, and so patient that no time limit matters.
pub(crate) fn binary(database: &TestDatabase, vehicle: &FakeVehicle) -> Binary {
    Binary::new(env!("CARGO_BIN_EXE_insurance-service"), database).with_all(&[
        ("SERVER__DRAIN_DELAY", "200ms"),
        ("VEHICLE_CLIENT__BASE_URL", &vehicle.url()),
        ("VEHICLE_CLIENT__API_KEY", API_KEY),
        ("DATABASE__ACQUIRE_TIMEOUT", "9s"),
        ("DATABASE__STATEMENT_TIMEOUT", "9s"),
        ("SERVER__REQUEST_DEADLINE", "30s"),
        ("ENRICHMENT__DEADLINE", "9s"),
        ("VEHICLE_CLIENT__CONNECT_TIMEOUT", "4s"),
        ("VEHICLE_CLIENT__ATTEMPT_TIMEOUT", "4s"),
        ("VEHICLE_CLIENT__QUEUE_WAIT", "5s"),
        ("VEHICLE_CLIENT__CACHE__ENABLED", "false"),
        ("VEHICLE_CLIENT__RETRY_BUDGET__RETRIES_PER_GOOD_CALL", "1"),
        // Long enough for calls of this length to be seen to be slow.
        ("VEHICLE_CLIENT__BREAKER__WINDOW", "10m"),
    ])
}

/// The same with the sample data.
pub(crate) async fn seeded(vehicle: &FakeVehicle) -> Binary {
    binary(&TestDatabase::new(NAME, SCHEMA).await, vehicle)
}
