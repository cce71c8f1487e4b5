//! Both services together: the only thing between them is a socket.

use insurance_service::InsuranceService;
use service_defaults::{process::Process, server, service::Service as _};
use settings::Arguments;
use test_support::{Api, TestDatabase};
use tokio::net::TcpListener;
use vehicle_service::{VehicleService, VehicleSettings};

use super::service::{PERSON, enriched, enrichments, patient, without_vehicle};

/// Serves Vehicle on a loopback socket until the test ends: where.
pub(crate) async fn serve_vehicle(database: &TestDatabase) -> String {
    serve_vehicle_with(database, &[]).await
}

pub(crate) async fn serve_vehicle_with(
    database: &TestDatabase,
    settings: &[(&str, &str)],
) -> String {
    // Time enough for a machine that is busy with other tests.
    let patience = [
        ("VEHICLE__DATABASE__ACQUIRE_TIMEOUT", "10s"),
        ("VEHICLE__DATABASE__STATEMENT_TIMEOUT", "30s"),
        ("VEHICLE__SERVER__REQUEST_DEADLINE", "60s"),
        ("VEHICLE__API_KEYS__TEST__SCOPES", "read,feed"),
    ];
    let settings = patience.iter().chain(settings);
    let settings = settings.map(|&(name, value)| (name.to_owned(), value.to_owned()));
    let variables = database.variables().into_iter().chain(settings);
    let sources = VehicleService::sources(Arguments::default()).with_environment(variables);
    let process = Process::<VehicleSettings>::new(vehicle_service::NAME, sources).unwrap();
    let router = VehicleService::build(&process).unwrap().public;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let settings = process.settings();
        let stop = process.shutdown().clone();
        server::serve(listener, router, &settings.common.server, stop).await
    });
    url
}

/// Insurance in front of this Vehicle.
pub(crate) fn insurance_on(
    database: &TestDatabase,
    vehicle: &str,
    settings: &[(&str, &str)],
) -> Api {
    let sources = patient(database, vehicle, Arguments::default(), settings);
    let process = Process::new(insurance_service::NAME, sources).unwrap();
    Api(InsuranceService::build(&process).unwrap().public)
}

#[tokio::test]
async fn every_sample_car_is_enriched_by_the_real_vehicle_service() {
    let register = TestDatabase::new(vehicle_service::NAME, vehicle_service::SCHEMA).await;
    let vehicle = serve_vehicle(&register).await;
    for (batch, source) in [("false", "live"), ("true", "batch")] {
        let settings = [("FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL", batch)];
        let database = TestDatabase::new(insurance_service::NAME, insurance_service::SCHEMA).await;
        let api = insurance_on(&database, &vehicle, &settings);
        database
            .execute(
                "insert into insurance.insurances
                     (personal_identity_number, product, monthly_cost, car_registration_number)
                 values ('199001011234', 'car', 30, 'GHI789'), ('199001011234', 'car', 30, 'ZZZ999')",
            )
            .await;
        let answer = api.get(&format!("/api/v1/insurances/{PERSON}")).await;
        let expected = [
            enriched(source),
            without_vehicle("not_applicable", None),
            enriched(source),
            without_vehicle("not_found", Some(source)),
        ];
        assert_eq!(enrichments(&answer), expected);
        let profile = answer.json();
        assert_eq!(profile["insurances"][0]["vehicle"]["make"], "Volvo");
        assert_eq!(profile["insurances"][2]["vehicle"]["model"], "F-150");
        assert_eq!(profile["enrichment"], "complete");
    }
}
