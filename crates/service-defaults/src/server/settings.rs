use std::{io, path::Path, sync::Arc, time::Duration};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::listener::listen;
use crate::{
    error_chain::chain,
    settings::{Violations, duration},
    tls::install_crypto_provider,
};

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
    pub fn bind(&self) -> Result<TcpListener, ServerError> {
        self.bind_port("server.port", self.port)
    }

    /// Opens a listening socket on the port of another setting, of the same address.
    pub fn bind_port(&self, setting: &'static str, port: u16) -> Result<TcpListener, ServerError> {
        listen((self.address, port).into()).map_err(|source| ServerError::Listen {
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

    pub(super) fn tls(&self) -> Result<Option<TlsAcceptor>, ServerError> {
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
