//! The Vehicle service: looks up cars by registration number. It stands for a legacy system.

mod batch;
mod error;
mod routes;
mod settings;
mod store;

use std::process::ExitCode;

use service_database::{Database, MigrateError, Schema};
use service_defaults::{
    assembly::Assembled,
    health::Check,
    process::{self, Command, CommandLine, Process, ProcessError},
    settings::{Arguments, Sources},
};
use tokio::net::TcpListener;

pub use settings::VehicleSettings;

/// Name of the service: its section in the secrets file and the prefix of its variables.
pub const NAME: &str = "vehicle";

/// The `vehicle` schema.
pub const SCHEMA: Schema = Schema {
    migrator: &MIGRATOR,
    sample_data: include_str!("../../../migrations/seed/vehicle.sql"),
};

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/vehicle");

/// The settings' sources for these options of the command line.
pub fn sources(arguments: Arguments) -> Sources {
    Sources::new(
        NAME,
        &[service_database::MANUAL, include_str!("../config.toml")],
        arguments,
    )
}

/// Runs a command line to its exit code.
pub async fn run(arguments: CommandLine) -> ExitCode {
    let command = arguments.command();
    process::run(
        NAME,
        sources(arguments.settings),
        command,
        |process: Process<VehicleSettings>, command| async move {
            let database = &process.settings().service.database;
            match command {
                Command::Serve => serve(&process, None).await?,
                Command::Migrate => SCHEMA.migrate(database).await?,
                Command::Seed => SCHEMA.seed(database).await?,
                Command::Check { .. } | Command::Healthcheck => {}
            }
            Ok::<(), RunError>(())
        },
    )
    .await
}

/// Serves until the process is told to stop, on this socket or on the one that the settings name.
pub async fn serve(
    process: &Process<VehicleSettings>,
    listener: Option<TcpListener>,
) -> Result<(), RunError> {
    Ok(process.serve(assemble(process)?, listener).await?)
}

/// The service as routers, without a socket.
pub fn assemble(process: &Process<VehicleSettings>) -> Result<Assembled, RunError> {
    let settings = process.settings();
    let database = Database::new(&settings.service.database)?;
    database.observe(process.meter());
    let checked = database.clone();
    let readiness = process.readiness().with_check("database", move || {
        let database = checked.clone();
        async move { check(&database).await }
    });
    let api = routes::api(database, settings.service.vehicles.clone());
    Ok(process.assemble(api, &readiness))
}

/// Looks at the schema, and runs the statement of a request for no vehicle.
async fn check(database: &Database) -> Check {
    SCHEMA
        .check(
            database,
            |connection, ()| Box::pin(store::newest_migration(connection)),
            |connection, ()| Box::pin(store::find_all(connection, &[])),
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
    /// The database's URL cannot be used.
    #[error("database.url cannot be used")]
    Database(#[from] sqlx::Error),
}
