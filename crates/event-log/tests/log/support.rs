use event_log::{EventLog, NewEvent, Origin, Sequencer, Step, new_event_id};
use service_database::{Database, Schema};
use service_defaults::metrics::Metrics;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgTransaction};
use test_support::{TestDatabase, until};
use uuid::Uuid;

/// A service's name, its schema and a kind of thing that its log knows.
pub(crate) type Service = (&'static str, Schema, &'static str);

pub(crate) const INSURANCE: Service = ("insurance", empty(insurance_service::SCHEMA), "policy");
pub(crate) const SERVICES: [Service; 2] = [
    INSURANCE,
    ("vehicle", empty(vehicle_service::SCHEMA), "vehicle"),
];

/// Without sample data, which may have events.
const fn empty(schema: Schema) -> Schema {
    Schema {
        sample_data: "",
        ..schema
    }
}

/// A database of Insurance, with its log.
pub(crate) async fn insurance() -> (TestDatabase, EventLog) {
    let (name, schema, _) = INSURANCE;
    let database = TestDatabase::new(name, schema).await;
    (database, EventLog::new(name))
}

pub(crate) fn origin() -> Origin {
    Origin {
        actor: "key/desk".to_owned(),
        correlation_id: "request-1".to_owned(),
        causation_id: None,
        traceparent: None,
    }
}

/// Appends a version of this thing.
pub(crate) async fn append(
    log: &EventLog,
    connection: &mut PgConnection,
    (aggregate_type, aggregate_id): (&str, &str),
    version: i64,
) -> sqlx::Result<Uuid> {
    let event = NewEvent {
        id: new_event_id(),
        aggregate_type,
        aggregate_id,
        version,
        event_type: &format!("{aggregate_type}.changed.v1"),
        origin: &origin(),
        data: "{}",
    };
    log.append(connection, &event).await.map(|()| event.id)
}

/// Runs SQL and says by which SQLSTATE it was refused, if it was.
pub(crate) async fn refusal(connection: &mut PgConnection, sql: &str) -> Option<String> {
    let result = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await;
    let code = |error: sqlx::Error| error.as_database_error()?.code().map(Into::into);
    result.err().map(|error| code(error).unwrap())
}

/// A number that a query gives.
pub(crate) async fn number(connection: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
        .fetch_one(connection)
        .await
        .unwrap()
}

/// What the running service uses, with so many connections.
pub(crate) fn connect(database: &TestDatabase, connections: u32) -> Database {
    let settings = format!(
        "url = \"{}\"\nuser = \"insurance_service\"\npassword = \"test\"\n\
         max_connections = {connections}\nacquire_timeout = \"10s\"\nstatement_timeout = \"10s\"",
        database.url()
    );
    Database::new(&settings::parse("database", &settings).unwrap()).unwrap()
}

/// A sequencer of Insurance's log, as each process has one.
pub(crate) fn sequencer(database: &TestDatabase, log: &EventLog) -> Sequencer {
    let meter = opentelemetry::global::meter("test");
    Sequencer::new(log.clone(), connect(database, 1), &meter)
}

/// The value of a metric that has no labels of its own.
pub(crate) fn measured(metrics: &Metrics, name: &str) -> f64 {
    let text = metrics.render().unwrap();
    let value = |line: &str| line.strip_prefix(name)?.rsplit_once(' ')?.1.parse().ok();
    text.lines().find_map(value).unwrap()
}

/// Places everything that waits, and says how many events those were.
pub(crate) async fn drain(sequencer: &mut Sequencer) -> u64 {
    let mut placed = 0;
    while let Step::Placed {
        events,
        below_floor,
        ..
    } = sequencer.step().await.unwrap()
    {
        assert_eq!(below_floor, 0);
        placed += events;
    }
    placed
}

/// Appends events by SQL, each of a thing of its own: `$n` is its number.
pub(crate) async fn fill(database: &TestDatabase, count: u32, values: &str) {
    let insert = format!(
        "insert into insurance_events.events (event_id, aggregate_type, aggregate_id, version,
             event_type, actor, correlation_id, data)
         select gen_random_uuid(), {values}, '{{}}' from generate_series(1, {count}) as n"
    );
    database.execute(&insert).await;
}

/// Waits until a session waits for an advisory lock that this one holds.
pub(crate) async fn waiting_for_a_lock(holder: &mut PgConnection) {
    let waits = "select count(*) from pg_locks
        where locktype = 'advisory' and not granted and database =
            (select oid from pg_database where datname = current_database())";
    until(async || (number(holder, waits).await > 0).then_some(())).await;
}

/// Values for [`fill`]: a thing for each event.
pub(crate) const THINGS: &str = "'policy', n::text, 1, 'policy.drafted.v1', 'key/desk', 'none'";

/// A transaction whose plans know no value, and what its session [has read](rows_read) so far.
pub(crate) async fn begin_counting(connection: &mut PgConnection) -> (PgTransaction<'_>, i64) {
    let mut transaction = connection.begin().await.unwrap();
    let generic = "set local plan_cache_mode = force_generic_plan";
    sqlx::raw_sql(generic)
        .execute(&mut *transaction)
        .await
        .unwrap();
    let read = rows_read(&mut transaction).await;
    (transaction, read)
}

/// Rows and index entries of the log that this session has read lately.
pub(crate) async fn rows_read(connection: &mut PgConnection) -> i64 {
    let read = "select coalesce(sum(pg_stat_get_xact_tuples_returned(oid)), 0)::bigint
        from pg_class where relnamespace = 'insurance_events'::regnamespace";
    number(connection, read).await
}

/// Changes the tables of the log as their owner can: with the triggers disarmed.
pub(crate) async fn tamper(database: &TestDatabase, changes: &str) {
    let triggers = |state: &str| {
        ["events", "log", "event_tiles", "checkpoints"].map(|table| {
            ["append_only", "never_truncated"].map(|trigger| {
                format!("alter table insurance_events.{table} {state} trigger {trigger};")
            })
        })
    };
    let (off, on) = (
        triggers("disable").concat(),
        triggers("enable always").concat(),
    );
    database
        .execute(&[&off.concat(), changes, ";", &on.concat()].concat())
        .await;
}

/// Changes events and makes everything that is kept about them anew, hashes and all. In the changes,
/// `sequence` is the position.
pub(crate) async fn rewrite(database: &TestDatabase, log: &EventLog, changes: &str) {
    let changes = format!(
        "update insurance_events.events set sequence = position from insurance_events.log
         where log.event_id = events.event_id;
         {changes};
         delete from insurance_events.log;
         delete from insurance_events.event_tiles;
         delete from insurance_events.hours;
         update insurance_events.head set position = 0, edge = '';
         insert into insurance_events.unplaced select sequence, event_id from insurance_events.events"
    );
    tamper(database, &changes).await;
    drain(&mut sequencer(database, log)).await;
}
