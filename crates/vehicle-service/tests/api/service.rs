use service_defaults::{
    assembly::Assembled, lifecycle::Shutdown, process::Process, service::Service as _,
};
use settings::Arguments;
use test_support::{Api, TestDatabase};
use vehicle_service::{VehicleService, VehicleSettings};

/// A Vehicle service on a database of its own.
pub(crate) struct Service {
    pub(crate) database: TestDatabase,
    pub(crate) assembled: Assembled,
    pub(crate) api: Api,
    pub(crate) shutdown: Shutdown,
}

impl Service {
    /// With the sample data and the default settings.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With the sample data and these settings, by their variables without the prefix.
    pub(crate) async fn with(variables: &[(&str, &str)]) -> Self {
        let database = TestDatabase::new(vehicle_service::NAME, vehicle_service::SCHEMA).await;
        Self::on(database, variables)
    }

    /// On this database.
    pub(crate) fn on(database: TestDatabase, variables: &[(&str, &str)]) -> Self {
        let mut environment = database.variables();
        // A machine that is busy with builds must not turn a request into a 503.
        environment.push(("VEHICLE__DATABASE__ACQUIRE_TIMEOUT".into(), "10s".into()));
        environment.push(("VEHICLE__DATABASE__STATEMENT_TIMEOUT".into(), "10s".into()));
        environment.push(("VEHICLE__SERVER__REQUEST_DEADLINE".into(), "30s".into()));
        environment.extend(
            variables
                .iter()
                .map(|(name, value)| (format!("VEHICLE__{name}"), (*value).to_owned())),
        );
        let sources = VehicleService::sources(Arguments::default()).with_environment(environment);
        let process = Process::<VehicleSettings>::new(vehicle_service::NAME, sources).unwrap();
        let assembled = VehicleService::build(&process).unwrap();
        let api = Api(assembled.public.clone());
        Self {
            database,
            assembled,
            api,
            shutdown: process.shutdown().clone(),
        }
    }
}
