//! The Vehicle service: looks up cars by registration number. It stands for a legacy system.

mod batch;
mod change;
mod copy;
mod error;
mod precondition;
mod register;
mod routes;
mod settings;
mod state;
mod store;

use std::{future::ready, path::PathBuf};

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

use crate::settings::DEFAULTS;
pub use crate::settings::VehicleSettings;

/// Name of the service: its section in the secrets file and the prefix of its variables.
pub const NAME: &str = "vehicle";

/// The `vehicle` schema.
pub const SCHEMA: Schema = Schema {
    migrator: &MIGRATOR,
    owner: "vehicle_migrator",
    sample_data: include_str!("../../../migrations/seed/vehicle.sql"),
};

/// Triggers that have to be armed, beside those of the log.
const TRIGGERS: Triggers = &[
    ("vehicle.vehicles", "raise_version"),
    ("vehicle.vehicles", "tell_the_change"),
    ("vehicle.vehicles", "never_truncated"),
];

/// Leaves out the versions that lost changes may have had, so that none is given twice.
const SKIP_NUMBERS: &str =
    "select setval('vehicle.versions', last_value + 1000000) from vehicle.versions";

/// What the questions about the log ask for in the document's examples.
const EXAMPLES: &[(&str, &str)] = &[
    ("aggregateType", "vehicle"),
    ("aggregateId", "ABC123"),
    ("subject", "vehicle/ABC123"),
    ("types", "vehicle.registered.v1,vehicle.deregistered.v1"),
];

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/vehicle");

/// Answers for cars by registration number.
pub struct VehicleService;

impl Service for VehicleService {
    const NAME: &'static str = NAME;
    const ABOUT: &'static str = "ThreadPilot's Vehicle service: cars by registration number. It stands for a legacy system.";
    type Settings = VehicleSettings;
    type Error = RunError;

    fn sources(arguments: Arguments) -> Sources {
        Sources::new(NAME, DEFAULTS, arguments)
    }

    fn build(process: &Process<VehicleSettings>) -> Result<Assembled, RunError> {
        let settings = process.settings();
        let database = Database::new(&settings.service.database)?;
        database.observe(process.meter());
        let checked = database.clone();
        let readiness = process.readiness().with_check("database", move || {
            let database = checked.clone();
            async move { check(&database).await }
        });
        let log = EventLog::new(NAME);
        let runs = (process.tasks(), process.meter());
        let kept = log.keep(&settings.service.event_log, &database, TRIGGERS, runs);
        let readiness = readiness.with_check("event_log", move || {
            let kept = kept.clone();
            async move { kept.check().await }
        });
        let log_settings = &settings.service.event_log;
        let (relay, source) = (&settings.service.relay, log_settings.source(NAME));
        Relay::spawn(relay, source, (&log, &database), runs);
        let vehicles = settings.service.vehicles.clone();
        let routes = routes::api(database.clone(), log.clone(), vehicles);
        let shutdown = process.shutdown();
        let routes = log.mount(routes, &database, shutdown, log_settings, EXAMPLES);
        Ok(process.assemble(routes, &readiness))
    }

    async fn migrate(settings: &VehicleSettings) -> Result<(), RunError> {
        Ok(SCHEMA.migrate(&settings.database).await?)
    }

    async fn preview_migration(settings: &VehicleSettings) -> Result<String, RunError> {
        let preview = SCHEMA.preview(
            &settings.database,
            |connection, ()| Box::pin(store::newest_migration(connection)),
            // No step refuses or marks a row.
            |_, _| Box::pin(ready(Ok(String::new()))),
        );
        Ok(preview.await?)
    }

    async fn seed(settings: &VehicleSettings) -> Result<(), RunError> {
        Ok(SCHEMA.seed(&settings.database).await?)
    }

    async fn verify_log(
        settings: &VehicleSettings,
        checkpoints: &[PathBuf],
    ) -> Result<String, RunError> {
        let (log, database) = (&settings.event_log, &settings.database);
        Ok(event_log::verify_log(NAME, log, database, checkpoints).await?)
    }

    async fn verify_state(settings: &VehicleSettings) -> Result<String, RunError> {
        let compare: Read<(), _> = |connection, ()| Box::pin(state::compare(connection));
        Ok(event_log::verify_state(&settings.database, compare).await?)
    }

    async fn new_log(settings: &VehicleSettings, wanted: &NewLog) -> Result<String, RunError> {
        let schema = (&SCHEMA, &settings.database);
        let log = &settings.event_log;
        Ok(event_log::new_log(NAME, log, schema, wanted, SKIP_NUMBERS).await?)
    }
}

/// Looks at the schema, and runs the statement of a request for no vehicle.
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
}
