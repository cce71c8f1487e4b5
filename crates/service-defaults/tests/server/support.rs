use std::{net::SocketAddr, time::Duration};

use axum::{Router, response::Response};
use service_defaults::{
    assembly::Application,
    lifecycle::Shutdown,
    process::Process,
    scope::Scope,
    server::{self, ServerError, ServerSettings},
    settings::Checked,
    surface::{Routes, Surface},
};
use settings::{Arguments, Sources};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tower::util::MapResponse;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub(crate) const KEY: &str = "sample-key-0123456789";

settings::section! {
    /// A service with nothing but what all services have.
    pub(crate) struct Nothing {}
}

impl Checked for Nothing {}

/// A process with these settings, of `[server]` where no section is named.
pub(crate) fn process(settings: &[(&str, &str)]) -> Process<Nothing> {
    let mut environment = vec![("SAMPLE__API_KEYS__TEST__KEY".to_owned(), KEY.to_owned())];
    for (name, value) in settings {
        let section = if name.contains("__") { "" } else { "SERVER__" };
        environment.push((format!("SAMPLE__{section}{name}"), (*value).to_owned()));
        if *name == "MAX_CONNECTIONS" {
            let requests = "SAMPLE__LIMITS__MAX_REQUESTS_IN_PROGRESS".to_owned();
            environment.push((requests, (*value).to_owned()));
        }
    }
    let sources = Sources::new("sample", &[], Arguments::default()).with_environment(environment);
    Process::new("sample", sources).unwrap()
}

/// A server on a port of its own.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) end: JoinHandle<Result<(), ServerError>>,
}

impl Running {
    /// Serves these routes with these settings of `[server]`, without an edge.
    pub(crate) async fn start(settings: &[(&str, &str)], routes: Router) -> Self {
        let process = process(settings);
        let settings = process.settings().common.server.clone();
        Self::serve_with(&process, settings, routes).await
    }

    /// The same, but a request's head has only 100 ms to arrive.
    pub(crate) async fn impatient(settings: &[(&str, &str)], routes: Router) -> Self {
        let process = process(settings);
        let mut settings = process.settings().common.server.clone();
        settings.header_read_timeout = Duration::from_millis(100);
        Self::serve_with(&process, settings, routes).await
    }

    /// Serves these routes behind the edge.
    pub(crate) async fn behind_edge(settings: &[(&str, &str)], routes: Router) -> Self {
        let process = process(settings);
        let routes = OpenApiRouter::from(routes);
        let routes = Routes::new(OpenApi::default()).with(Surface::keyed(&[Scope::Api]), routes);
        let public = process.assemble(routes, &process.readiness()).public;
        let settings = process.settings().common.server.clone();
        Self::serve(&process, settings, public).await
    }

    /// Serves these routes with settings of `[server]` that a test has changed.
    pub(crate) async fn serve_with(
        process: &Process<Nothing>,
        settings: ServerSettings,
        routes: Router,
    ) -> Self {
        let unchanged = std::convert::identity::<Response> as fn(_) -> _;
        Self::serve(process, settings, MapResponse::new(routes, unchanged)).await
    }

    async fn serve(
        process: &Process<Nothing>,
        settings: ServerSettings,
        application: Application,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = process.shutdown().clone();
        let stop = shutdown.clone();
        let end =
            tokio::spawn(
                async move { server::serve(listener, application, &settings, stop).await },
            );
        Self {
            address,
            shutdown,
            end,
        }
    }

    pub(crate) async fn connect(&self) -> Caller<TcpStream> {
        Caller(TcpStream::connect(self.address).await.unwrap())
    }

    /// Waits until nobody listens any more.
    pub(crate) async fn until_refused(&self) {
        within(async {
            while TcpStream::connect(self.address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// One connection that writes and reads bytes as they are.
pub(crate) struct Caller<S>(pub(crate) S);

impl<S: AsyncRead + AsyncWrite + Unpin> Caller<S> {
    pub(crate) async fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    pub(crate) async fn get(&mut self, path: &str) {
        self.write(&format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nX-Api-Key: {KEY}\r\n\r\n"
        ))
        .await;
    }

    /// One answer: its head and its body, by its `Content-Length`.
    pub(crate) async fn answer(&mut self) -> (String, String) {
        within(async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(self.0.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).await.unwrap();
            (head, String::from_utf8(body).unwrap())
        })
        .await
    }

    /// What still comes until the server closes the connection.
    pub(crate) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        // A reset is an end as well.
        let _ = within(self.0.read_to_end(&mut bytes)).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Fails a test instead of letting it hang.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("nothing happened for 30 s")
}
