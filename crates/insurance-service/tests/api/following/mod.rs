//! The copy of Vehicle's cars, kept by following Vehicle.

mod copies;
mod deaths;
mod faults;
mod letters;
mod places;
mod rests;
mod service;
mod stream;
mod told;

use std::{future::Future, time::Duration};

use insurance_service::{Consumer, NAME, SCHEMA};
use service_database::Database;
use sqlx::AssertSqlSafe;
use test_support::{API_KEY, FakeVehicle, TestDatabase};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use vehicle_client::{Feed, Options};

use super::real_vehicle::serve_vehicle_with;

/// Vehicle at a socket, and the database of Insurance.
struct Pair {
    vehicle: TestDatabase,
    insurance: TestDatabase,
    url: String,
    /// Where Vehicle's relay publishes, and whose stream is followed; empty: its feed is.
    broker: String,
}

impl Pair {
    async fn new() -> Self {
        Self::beside(String::new()).await
    }

    async fn beside(broker: String) -> Self {
        let vehicle = TestDatabase::new(vehicle_service::NAME, vehicle_service::SCHEMA).await;
        let relay = [("VEHICLE__RELAY__NATS__URL", &*broker)];
        Self {
            url: serve_vehicle_with(&vehicle, &relay).await,
            broker,
            vehicle,
            insurance: TestDatabase::new(NAME, SCHEMA).await,
        }
    }

    /// Follows one that a test plays.
    async fn on(vehicle: &FakeVehicle) -> Self {
        Self {
            url: vehicle.url(),
            broker: String::new(),
            vehicle: TestDatabase::empty(vehicle_service::NAME).await,
            insurance: TestDatabase::new(NAME, SCHEMA).await,
        }
    }

    /// A consumer as each process has one.
    fn consumer(&self) -> Consumer {
        let database = format!(
            "url = \"{}\"\nuser = \"insurance_service\"\npassword = \"test\"\n\
             max_connections = 1\nacquire_timeout = \"10s\"\nstatement_timeout = \"10s\"",
            self.insurance.url()
        );
        let database = settings::parse("database", &database).unwrap();
        let database = Database::new(&database).unwrap();
        let nats = format!("url = \"{}\"", self.broker);
        let nats = settings::parse("replica.nats", &nats).unwrap();
        let meter = opentelemetry::global::meter("test");
        Consumer::by_hand(database, self.feed(), &nats, &meter)
    }

    fn feed(&self) -> Feed {
        let options = format!(
            "api_key = \"{API_KEY}\"\nbase_url = \"{}\"\nconnect_timeout = \"500ms\"",
            self.url
        );
        let options: Options = settings::parse("vehicle_client", &options).unwrap();
        Feed::new(&options, "test/1", None).unwrap()
    }

    /// Lets a consumer go on until it has everything and fills nothing.
    async fn caught_up(&self, consumer: &mut Consumer) {
        let told = CancellationToken::new();
        within(async {
            while !self.is_caught_up().await {
                consumer.turn(&told).await.unwrap();
            }
        })
        .await;
    }

    async fn is_caught_up(&self) -> bool {
        let head = "select position::text || ' true' from vehicle_events.head
            where not exists (select from vehicle_events.unplaced)";
        let head = texts(&self.vehicle, head).await;
        head.len() == 1
            && self
                .state("position || ' ' || (filling is null and generation > 0)")
                .await
                == head[0]
    }

    async fn state(&self, columns: &str) -> String {
        let sql = format!("select ({columns})::text from insurance_replica.consumers");
        texts(&self.insurance, &sql).await.remove(0)
    }

    /// What both have.
    async fn assert_equal(&self) {
        let columns =
            "registration_number || ' ' || coalesce(make, '-') || ' ' || coalesce(model, '-')
            || ' ' || coalesce(model_year::text, '-') || ' ' || version";
        let source = format!("select {columns} from vehicle.vehicles order by registration_number");
        let copy = format!(
            "select {columns} from insurance_replica.vehicles
             where generation = (select generation from insurance_replica.consumers)
                 and deleted_at is null order by registration_number"
        );
        let (source, copy) = (
            texts(&self.vehicle, &source).await,
            texts(&self.insurance, &copy).await,
        );
        assert!(
            source == copy,
            "{} and {} vehicles, and they differ",
            source.len(),
            copy.len()
        );
    }

    /// Lets a consumer go on, whatever fails, until its row says so.
    async fn until(&self, consumer: &mut Consumer, columns: &str, expected: &str) {
        let told = CancellationToken::new();
        within(async {
            while self.state(columns).await != expected {
                let _ = consumer.turn(&told).await;
            }
        })
        .await;
    }

    /// A consumer that goes on until it dies.
    fn living(&self) -> JoinHandle<()> {
        let mut consumer = self.consumer();
        tokio::spawn(async move {
            let told = CancellationToken::new();
            while consumer.turn(&told).await.is_ok() {}
        })
    }

    /// As if its process had been killed, and the lease had ended by the clock.
    async fn kill(&self, living: JoinHandle<()>) {
        living.abort();
        let _ = living.await;
        // Else what it has sent may still be done, the lease be taken by a dead one.
        let end = "select count(pg_terminate_backend(pid, 30000))::text from pg_stat_activity
            where datname = current_database() and usename = 'insurance_service'";
        texts(&self.insurance, end).await;
        self.end_lease().await;
    }

    /// As if the lease had ended by the clock.
    async fn end_lease(&self) {
        let end = "update insurance.workers set leased_until = '-infinity'";
        self.insurance.execute(end).await;
    }

    /// Tells what Vehicle never would.
    async fn tell_nonsense(&self, number: &str) {
        let tell = format!(
            "insert into vehicle_events.events
                 (event_id, aggregate_type, aggregate_id, version, event_type, actor, correlation_id, data)
             values (gen_random_uuid(), 'vehicle', '{number}', nextval('vehicle.versions'),
                 'vehicle.inspected.v1', 'test', 'none', '{{}}')"
        );
        self.vehicle.execute(&tell).await;
    }

    async fn letters(&self) -> Vec<String> {
        let letters = "select concat_ws(' ', registration_number, reason, status, attempts, note)
            from insurance_replica.dead_letters order by position";
        texts(&self.insurance, letters).await
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_mins(5), work).await.unwrap()
}

async fn texts(database: &TestDatabase, sql: &str) -> Vec<String> {
    let mut connection = database.connect().await;
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
        .fetch_all(&mut connection)
        .await
        .unwrap()
}
