use std::fmt::Write;

use insurance_service::{Clock, InsuranceService, InsuranceSettings, NAME, SCHEMA};
use serde_json::{Value, json};
use service_defaults::{assembly::Assembled, process::Process, service::Service as _};
use settings::{Arguments, Sources};
use test_support::{Answer, Api, FakeVehicle, TestDatabase, metric, until};

/// The person of the sample data who has a car and a pet.
pub(crate) const PERSON: &str = "199001011234";

pub(crate) const LOOKUP: &str = "/api/v1/insurances/lookup";

/// Times that never matter in a test that is not about time, answers that are not
/// kept, and a retry for each good call.
const PATIENT: [(&str, &str); 10] = [
    ("DATABASE__ACQUIRE_TIMEOUT", "9s"),
    ("DATABASE__STATEMENT_TIMEOUT", "30s"),
    ("SERVER__REQUEST_DEADLINE", "90s"),
    ("ENRICHMENT__DEADLINE", "50s"),
    ("VEHICLE_CLIENT__QUEUE_WAIT", "10s"),
    ("VEHICLE_CLIENT__CONNECT_TIMEOUT", "10s"),
    ("VEHICLE_CLIENT__ATTEMPT_TIMEOUT", "20s"),
    ("VEHICLE_CLIENT__CACHE__ENABLED", "false"),
    ("VEHICLE_CLIENT__RETRY_BUDGET__RETRIES_PER_GOOD_CALL", "1"),
    // Long enough for calls of this length to be seen to be slow.
    ("VEHICLE_CLIENT__BREAKER__WINDOW", "10m"),
];

/// An Insurance service with what it needs.
pub(crate) struct Service {
    pub(crate) database: TestDatabase,
    pub(crate) vehicle: FakeVehicle,
    pub(crate) process: Process<InsuranceSettings>,
    pub(crate) api: Api,
    pub(crate) document: Value,
}

/// The sources of a patient service, with these settings on top.
pub(crate) fn patient(
    database: &TestDatabase,
    vehicle_url: &str,
    arguments: Arguments,
    settings: &[(&str, &str)],
) -> Sources {
    let mut variables = database.variables();
    variables.extend(
        PATIENT
            .iter()
            .chain(&[
                ("VEHICLE_CLIENT__BASE_URL", vehicle_url),
                ("VEHICLE_CLIENT__API_KEY", test_support::API_KEY),
            ])
            .chain(settings)
            .map(|(name, value)| (format!("INSURANCE__{name}"), (*value).to_owned())),
    );
    InsuranceService::sources(arguments).with_environment(variables)
}

impl Service {
    /// With a Vehicle in good health.
    pub(crate) async fn healthy() -> Self {
        Self::with(FakeVehicle::healthy().await, &[]).await
    }

    /// With this Vehicle and these settings.
    pub(crate) async fn with(vehicle: FakeVehicle, settings: &[(&str, &str)]) -> Self {
        Self::from_files(vehicle, Arguments::default(), settings).await
    }

    pub(crate) async fn from_files(
        vehicle: FakeVehicle,
        arguments: Arguments,
        settings: &[(&str, &str)],
    ) -> Self {
        Self::at(Clock::system(), vehicle, arguments, settings).await
    }

    /// With this clock.
    pub(crate) async fn at(
        clock: Clock,
        vehicle: FakeVehicle,
        arguments: Arguments,
        settings: &[(&str, &str)],
    ) -> Self {
        let database = TestDatabase::new(NAME, SCHEMA).await;
        Self::on(database, clock, vehicle, arguments, settings)
    }

    /// On a database that is there.
    pub(crate) fn on(
        database: TestDatabase,
        clock: Clock,
        vehicle: FakeVehicle,
        arguments: Arguments,
        settings: &[(&str, &str)],
    ) -> Self {
        let sources = patient(&database, &vehicle.url(), arguments, settings);
        let process = Process::new(NAME, sources).unwrap();
        let Assembled {
            public, document, ..
        } = InsuranceService::build_at(&process, clock).unwrap();
        Self {
            database,
            vehicle,
            process,
            api: Api(public),
            document: serde_json::to_value(document).unwrap(),
        }
    }

    /// The routes of another process on the same database, with these settings.
    pub(crate) fn beside(&self, settings: &[(&str, &str)]) -> Api {
        let url = self.vehicle.url();
        let sources = patient(&self.database, &url, Arguments::default(), settings);
        let process = Process::new(NAME, sources).unwrap();
        Api(InsuranceService::build(&process).unwrap().public)
    }

    /// Insures a person: product, monthly cost and car of each policy.
    pub(crate) async fn insure(&self, person: &str, policies: &[(&str, &str, Option<&str>)]) {
        let mut sql = String::new();
        for (product, cost, car) in policies {
            let car = car.map_or("null".to_owned(), |car| format!("'{car}'"));
            writeln!(
                sql,
                "insert into insurance.insurances
                     (personal_identity_number, product, monthly_cost, car_registration_number)
                 values ('{person}', '{product}', {cost}, {car});"
            )
            .unwrap();
        }
        self.database.execute(&sql).await;
    }

    /// Insures a person for these cars and looks the person up.
    pub(crate) async fn with_cars(&self, person: &str, cars: &[&str]) -> Answer {
        let policies: Vec<_> = cars
            .iter()
            .map(|car| ("car", "19.99", Some(*car)))
            .collect();
        self.insure(person, &policies).await;
        self.look_up(person).await
    }

    pub(crate) async fn look_up(&self, person: &str) -> Answer {
        self.api
            .post(LOOKUP, &json!({ "personalIdentityNumber": person }))
            .await
    }

    pub(crate) async fn look_up_strictly(&self, person: &str) -> Answer {
        let path = format!("/api/v1/insurances/{person}");
        self.api
            .get_with(&path, &[("prefer", "handling=strict")])
            .await
    }

    /// Waits until somebody waits for a lock.
    pub(crate) async fn blocked(&self) {
        let mut watcher = self.database.connect().await;
        let waits = "select exists(select from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock')";
        until(async || {
            let waits = sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut watcher);
            waits.await.unwrap().then_some(())
        })
        .await;
    }

    /// The sum of a metric's samples that have these labels.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> i64 {
        metric(&self.api.get("/metrics").await.text(), name, labels)
    }
}

/// The `enrichment` of each policy of a profile.
pub(crate) fn enrichments(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let profile = answer.json();
    let insurances = profile["insurances"].as_array().unwrap();
    insurances
        .iter()
        .map(|insurance| insurance["enrichment"].clone())
        .collect()
}

/// An enrichment with a vehicle, as it is on the wire.
pub(crate) fn enriched(source: &str) -> Value {
    json!({ "status": "enriched", "cause": null, "source": source,
            "ageSeconds": 0, "retryAfterSeconds": null })
}

/// An enrichment without a vehicle, as it is on the wire.
pub(crate) fn without_vehicle(status: &str, source: Option<&str>) -> Value {
    json!({ "status": status, "cause": null, "source": source,
            "ageSeconds": null, "retryAfterSeconds": null })
}

/// An enrichment that failed, as it is on the wire.
pub(crate) fn unavailable(cause: &str, retry_after_seconds: Option<u64>) -> Value {
    json!({ "status": "unavailable", "cause": cause, "source": null,
            "ageSeconds": null, "retryAfterSeconds": retry_after_seconds })
}
