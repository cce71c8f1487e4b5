use std::time::Duration;

use futures_util::future::join_all;
use insurance_service::{NAME, SCHEMA};
use serde_json::Value;
use test_support::{API_KEY, Answer, Binary, Caller, FakeVehicle, Running, TestDatabase, metric};

/// The running binary with its Vehicle, and policies of one car each: person 0 has car 0.
pub(crate) struct Service {
    running: Running,
    caller: Caller,
    cars_each: usize,
}

/// Person 0; the others count on from here.
const FIRST_PERSON: usize = 190_000_000_000;

/// The binary on a database of its own where this many persons have this many cars each, no car
/// twice.
pub(crate) async fn binary(vehicle: &str, persons: usize, cars_each: usize) -> Binary {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let cars = persons * cars_each;
    database
        .execute(&format!(
            "insert into insurance.insurances
                 (personal_identity_number, product, monthly_cost, car_registration_number)
             select ({FIRST_PERSON} + car / {cars_each})::text, 'car', 30,
                 'C' || lpad(car::text, 6, '0')
             from generate_series(0, {cars} - 1) as car"
        ))
        .await;
    Binary::new(env!("CARGO_BIN_EXE_insurance-service"), &database).with_all(&[
        ("VEHICLE_CLIENT__BASE_URL", vehicle),
        ("VEHICLE_CLIENT__API_KEY", API_KEY),
        // The database is not what is tested here.
        ("SERVER__REQUEST_DEADLINE", "60s"),
        ("DATABASE__ACQUIRE_TIMEOUT", "9s"),
        ("DATABASE__STATEMENT_TIMEOUT", "9s"),
        // A log line for each request costs more than the request.
        ("LOG__FILTER", "warn,service_defaults::process=info"),
    ])
}

/// Settings under which neither a busy machine nor Vehicle's slowness ends a call.
pub(crate) const PATIENT: [(&str, &str); 5] = [
    ("ENRICHMENT__DEADLINE", "9s"),
    ("VEHICLE_CLIENT__QUEUE_WAIT", "5s"),
    ("VEHICLE_CLIENT__CONNECT_TIMEOUT", "4s"),
    ("VEHICLE_CLIENT__ATTEMPT_TIMEOUT", "4s"),
    // Long enough for calls of this length to be seen to be slow.
    ("VEHICLE_CLIENT__BREAKER__WINDOW", "10m"),
];

/// Settings under which a call that Vehicle holds back outlasts what a test does meanwhile.
pub(crate) const UNHURRIED: [(&str, &str); 5] = [
    ("ENRICHMENT__DEADLINE", "35s"),
    ("VEHICLE_CLIENT__MAX_RETRIES", "0"),
    ("VEHICLE_CLIENT__QUEUE_WAIT", "10s"),
    ("VEHICLE_CLIENT__ATTEMPT_TIMEOUT", "20s"),
    ("VEHICLE_CLIENT__BREAKER__WINDOW", "10m"),
];

/// Settings under which every lookup is a call.
pub(crate) const WITHOUT_CACHE: [(&str, &str); 1] = [("VEHICLE_CLIENT__CACHE__ENABLED", "false")];

/// Settings under which the breaker stays closed whatever happens: no test has so many that fail.
pub(crate) const WITHOUT_BREAKER: [(&str, &str); 2] = [
    ("VEHICLE_CLIENT__BREAKER__MINIMUM_CALLS", "900"),
    ("VEHICLE_CLIENT__BREAKER__WINDOW", "10m"),
];

impl Service {
    /// With one car for each of this many persons, and these settings.
    pub(crate) async fn start(
        vehicle: &FakeVehicle,
        persons: usize,
        settings: &[(&str, &str)],
    ) -> Self {
        Self::with_cars(vehicle, persons, 1, settings).await
    }

    /// With some cars for each person, and these settings.
    pub(crate) async fn with_cars(
        vehicle: &FakeVehicle,
        persons: usize,
        cars_each: usize,
        settings: &[(&str, &str)],
    ) -> Self {
        let binary = binary(&vehicle.url(), persons, cars_each).await;
        Self::serve(&binary.with_all(settings), cars_each).await
    }

    /// A binary of [`binary`].
    pub(crate) async fn serve(binary: &Binary, cars_each: usize) -> Self {
        let running = binary.serve().await;
        let caller = Caller::of(running.at);
        Self {
            running,
            caller,
            cars_each,
        }
    }

    /// The whole answer for a person.
    pub(crate) async fn answer(&self, person: usize) -> Answer {
        self.caller.get(&path(person)).await
    }

    /// The same for a caller who has so little time; it may be a refusal.
    pub(crate) async fn hurried_answer(&self, person: usize, time: Duration) -> Answer {
        let deadline = [("x-deadline-ms", &*time.as_millis().to_string())];
        self.caller.get_with(&path(person), &deadline).await
    }

    /// A person's policies; every request is answered with them, whatever Vehicle does.
    pub(crate) async fn policies(&self, person: usize) -> Vec<Policy> {
        let answer = self.answer(person).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let policies = answer.json()["insurances"].take();
        let Value::Array(policies) = policies else {
            panic!("{policies}");
        };
        assert_eq!(policies.len(), self.cars_each);
        policies.into_iter().map(Policy).collect()
    }

    /// Has connections to the database used once, which makes them quick, by people without cars.
    pub(crate) async fn warm_up(&self) {
        let path = "/api/v1/insurances/200310209876";
        for answer in join_all((0..16).map(|_| self.caller.get(path))).await {
            assert_eq!(answer.json()["enrichment"], "not_applicable");
        }
    }

    /// The only policy of a person.
    pub(crate) async fn policy(&self, person: usize) -> Policy {
        self.policies(person).await.remove(0)
    }

    /// What the service computes from its settings as the worst case of this figure.
    pub(crate) async fn computed(&self, figure: &str) -> f64 {
        let metrics = self.metrics().await;
        let label = format!("figure=\"{figure}\"");
        let sample = metrics
            .lines()
            .find(|line| line.starts_with("settings_worst_case_") && line.contains(&label))
            .unwrap_or_else(|| panic!("no {figure}"));
        sample.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// What the service measures, as text of Prometheus.
    pub(crate) async fn metrics(&self) -> String {
        self.running.at.get("/metrics").await.text()
    }

    /// The sum of a metric over the samples with these labels.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> i64 {
        metric(&self.metrics().await, name, labels)
    }

    /// Waits until a metric is at least this.
    pub(crate) async fn measures(&self, name: &str, least: i64) {
        while self.metric(name, &[]).await < least {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until so many lookups were given up by their callers.
    pub(crate) async fn gave_up(&self, lookups: usize) {
        let gone = [("result", "cancelled")];
        let name = "vehicle_client_lookups_total";
        while self.metric(name, &gone).await < i64::try_from(lookups).unwrap() {
            tokio::task::yield_now().await;
        }
    }

    /// How often the breaker became this.
    pub(crate) async fn breaker_became(&self, state: &str) -> i64 {
        self.metric(
            "vehicle_client_breaker_transitions_total",
            &[("state", state)],
        )
        .await
    }
}

fn path(person: usize) -> String {
    format!("/api/v1/insurances/{}", FIRST_PERSON + person)
}

/// A policy as the service answered it.
#[derive(Clone, Debug)]
pub(crate) struct Policy(pub(crate) Value);

impl Policy {
    /// What became of its enrichment.
    pub(crate) fn status(&self) -> &str {
        self.0["enrichment"]["status"].as_str().unwrap()
    }

    /// Why it is not enriched; empty where it is.
    pub(crate) fn cause(&self) -> &str {
        self.0["enrichment"]["cause"].as_str().unwrap_or_default()
    }

    /// Where its vehicle comes from; empty where there is none.
    pub(crate) fn source(&self) -> &str {
        self.0["enrichment"]["source"].as_str().unwrap_or_default()
    }

    pub(crate) fn is_enriched(&self) -> bool {
        self.status() == "enriched"
    }

    /// Whether the guard kept its call back because the breaker was open.
    pub(crate) fn met_an_open_breaker(&self) -> bool {
        self.cause() == "breaker_open"
    }
}
