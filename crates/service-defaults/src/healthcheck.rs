//! `--healthcheck`: asks the service that runs with the same settings whether it is ready, so that
//! an image without a shell or an HTTP client can tell.
//!
//! It asks `/readyz` and not `/healthz`, because a container's health is what `docker compose`
//! waits for before it starts whatever depends on the service.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use crate::{
    management::ManagementSettings,
    server::ServerSettings,
    settings::{Checked, Settings, SettingsError, Sources},
    tls::install_crypto_provider,
};

/// Longest wait for the settings and the answer; readiness takes 1 s at most.
const LIMIT: Duration = Duration::from_secs(2);
const MAX_ANSWER_BYTES: u64 = 64 * 1024;
const REQUEST: &[u8] = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Why a service does not count as healthy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unhealthy {
    #[error("the settings cannot be used")]
    Settings(#[from] SettingsError),
    #[error("the settings were not read within 2s")]
    NoSettings,
    #[error("server.port is 0: where it listens is not known")]
    NoPort,
    #[error("{0} gave no answer within 2s")]
    Silent(SocketAddr),
    #[error("{0} cannot be asked")]
    Connection(SocketAddr, #[source] io::Error),
    #[error("{0} is not ready: {1}")]
    NotReady(SocketAddr, String),
}

/// Asks the service that runs with the settings of these sources.
pub(crate) async fn ask<S: Checked>(sources: Sources) -> Result<(), Unhealthy> {
    let until = Instant::now() + LIMIT;
    // A file may stall.
    let load = spawn_blocking(move || sources.load::<Settings<S>>());
    let Ok(Ok(settings)) = timeout_at(until, load).await else {
        return Err(Unhealthy::NoSettings);
    };
    let common = settings?.common;
    let server = &common.server;
    let at = address(server, &common.management).ok_or(Unhealthy::NoPort)?;
    let asked = timeout_at(until, ask_at(at, server.scheme() == "https")).await;
    let answer = asked
        .map_err(|_| Unhealthy::Silent(at))?
        .map_err(|error| Unhealthy::Connection(at, error))?;
    if answer.starts_with("HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(Unhealthy::NotReady(at, answer))
    }
}

/// Where the management routes are.
fn address(server: &ServerSettings, management: &ManagementSettings) -> Option<SocketAddr> {
    let port = match management.port {
        0 => server.port,
        own => own,
    };
    let address = match server.address {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        one => one,
    };
    (port != 0).then_some((address, port).into())
}

async fn ask_at(at: SocketAddr, https: bool) -> io::Result<String> {
    let stream = TcpStream::connect(at).await?;
    if !https {
        return talk(stream).await;
    }
    install_crypto_provider();
    let config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OurselvesAnyway))
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    talk(connector.connect(at.ip().into(), stream).await?).await
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<String> {
    stream.write_all(REQUEST).await?;
    let mut answer = Vec::new();
    let mut bounded = stream.take(MAX_ANSWER_BYTES);
    bounded.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Takes any certificate: it is made for the service's public name, which is not asked here, and
/// the request holds no secret.
#[derive(Debug)]
struct OurselvesAnyway;

impl ServerCertVerifier for OurselvesAnyway {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
