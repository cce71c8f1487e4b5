//! The Insurance service: answers for a person's policies and enriches car policies by calling
//! Vehicle, which it never floods and about which it never lies.

mod consumer;
mod enrichment;
mod error;
mod lease;
mod near_cache;
mod operations;
mod policy;
mod prefer;
mod replay;
mod replica;
mod routes;
mod settings;
mod store;
mod unreadable;

use std::{future::ready, path::PathBuf, sync::Arc};

use ::settings::{Arguments, Sources};
use event_log::{EventLog, NewLogError, StateError, Triggers, VerifyError};
use event_relay::Relay;
use service_database::{Database, MigrateError, Read, Schema};
use service_defaults::{
    assembly::Assembled,
    health::Check,
    process::{NewLog, Process, ProcessError},
    service::Service,
};
use vehicle_client::{BuildError, Feed, VehicleClient};

use crate::{enrichment::Comparison, operations::Replays, replica::Replica, settings::DEFAULTS};
pub use crate::{
    enrichment::EnrichmentStrategy,
    policy::{Clock, Look, Worker},
    replica::{Consumer, Turn, TurnError},
    settings::InsuranceSettings,
};

/// Name of the service: its section in the secrets file and the prefix of its variables.
pub const NAME: &str = "insurance";

/// The `insurance` schema.
pub const SCHEMA: Schema = Schema {
    migrator: &MIGRATOR,
    owner: "insurance_migrator",
    sample_data: include_str!("../../../migrations/seed/insurance.sql"),
};

/// Who we are in Vehicle's logs.
const USER_AGENT: &str = concat!("threadpilot-insurance/", env!("CARGO_PKG_VERSION"));

/// Triggers that have to be armed, beside those of the log.
const TRIGGERS: Triggers = &[
    ("insurance.insurances", "demand_an_event"),
    ("insurance.insurances", "never_truncated"),
    ("insurance.covers", "never_truncated"),
];

/// Leaves out the numbers that lost policies may have had: their callers still have them.
const SKIP_NUMBERS: &str = "select setval('insurance.insurances_insurance_id_seq', last_value + 1000000) from insurance.insurances_insurance_id_seq";

/// What the questions about the log ask for in the document's examples.
const EXAMPLES: &[(&str, &str)] = &[
    ("aggregateType", "policy"),
    ("aggregateId", "1000000"),
    ("subject", "policy/1000000"),
    ("types", "policy.activated.v1,policy.cancelled.v1"),
];

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/insurance");

/// Answers for a person's policies.
pub struct InsuranceService;

impl Service for InsuranceService {
    const NAME: &'static str = NAME;
    const ABOUT: &'static str =
        "ThreadPilot's Insurance service: a person's policies, with the cars that Vehicle knows.";
    type Settings = InsuranceSettings;
    type Error = RunError;

    fn sources(arguments: Arguments) -> Sources {
        Sources::new(NAME, DEFAULTS, arguments)
    }

    fn build(process: &Process<InsuranceSettings>) -> Result<Assembled, RunError> {
        Self::build_at(process, Clock::system())
    }

    async fn migrate(settings: &InsuranceSettings) -> Result<(), RunError> {
        Ok(SCHEMA.migrate(&settings.database).await?)
    }

    async fn preview_migration(settings: &InsuranceSettings) -> Result<String, RunError> {
        let preview = SCHEMA.preview(
            &settings.database,
            |connection, ()| Box::pin(store::newest_migration(connection)),
            |connection, applied| Box::pin(policy::overlaps(connection, *applied)),
        );
        Ok(preview.await?)
    }

    async fn seed(settings: &InsuranceSettings) -> Result<(), RunError> {
        Ok(SCHEMA.seed(&settings.database).await?)
    }

    async fn verify_log(
        settings: &InsuranceSettings,
        checkpoints: &[PathBuf],
    ) -> Result<String, RunError> {
        let (log, database) = (&settings.event_log, &settings.database);
        Ok(event_log::verify_log(NAME, log, database, checkpoints).await?)
    }

    async fn verify_state(settings: &InsuranceSettings) -> Result<String, RunError> {
        let compare: Read<(), _> = |connection, ()| Box::pin(policy::compare(connection));
        Ok(event_log::verify_state(&settings.database, compare).await?)
    }

    async fn new_log(settings: &InsuranceSettings, wanted: &NewLog) -> Result<String, RunError> {
        let schema = (&SCHEMA, &settings.database);
        let log = &settings.event_log;
        Ok(event_log::new_log(NAME, log, schema, wanted, SKIP_NUMBERS).await?)
    }
}

impl InsuranceService {
    /// Builds it with another clock; for tests of days.
    pub fn build_at(
        process: &Process<InsuranceSettings>,
        clock: Clock,
    ) -> Result<Assembled, RunError> {
        let settings = &process.settings().service;
        let database = Database::new(&settings.database)?;
        database.observe(process.meter());
        let vehicles = VehicleClient::new(&settings.vehicle_client, USER_AGENT, process.meter())?;
        let live = process.live().clone();
        vehicles.ask_whether_on(move || {
            let toggles = live.snapshot().service.feature_toggles;
            toggles.enable_vehicle_enrichment
        });
        let (checked, guard) = (database.clone(), vehicles.clone());
        let log = EventLog::new(NAME);
        let runs = (process.tasks(), process.meter());
        let kept = log.keep(&settings.event_log, &database, TRIGGERS, runs);
        let mut readiness = process
            .readiness()
            .with_check("database", move || {
                let database = checked.clone();
                async move { check(&database).await }
            })
            .with_check("vehicle_guard", move || {
                ready(operations::check(&guard.guard_state()))
            })
            .with_check("event_log", move || {
                let kept = kept.clone();
                async move { kept.check().await }
            });
        Worker::spawn((&database, &log, &clock), process.tasks(), process.meter());
        let mut replays = Replays {
            database: database.clone(),
            feed: None,
            wake: Arc::default(),
        };
        if settings.replica.enabled {
            let token = vehicles.token();
            let feed = Feed::new(&settings.vehicle_client, USER_AGENT, token)?;
            let replica = Replica::spawn(&settings.replica, &database, &feed, runs);
            replay::Worker::spawn(&database, &feed, &replays.wake, runs);
            replays.feed = Some(feed);
            readiness = readiness.with_check(replica::NAME, move || ready(replica.check()));
        }
        let comparison = settings
            .replica
            .enabled
            .then(|| Comparison::spawn(&database, process.tasks(), process.meter()));
        let log_settings = &settings.event_log;
        let source = log_settings.source(NAME);
        Relay::spawn(&settings.relay, source, (&log, &database), runs);
        let live = process.live().clone();
        let routes = routes::api(
            replays,
            vehicles,
            comparison,
            log.clone(),
            live,
            clock,
            process.meter(),
        );
        let shutdown = process.shutdown();
        let routes = log.mount(routes, &database, shutdown, log_settings, EXAMPLES);
        Ok(process.assemble(routes, &readiness))
    }
}

/// Looks at the schema, and runs the statement of a request for nobody.
async fn check(database: &Database) -> Check {
    SCHEMA
        .check(
            database,
            |connection, ()| Box::pin(store::newest_migration(connection)),
            |connection, ()| Box::pin(store::select(connection, &[])),
        )
        .await
}

/// Why a command of the service failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It did not start or stop well.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The schema was not brought up to date.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The event log is not known to be whole.
    #[error(transparent)]
    VerifyLog(#[from] VerifyError),
    /// The state is not known to be what the events say.
    #[error(transparent)]
    VerifyState(#[from] StateError),
    /// The event log keeps its id.
    #[error(transparent)]
    NewLog(#[from] NewLogError),
    /// The database's URL cannot be used.
    #[error("database.url cannot be used")]
    Database(#[from] sqlx::Error),
    /// The client for Vehicle cannot be built.
    #[error(transparent)]
    Client(#[from] BuildError),
}
