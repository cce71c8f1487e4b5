//! `--healthcheck`: asks the service that runs with the same settings whether it is ready, so that
//! an image without a shell or an HTTP client can tell.
//!
//! It asks `/readyz` and not `/healthz`, because a container's health is what `docker compose`
//! waits for before it starts whatever depends on the service.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::{Client, StatusCode, redirect::Policy};
use settings::{SettingsError, Sources};
use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

use crate::{
    management::ManagementSettings,
    server::ServerSettings,
    settings::{Checked, CommonSettings, Settings},
    tls::install_crypto_provider,
};

/// Longest wait for the settings and the answer; readiness takes 1 s at most.
const LIMIT: Duration = Duration::from_secs(2);

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
    Connection(SocketAddr, #[source] reqwest::Error),
    #[error("{0} is not ready: {1} {2}")]
    NotReady(SocketAddr, StatusCode, String),
}

/// Asks the service that runs with the settings of these sources; and what there is to say about
/// these.
pub(crate) async fn ask<S: Checked>(sources: Sources) -> (Result<(), Unhealthy>, Vec<String>) {
    let until = Instant::now() + LIMIT;
    // A file may stall.
    let read = spawn_blocking(move || sources.read::<Settings<S>>());
    let Ok(Ok((loaded, warnings))) = timeout_at(until, read).await else {
        return (Err(Unhealthy::NoSettings), Vec::new());
    };
    let healthy = match loaded {
        Ok(loaded) => ready(&loaded.settings.common, until).await,
        Err(error) => Err(error.into()),
    };
    (healthy, warnings)
}

async fn ready(common: &CommonSettings, until: Instant) -> Result<(), Unhealthy> {
    let server = &common.server;
    let at = address(server, &common.management).ok_or(Unhealthy::NoPort)?;
    let asked = timeout_at(until, readiness(server.scheme(), at)).await;
    let (status, report) = asked
        .map_err(|_| Unhealthy::Silent(at))?
        .map_err(|error| Unhealthy::Connection(at, error.without_url()))?;
    match status {
        StatusCode::OK => Ok(()),
        other => Err(Unhealthy::NotReady(at, other, report)),
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

async fn readiness(scheme: &str, at: SocketAddr) -> reqwest::Result<(StatusCode, String)> {
    install_crypto_provider();
    let client = Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        // The certificate is made for the service's public name, which is not asked here, and the
        // request holds no secret.
        .tls_danger_accept_invalid_certs(true)
        .build()?;
    let answer = client.get(format!("{scheme}://{at}/readyz")).send().await?;
    Ok((answer.status(), answer.text().await?))
}

#[cfg(test)]
mod tests {
    use settings::{Arguments, Sources};
    use tokio::{net::TcpListener, time::Instant};

    use super::{Unhealthy, ask};
    use crate::settings::Checked;

    ::settings::section! {
        /// A service with nothing but what all services have.
        pub(crate) struct Nothing {}
    }

    impl Checked for Nothing {}

    #[tokio::test(start_paused = true)]
    async fn a_service_that_says_nothing_is_given_up_after_two_seconds() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = silent.local_addr().unwrap().port().to_string();
        let sources = Sources::new("sample", &[], Arguments::default()).with_environment([
            ("SAMPLE__SERVER__PORT", &*port),
            ("SAMPLE__API_KEYS__TEST__KEY", "sample-key-0123456789"),
        ]);
        let asked = Instant::now();
        let (answer, _) = ask::<Nothing>(sources).await;
        assert!(matches!(answer, Err(Unhealthy::Silent(_))), "{answer:?}");
        assert_eq!(asked.elapsed().as_secs(), 2);
    }
}
