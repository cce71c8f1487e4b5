use std::time::Duration;

use async_nats::jetstream::{
    self, Context,
    message::StreamMessage,
    stream::{Config, DiscardPolicy, Info, Stream},
};
use event_log::{EventLog, Sequencer};
use event_relay::{Relay, RelaySettings};
use opentelemetry::metrics::Meter;
use service_database::{Database, Schema};
use service_defaults::metrics::Metrics;
use sqlx::AssertSqlSafe;
use test_support::{Nats, TestDatabase, metric, until};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use uuid::Uuid;

/// The shortest that a server takes. A relay that sends an event again later is not saved by it.
const DUPLICATE_WINDOW: Duration = Duration::from_millis(100);

/// How long something may take until the test fails.
const LIMIT: Duration = Duration::from_mins(1);

/// A log, and a broker for its events.
pub(crate) struct Bed {
    pub(crate) nats: Nats,
    pub(crate) database: TestDatabase,
    pub(crate) log: EventLog,
    pub(crate) metrics: Metrics,
    tasks: JoinSet<()>,
}

impl Bed {
    /// `None` where there is no broker.
    pub(crate) async fn new() -> Option<Self> {
        Some(Self::beside(Nats::start()?).await)
    }

    /// One whose relay has published so many events.
    pub(crate) async fn publishing(events: u32) -> Option<Self> {
        Some(Self::new().await?.published(events).await)
    }

    /// The same at a broker that forgets ids at once.
    pub(crate) async fn publishing_anew(events: u32) -> Option<Self> {
        let bed = Self::new().await?;
        bed.make_stream(-1).await;
        Some(bed.published(events).await)
    }

    async fn published(mut self, events: u32) -> Self {
        self.place();
        self.relay();
        self.append(events).await;
        self.assert_complete(events as usize).await;
        self
    }

    pub(crate) async fn beside(nats: Nats) -> Self {
        let schema = Schema {
            sample_data: "",
            ..insurance_service::SCHEMA
        };
        Self {
            nats,
            database: TestDatabase::new("insurance", schema).await,
            log: EventLog::new("insurance"),
            metrics: Metrics::new("insurance").unwrap(),
            tasks: JoinSet::new(),
        }
    }

    /// Places events from now on.
    pub(crate) fn place(&mut self) {
        let database = connect(&self.database.url());
        let sequencer = Sequencer::new(self.log.clone(), database, self.metrics.meter());
        self.tasks.spawn(async move {
            sequencer.run().await;
        });
    }

    /// Publishes events from now on.
    pub(crate) fn relay(&mut self) {
        self.relay_with(relay_settings(&self.nats.url()));
    }

    pub(crate) fn relay_with(&mut self, settings: RelaySettings) {
        let meter = self.metrics.meter();
        let mut relay = relay(&self.log, &self.database.url(), settings, meter);
        self.tasks.spawn(async move {
            relay.run().await;
        });
    }

    /// Ends the relay and the sequencer wherever they are, and takes the lease from it.
    pub(crate) async fn cut(&mut self) {
        self.tasks.shutdown().await;
        self.release().await;
    }

    pub(crate) async fn release(&self) {
        let end = "update insurance_events.relays set leased_until = '-infinity'";
        self.database.execute(end).await;
    }

    /// Gives the log another id, as `new-log` does.
    pub(crate) async fn renew(&self) {
        let renew = "insert into insurance_events.former_logs
                 select log_id, 50, 'restored' from insurance_events.head;
             update insurance_events.head set log_id = gen_random_uuid()";
        self.database.execute(renew).await;
    }

    /// What a statement selects.
    pub(crate) async fn number(&self, select: &'static str) -> i64 {
        let mut connection = self.database.connect().await;
        let query = sqlx::query_scalar(select).fetch_one(&mut connection);
        query.await.unwrap()
    }

    /// Appends events by SQL, each of a thing of its own.
    pub(crate) async fn append(&self, count: u32) {
        let insert = format!(
            "insert into insurance_events.events (event_id, aggregate_type, aggregate_id, version,
                 event_type, actor, correlation_id, data)
             select gen_random_uuid(), 'policy', gen_random_uuid()::text, 1, 'policy.drafted.v1',
                 'key/desk', 'none', '{{}}' from generate_series(1, {count})"
        );
        self.database.execute(&insert).await;
        self.log.appended();
    }

    pub(crate) async fn jetstream(&self) -> Context {
        jetstream::new(async_nats::connect(self.nats.url()).await.unwrap())
    }

    pub(crate) async fn log_id(&self) -> Uuid {
        let select = "select log_id from insurance_events.head";
        let mut connection = self.database.connect().await;
        let query = sqlx::query_scalar(select).fetch_one(&mut connection);
        query.await.unwrap()
    }

    pub(crate) async fn name(&self) -> String {
        format!("threadpilot-insurance-{}", self.log_id().await)
    }

    /// Makes the stream as the relay does, but forgets ids at once, and with so much room.
    pub(crate) async fn make_stream(&self, max_bytes: i64) {
        let config = Config {
            name: self.name().await,
            subjects: vec!["threadpilot.insurance.>".to_owned()],
            discard: DiscardPolicy::New,
            duplicate_window: DUPLICATE_WINDOW,
            max_bytes,
            ..Config::default()
        };
        let context = self.jetstream().await;
        context.create_or_update_stream(config).await.unwrap();
    }

    /// Waits until the broker knows no id any more, of which it says nothing.
    pub(crate) async fn forget_ids(&self) {
        sleep(DUPLICATE_WINDOW * 2).await;
    }

    /// The events that the log has, by position and id.
    pub(crate) async fn logged(&self) -> Vec<(i64, Uuid)> {
        let select = "select position, event_id from insurance_events.log order by position";
        let mut connection = self.database.connect().await;
        let query = sqlx::query_as(AssertSqlSafe(select)).fetch_all(&mut connection);
        query.await.unwrap()
    }

    /// Waits until the stream has as many messages as the log has events, of which there are so many;
    /// then they have to be the same ones in the same order.
    pub(crate) async fn assert_complete(&self, events: usize) {
        let name = self.name().await;
        let context = self.jetstream().await;
        let complete = until(async || {
            let stream = context.get_stream(&name).await.ok()?;
            let found = stream.cached_info().state.messages;
            (found >= events as u64).then_some(())
        });
        within_limit(&format!("{events} messages"), complete).await;
        let logged = self.logged().await;
        assert_eq!(logged.len(), events);
        assert_eq!(places(&messages(&context, &name).await), logged);
    }

    /// Waits until the relay is in this state.
    pub(crate) async fn until(&self, state: &str) {
        self.until_measured("relay_state", &[("state", state)], 1)
            .await;
    }

    /// Waits until a metric has this value.
    pub(crate) async fn until_measured(&self, name: &str, labels: &[(&str, &str)], value: i64) {
        until_measured(&self.metrics, name, labels, value).await;
    }

    pub(crate) fn measured(&self, name: &str, labels: &[(&str, &str)]) -> i64 {
        metric(&self.metrics.render().unwrap(), name, labels)
    }
}

/// Waits until a metric has this value.
pub(crate) async fn until_measured(
    metrics: &Metrics,
    name: &str,
    labels: &[(&str, &str)],
    value: i64,
) {
    let measured = until(async || {
        let found = metric(&metrics.render().unwrap(), name, labels);
        (found == value).then_some(())
    });
    within_limit(&format!("{name} {labels:?} = {value}"), measured).await;
}

/// Waits for something, and fails where it takes too long.
pub(crate) async fn within_limit<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let waited = timeout(LIMIT, wait).await;
    waited.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
}

/// The messages that a stream has.
pub(crate) async fn messages(context: &Context, name: &str) -> Vec<StreamMessage> {
    let stream: Stream<Info> = context.get_stream(name).await.unwrap();
    let state = &stream.cached_info().state;
    let mut found = Vec::new();
    // The first sequence of an empty stream is behind its last one, or 0 in a new one.
    for sequence in state.first_sequence.max(1)..=state.last_sequence {
        found.push(stream.get_raw_message(sequence).await.unwrap());
    }
    found
}

/// Position and id of the events in messages.
pub(crate) fn places(messages: &[StreamMessage]) -> Vec<(i64, Uuid)> {
    let place = |message: &StreamMessage| {
        let header = |name| message.headers.get(name).unwrap().as_str();
        let (position, id) = (header("ce-sequence"), header("ce-id"));
        (position.parse().unwrap(), id.parse().unwrap())
    };
    messages.iter().map(place).collect()
}

pub(crate) fn relay(
    log: &EventLog,
    database: &str,
    settings: RelaySettings,
    meter: &Meter,
) -> Relay {
    let database = connect(database);
    Relay::new(log.clone(), database, settings, "/local/insurance", meter)
}

pub(crate) fn relay_settings(nats: &str) -> RelaySettings {
    settings::parse("relay", &format!("nats.url = \"{nats}\"")).unwrap()
}

fn connect(url: &str) -> Database {
    let settings = format!(
        "url = \"{url}\"\nuser = \"insurance_service\"\npassword = \"test\"\n\
         max_connections = 2\nacquire_timeout = \"10s\"\nstatement_timeout = \"10s\""
    );
    Database::new(&settings::parse("database", &settings).unwrap()).unwrap()
}
