//! One service process, from its settings to its end.

pub mod check;
mod command;
mod healthcheck;
pub mod lifecycle;
pub mod server;
pub mod service;
pub mod tasks;

use ::settings::{Gauges, Loaded, SettingsError, Sources, log};
use access_tokens::{BuildError, KeysState, Tokens};
use mimalloc::MiMalloc;
use opentelemetry::metrics::Meter;
use tokio::net::TcpListener;

pub use self::command::{Command, CommandLine, EXIT_CODES, NewLog, Start, block_on, main, run};
use self::{
    lifecycle::Shutdown,
    server::{ServerError, descriptors},
    tasks::{OnEnd, Tasks},
};
use crate::{
    access::KeyRing,
    assembly::{self, Assembled, Parts},
    credentials::Credentials,
    health::{Check, Readiness},
    metrics::{Metrics, MetricsError},
    settings::{Checked, Live, Settings},
    surface::Routes,
    telemetry::TelemetryError,
};

/// Under thousands of connections the allocator of glibc costs a fifth of the service's time, and
/// it keeps what they took.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// A service's settings and everything that it shares with the others at its edge. Clones share
/// it.
pub struct Process<S> {
    service: &'static str,
    sources: Sources,
    settings: Live<S>,
    metrics: Metrics,
    credentials: Credentials,
    shutdown: Shutdown,
    tasks: Tasks,
}

// Derived, it would ask for settings that can be cloned.
impl<S> Clone for Process<S> {
    fn clone(&self) -> Self {
        Self {
            service: self.service,
            sources: self.sources.clone(),
            settings: self.settings.clone(),
            metrics: self.metrics.clone(),
            credentials: self.credentials.clone(),
            shutdown: self.shutdown.clone(),
            tasks: self.tasks.clone(),
        }
    }
}

/// Why a service did not start or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Its settings cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Its metrics cannot be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Its logs or traces cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// Tokens cannot be verified.
    #[error(transparent)]
    Tokens(#[from] BuildError),
    /// It cannot listen.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// It cannot be told to stop.
    #[error("signals cannot be received")]
    Signals(#[from] std::io::Error),
    /// A background task ended, without which it is of no use.
    #[error("the background task `{0}` has ended")]
    Task(&'static str),
}

impl<S: Checked> Process<S> {
    /// Loads the settings of the service of this name.
    pub fn new(service: &'static str, sources: Sources) -> Result<Self, ProcessError> {
        let loaded = sources.read().0?;
        Self::started(service, sources, loaded)
    }

    fn started(
        service: &'static str,
        sources: Sources,
        loaded: Loaded<Settings<S>>,
    ) -> Result<Self, ProcessError> {
        let metrics = Metrics::new(service)?;
        let common = &loaded.settings.common;
        let credentials = Credentials {
            keys: KeyRing::new(&common.api_keys),
            tokens: Tokens::new(&common.tokens, metrics.meter())?,
        };
        Gauges::new(metrics.meter()).record(&loaded.settings.worst_case());
        let (settings, shutdown) = (Live::new(loaded), Shutdown::default());
        let tasks = Tasks::new(shutdown.clone());
        Ok(Self {
            service,
            sources,
            settings,
            metrics,
            credentials,
            shutdown,
            tasks,
        })
    }

    /// The settings in force, also after a reload.
    pub fn live(&self) -> &Live<S> {
        &self.settings
    }

    /// The settings in force now.
    pub fn settings(&self) -> std::sync::Arc<Settings<S>> {
        self.settings.snapshot()
    }

    /// Makes instruments of this service.
    pub fn meter(&self) -> &Meter {
        self.metrics.meter()
    }

    /// Tells when the service is stopping, or makes it stop.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// What the process does beside requests.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// A readiness that already knows about stopping, about settings that were not taken and about
    /// the keys of tokens.
    pub fn readiness(&self) -> Readiness {
        let readiness = Readiness::new(self.shutdown.clone());
        let readiness = match self.credentials.tokens.clone() {
            None => readiness,
            Some(tokens) => readiness.with_check("tokens", move || {
                std::future::ready(about_keys(tokens.keys()))
            }),
        };
        let settings = self.settings.clone();
        readiness.with_check("settings", move || {
            // Why they were refused is for the log: readiness is open to everyone.
            let waiting = settings.awaiting_restart();
            let check = match settings.last_error() {
                Some(_) => Check::warn("settings", "refused; the last good ones are in force"),
                None if waiting.is_empty() => Check::pass("settings"),
                None => {
                    let detail = format!("a restart is needed for {}", waiting.join(", "));
                    Check::warn("settings", detail)
                }
            };
            std::future::ready(check)
        })
    }

    /// Puts the edge around the service's routes, and begins to fetch the keys of tokens.
    pub fn assemble(&self, routes: Routes, readiness: &Readiness) -> Assembled {
        if let Some(tokens) = &self.credentials.tokens {
            let tokens = tokens.clone();
            self.tasks.spawn("token keys", OnEnd::Restart, move |told| {
                let tokens = tokens.clone();
                async move {
                    told.run_until_cancelled(tokens.keep_keys()).await;
                }
            });
        }
        assembly::assemble(
            routes,
            &Parts {
                settings: &self.settings().common,
                credentials: &self.credentials,
                metrics: &self.metrics,
                readiness,
                shutdown: &self.shutdown,
            },
        )
    }

    /// Follows the settings files, for as long as it is polled.
    pub fn follow_settings(&self) -> impl Future<Output = ()> + Send + use<S> {
        let (keys, gauges) = (self.credentials.keys.clone(), Gauges::new(self.meter()));
        let apply = move |settings: &Settings<S>| {
            keys.replace(&settings.common.api_keys);
            let figures = settings.worst_case();
            gauges.record(&figures);
            log(&figures);
        };
        let (sources, meter) = (self.sources.clone(), self.meter().clone());
        self.settings.clone().follow(sources, meter, apply)
    }

    /// Serves until a signal, on this socket or on the one that the settings name.
    pub async fn serve(
        &self,
        assembled: Assembled,
        listener: Option<TcpListener>,
    ) -> Result<(), ProcessError> {
        let common = &self.settings().common;
        let (listeners, each) = (common.listeners(), common.connections_each());
        let settings = &descriptors::prepare(&common.server, listeners, each);
        let listener = match listener {
            Some(listener) => listener,
            None => settings.bind()?,
        };
        self.shutdown.on_signals()?;
        let address = listener.local_addr()?;
        let management = match assembled.management {
            None => None,
            Some(router) => {
                let port = common.management.port;
                Some((settings.bind_port("management.port", port)?, router))
            }
        };
        log(&self.settings().worst_case());
        let of = |(listener, _): &(TcpListener, _)| listener.local_addr();
        let other = management.as_ref().map(of).transpose()?;
        let other = other.map(tracing::field::display);
        tracing::info!(service = self.service, %address, management = other, "listening");
        let serve =
            |listener, router| server::serve(listener, router, settings, self.shutdown.clone());
        let served = match management {
            None => serve(listener, assembled.public).await,
            Some((other, router)) => {
                tokio::try_join!(serve(listener, assembled.public), serve(other, router))
                    .map(|_| ())
            }
        };
        let until = self.shutdown.begun_at() + settings.drain_delay + settings.shutdown_timeout;
        self.tasks.stop(until).await;
        served?;
        if let Some(task) = self.tasks.failed() {
            return Err(ProcessError::Task(task));
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// A failure only until the first fetch has ended, which takes seconds: who sends tokens is to find
/// the keys there. From then on keys in `X-Api-Key` go on working.
fn about_keys(state: KeysState) -> Check {
    let warn = |detail| Check::warn("tokens", detail);
    match state {
        KeysState::Fresh => Check::pass("tokens"),
        KeysState::Stale => {
            warn("the keys of their issuer cannot be fetched; the last ones are in force for 24 h")
        }
        KeysState::Expired => warn("their issuer has been away for 24 h: they are refused"),
        KeysState::Missing => {
            warn("the keys of their issuer could not be fetched yet: they are refused")
        }
        KeysState::Fetching => Check::fail("tokens", "the keys of their issuer are being fetched"),
        KeysState::Empty => warn("their issuer has no key that can be used: they are refused"),
    }
}

#[cfg(test)]
mod tests {
    use access_tokens::KeysState;

    use super::about_keys;
    use crate::health::CheckStatus;

    #[test]
    fn an_issuer_that_is_away_makes_no_service_unready() {
        for (state, status) in [
            (KeysState::Fresh, CheckStatus::Pass),
            (KeysState::Stale, CheckStatus::Warn),
            (KeysState::Expired, CheckStatus::Warn),
            (KeysState::Missing, CheckStatus::Warn),
            (KeysState::Empty, CheckStatus::Warn),
            (KeysState::Fetching, CheckStatus::Fail),
        ] {
            assert_eq!(about_keys(state).status, status, "{state:?}");
        }
    }
}
