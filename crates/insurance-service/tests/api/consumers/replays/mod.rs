//! Replays: dry runs and rebuilds, from their start to their end.

mod dry_runs;
mod rebuilds;
mod turns;
mod windows;

use std::time::Duration;

use http::Method;
use insurance_service::{Clock, NAME, SCHEMA};
use serde_json::{Value, json};
use settings::Arguments;
use test_support::{Answer, FakeVehicle, TestDatabase};
use tokio::{task::yield_now, time::timeout};

use super::{Operator, feed::LOG, operator::ADMIN};
use crate::api::service::Service;

pub(super) const REPLAYS: &str = "/api/v1/operations/replays";

/// A service that follows this Vehicle, and whose copy has so many cars of it.
pub(super) async fn following(vehicle: FakeVehicle, cars: usize) -> Operator {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let copied = format!(
        "update insurance_replica.consumers
         set mode = 'paused', log_id = '{LOG}', copy_log_id = '{LOG}', generation = 1,
             generations = 1, position = {cars}, source_position = {cars}, filled = {cars},
             caught_up_at = clock_timestamp();
         insert into insurance_replica.vehicles
             (generation, registration_number, make, model, model_year, version)
         select 1, 'C' || lpad(number::text, 6, '0'), 'Volvo', 'XC60', 2021, number
         from generate_series(1, {cars}) as number;
         -- The consumer is left to the test.
         update insurance.workers set leased_until = 'infinity' where worker = 'vehicle_replica'"
    );
    database.execute(&copied).await;
    let settings = [&ADMIN[..], &[("REPLICA__ENABLED", "true")]].concat();
    let (clock, arguments) = (Clock::system(), Arguments::default());
    Operator(Service::on(database, clock, vehicle, arguments, &settings))
}

pub(super) fn dry_run(members: &Value) -> Value {
    let mut request = json!({ "consumer": "vehicle_replica", "mode": "dry_run", "reason": "r" });
    for (member, value) in members.as_object().unwrap() {
        request[member] = value.clone();
    }
    request
}

/// A consumer that does what it does most of the time.
const FOLLOWS: &str =
    "update insurance_replica.consumers set mode = 'follow', filling = null, snapshot_at = null";

fn rebuild() -> Value {
    json!({ "consumer": "vehicle_replica", "mode": "rebuild", "reason": "it differs" })
}

impl Operator {
    /// Starts a replay: where it is.
    async fn start(&self, request: &Value) -> String {
        let answer = self.post(REPLAYS, request).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let at = answer.header("location");
        assert_eq!(
            at,
            format!("{REPLAYS}/{}", answer.json()["replayId"].as_str().unwrap())
        );
        at.to_owned()
    }

    /// The replay once it has this status.
    async fn until(&self, replay: &str, status: &str) -> Value {
        let wait = async {
            loop {
                let found = self.read(replay).await;
                if found["status"] == status {
                    return found;
                }
                yield_now().await;
            }
        };
        let waited = timeout(Duration::from_mins(2), wait).await;
        waited.unwrap_or_else(|_| panic!("it never was {status}"))
    }

    async fn cancel(&self, replay: &str) -> Answer {
        self.ask(Method::DELETE, replay, &Value::Null).await
    }

    async fn execute(&self, sql: &str) {
        self.0.database.execute(sql).await;
    }

    /// Waits until a metric is so: it is counted after what it counts.
    async fn counts(&self, name: &str, labels: &[(&str, &str)], expected: i64) {
        let reached = async {
            while self.0.metric(name, labels).await != expected {
                yield_now().await;
            }
        };
        timeout(Duration::from_mins(2), reached).await.unwrap();
    }

    /// Has the consumer do something else.
    async fn command(&self, mode: &str) {
        let order = json!({ "mode": mode, "reason": "r", "owner": "o" });
        assert_eq!(self.order(&order).await.status, 200);
    }

    /// Waits until the worker of replays has looked once more.
    async fn looked(&self) {
        let mut watcher = self.0.database.connect().await;
        let renewed = "select leased_until::text from insurance.workers where worker = 'replays'";
        let mut look = async || {
            let until = sqlx::query_scalar::<_, String>(renewed);
            until.fetch_one(&mut watcher).await.unwrap()
        };
        let before = look().await;
        let later = async {
            while look().await == before {
                yield_now().await;
            }
        };
        timeout(Duration::from_mins(1), later).await.unwrap();
    }
}

fn code(answer: &Answer) -> (u16, String) {
    let code = answer.problem()["code"].as_str().unwrap().to_owned();
    (answer.status.as_u16(), code)
}
