use std::{io, net::IpAddr, path::Path, sync::Arc, time::Duration};

use rustls::{
    ServerConfig,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use settings::{Violations, millis, read_file, seconds, section};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::listener::listen;
use crate::{error_chain::chain, tls::install_crypto_provider};

section! {
    /// The section `[server]`.
    pub struct ServerSettings checked by ServerSettings::usable_certificate {
        /// Address to listen on. 127.0.0.1 keeps the service on this machine; containers use
        /// 0.0.0.0.
        pub address: IpAddr = "127.0.0.1";
        /// Port to listen on, which each service sets for itself; 0 lets the system choose one.
        pub port: u16 = 0, in 0..=u16::MAX;
        /// Connections served at once, as far as the system's hard limit on open files allows; more
        /// wait in the listen queue.
        pub max_connections: usize = 4096, in 1..=100_000;
        /// Time to receive a request's head, to stay idle between two requests, and to drop the
        /// rest of a request that was refused.
        pub header_read_timeout: Duration => seconds(5);
        /// Time for a request from its head to its answer, or what its X-Deadline-Ms says if that
        /// is less; then 503, or 408 while its body is still coming.
        pub request_deadline: Duration = "10s", in millis(10)..=seconds(600);
        /// Longest wait for a caller to take more of an answer; then its connection is closed. Who
        /// takes nothing for so long is gone.
        pub send_timeout: Duration => seconds(30);
        /// On SIGTERM: how long requests are still accepted while readiness says no.
        pub drain_delay: Duration = "2s", in Duration::ZERO..=seconds(300);
        /// After that: how long requests in flight may still take.
        pub shutdown_timeout: Duration = "10s", in Duration::ZERO..=seconds(300);
        /// PEM file of the certificate chain for HTTPS; empty = plain HTTP.
        pub tls_certificate: String = "";
        /// PEM file of its private key.
        pub tls_private_key: String = "";
    }
    removed {
        "header_read_timeout" => "is 5s",
        "send_timeout" => "is 30s",
    }
}

impl ServerSettings {
    fn usable_certificate(&self, at: &str, violations: &mut Violations) {
        let certificate = Violations::path(at, "tls_certificate");
        if self.tls_certificate.is_empty() != self.tls_private_key.is_empty() {
            let rule = "is needed together with server.tls_private_key";
            violations.report(&certificate, rule);
        } else if let Err(error) = self.tls() {
            violations.report(&certificate, chain(&error));
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
        let certificates = CertificateDer::pem_slice_iter(&read(&self.tls_certificate)?)
            .collect::<Result<_, _>>()
            .map_err(|source| pem(&self.tls_certificate, source))?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.tls_private_key)?)
            .map_err(|source| pem(&self.tls_private_key, source))?;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .map_err(ServerError::Certificate)?;
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
    }
}

fn read(file: &str) -> Result<Vec<u8>, ServerError> {
    read_file(Path::new(file)).map_err(|reason| ServerError::Unreadable {
        file: file.to_owned(),
        reason,
    })
}

fn pem(file: &str, source: pem::Error) -> ServerError {
    ServerError::Pem {
        file: file.to_owned(),
        source,
    }
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The port cannot be listened on.
    #[error("{setting}: cannot listen on port {port}")]
    Listen {
        /// The setting that names the port.
        setting: &'static str,
        /// The port.
        port: u16,
        /// The system's reason.
        source: io::Error,
    },
    /// A file of certificates or keys cannot be read.
    #[error("{file}: {reason}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why not.
        reason: String,
    },
    /// A file holds no PEM.
    #[error("{file}: no usable PEM file")]
    Pem {
        /// The file.
        file: String,
        /// The reason.
        source: pem::Error,
    },
    /// The certificate and the key do not fit.
    #[error("the certificate does not fit server.tls_private_key")]
    Certificate(#[source] rustls::Error),
}
