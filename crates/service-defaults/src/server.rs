//! The HTTP/1.1 server: bounded connections, time limits on receiving a request's head and on
//! sending an answer, and a stop that no request in flight notices.
//!
//! `axum::serve` has none of these. Plain HTTP speaks HTTP/1.1 only, because detecting HTTP/2 by
//! its preface has no time limit in hyper-util: a client that sends half of it would stay forever.

mod impatient;
#[cfg(test)]
mod tests;

use std::{convert::Infallible, io, path::Path, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::impatient::Impatient;
use crate::{
    lifecycle::Shutdown,
    process::chain,
    settings::{Violations, duration},
};

/// Room for the largest head that `[limits]` can allow, so that our own limits answer first.
const HEAD_BUFFER_BYTES: usize = 128 * 1024;
const MAX_HEADERS: usize = 256;
/// Pause after a failed accept (descriptors used up), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The section `[server]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// Address to listen on.
    pub address: std::net::IpAddr,
    /// Port to listen on; 0 lets the system choose.
    pub port: u16,
    /// Connections served at once.
    pub max_connections: usize,
    /// Time to receive a request's head, and to stay idle between two.
    #[serde(with = "duration")]
    pub header_read_timeout: Duration,
    /// Time for one request.
    #[serde(with = "duration")]
    pub request_deadline: Duration,
    /// Longest wait for a caller to take more of an answer.
    #[serde(with = "duration")]
    pub send_timeout: Duration,
    /// How long requests are accepted after the stop began.
    #[serde(with = "duration")]
    pub drain_delay: Duration,
    /// How long requests in flight may take after that.
    #[serde(with = "duration")]
    pub shutdown_timeout: Duration,
    /// PEM file of the certificate chain; empty = plain HTTP.
    pub tls_certificate: String,
    /// PEM file of the private key.
    pub tls_private_key: String,
}

impl ServerSettings {
    /// Reports values out of bounds.
    pub fn check(&self, violations: &mut Violations) {
        let seconds = Duration::from_secs;
        let millis = Duration::from_millis;
        violations.range("server.max_connections", &self.max_connections, 1..=100_000);
        let bounds = millis(100)..=seconds(60);
        violations.duration(
            "server.header_read_timeout",
            self.header_read_timeout,
            bounds,
        );
        let bounds = millis(10)..=seconds(600);
        violations.duration("server.request_deadline", self.request_deadline, bounds);
        let bounds = millis(100)..=seconds(600);
        violations.duration("server.send_timeout", self.send_timeout, bounds);
        let bounds = Duration::ZERO..=seconds(300);
        violations.duration("server.drain_delay", self.drain_delay, bounds.clone());
        violations.duration("server.shutdown_timeout", self.shutdown_timeout, bounds);
        if self.tls_certificate.is_empty() != self.tls_private_key.is_empty() {
            let rule = "is needed together with server.tls_private_key";
            violations.report("server.tls_certificate", rule);
        } else if let Err(error) = self.tls() {
            violations.report("server.tls_certificate", chain(&error));
        }
    }

    /// Opens the listening socket.
    pub async fn bind(&self) -> Result<TcpListener, ServerError> {
        self.bind_port("server.port", self.port).await
    }

    /// Opens a listening socket on the port of another setting, of the same address.
    pub async fn bind_port(
        &self,
        setting: &'static str,
        port: u16,
    ) -> Result<TcpListener, ServerError> {
        let listener = TcpListener::bind((self.address, port)).await;
        listener.map_err(|source| ServerError::Listen {
            setting,
            port,
            source,
        })
    }

    /// The scheme of the URLs that lead here.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls_certificate.is_empty() {
            "http"
        } else {
            "https"
        }
    }

    fn tls(&self) -> Result<Option<TlsAcceptor>, ServerError> {
        if self.tls_certificate.is_empty() {
            return Ok(None);
        }
        install_crypto_provider();
        let pem = |file: &str, source| ServerError::Pem {
            file: file.to_owned(),
            source,
        };
        let certificates = CertificateDer::pem_file_iter(Path::new(&self.tls_certificate))
            .and_then(Iterator::collect)
            .map_err(|source| pem(&self.tls_certificate, source))?;
        let key = PrivateKeyDer::from_pem_file(Path::new(&self.tls_private_key))
            .map_err(|source| pem(&self.tls_private_key, source))?;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .map_err(ServerError::Certificate)?;
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
    }
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The port cannot be listened on.
    #[error("{setting}: cannot listen on port {port}; is another program using it?")]
    Listen {
        /// The setting that names the port.
        setting: &'static str,
        /// The port.
        port: u16,
        /// The system's reason.
        source: io::Error,
    },
    /// A PEM file cannot be read.
    #[error("{file}: no usable PEM file")]
    Pem {
        /// The file.
        file: String,
        /// The reason.
        source: rustls::pki_types::pem::Error,
    },
    /// The certificate and the key do not fit.
    #[error("the certificate does not fit server.tls_private_key")]
    Certificate(#[source] rustls::Error),
}

/// Makes ring the process's TLS implementation; further calls change nothing.
pub fn install_crypto_provider() {
    // Fails only when one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Serves the router until the stop begins, then for the drain delay, then until the requests in
/// flight are done or the shutdown timeout is over.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: &ServerSettings,
    shutdown: Shutdown,
) -> Result<(), ServerError> {
    let server = Server {
        router,
        tls: settings.tls()?,
        header_read_timeout: settings.header_read_timeout,
        send_timeout: settings.send_timeout,
        closing: CancellationToken::new(),
        cut: CancellationToken::new(),
        connections: TaskTracker::new(),
    };
    let places = Arc::new(Semaphore::new(settings.max_connections));
    tokio::select! {
        never = server.accept(listener, places) => match never {},
        () = async { shutdown.begun().await; sleep(settings.drain_delay).await } => {}
    }
    server.closing.cancel();
    server.connections.close();
    if timeout(settings.shutdown_timeout, server.connections.wait())
        .await
        .is_err()
    {
        let open = server.connections.len();
        tracing::warn!(
            open,
            "connections were cut at the end of server.shutdown_timeout"
        );
        server.cut.cancel();
        server.connections.wait().await;
    }
    Ok(())
}

struct Server {
    router: Router,
    tls: Option<TlsAcceptor>,
    header_read_timeout: Duration,
    send_timeout: Duration,
    closing: CancellationToken,
    cut: CancellationToken,
    connections: TaskTracker,
}

impl Server {
    async fn accept(&self, listener: TcpListener, places: Arc<Semaphore>) -> Infallible {
        loop {
            // Held by the connection; while none is left, new ones wait in the listen queue.
            let Ok(place) = places.clone().acquire_owned().await else {
                continue;
            };
            match listener.accept().await {
                Ok((stream, _)) => self.spawn(stream, place),
                Err(error) => {
                    tracing::warn!(%error, "no connection accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn spawn(&self, stream: TcpStream, place: OwnedSemaphorePermit) {
        let (router, closing) = (self.router.clone(), self.closing.clone());
        let (tls, limit) = (self.tls.clone(), self.header_read_timeout);
        // Small answers must not wait for a full packet; a failure only costs latency.
        let _ = stream.set_nodelay(true);
        let stream = Impatient::new(stream, self.send_timeout);
        let conversation = async move {
            let _place = place;
            match tls {
                None => converse(stream, router, limit, closing).await,
                Some(tls) => {
                    if let Ok(Ok(stream)) = timeout(limit, tls.accept(stream)).await {
                        converse(stream, router, limit, closing).await;
                    }
                }
            }
        };
        let cut = self.cut.clone();
        self.connections
            .spawn(async move { cut.run_until_cancelled(conversation).await });
    }
}

/// Serves one connection to its end. Its errors are the peer's: gone, slow or not speaking HTTP.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    header_read_timeout: Duration,
    closing: CancellationToken,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_read_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(HEAD_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        // A request that has arrived is read before the connection is told to close.
        biased;
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}
