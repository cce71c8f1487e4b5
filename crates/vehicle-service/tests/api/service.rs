use axum::{Router, body::Body};
use http::{Method, Request, request::Builder};
use service_defaults::{
    assembly::Assembled, process::Process, service::Service as _, settings::Arguments,
};
use test_support::{API_KEY, Answer, Api, TestDatabase};
use tokio::net::TcpSocket;
use vehicle_service::{VehicleService, VehicleSettings};

/// A Vehicle service on a database of its own.
pub(crate) struct Service {
    pub(crate) database: TestDatabase,
    pub(crate) process: Process<VehicleSettings>,
    pub(crate) assembled: Assembled,
    pub(crate) api: Api,
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
        let process = Process::new(vehicle_service::NAME, sources).unwrap();
        let assembled = VehicleService::build(&process).unwrap();
        let api = Api(assembled.public.clone());
        Self {
            database,
            process,
            assembled,
            api,
        }
    }

    /// The routes of the management listener.
    pub(crate) fn management(&self) -> Option<Api> {
        self.assembled.management.clone().map(Api)
    }

    /// What `/metrics` says.
    pub(crate) async fn metrics(&self) -> String {
        self.api.get("/metrics").await.text()
    }
}

/// A request without a key.
pub(crate) fn keyless(method: Method, path: &str) -> Builder {
    Request::builder().method(method).uri(path)
}

/// A request with the test key.
pub(crate) fn keyed(method: Method, path: &str) -> Builder {
    keyless(method, path).header("x-api-key", API_KEY)
}

/// Sends a request that has no body.
pub(crate) async fn send(api: &Api, request: Builder) -> Answer {
    api.send(request.body(Body::empty()).unwrap()).await
}

/// Sends a request without a key to a router.
pub(crate) async fn get_open(router: &Router, path: &str) -> Answer {
    send(&Api(router.clone()), keyless(Method::GET, path)).await
}

/// A URL where no server is, for as long as the socket is kept: it has the port and does not listen.
pub(crate) fn nowhere() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("postgres://{}/none", socket.local_addr().unwrap());
    (socket, url)
}
