use serde::Deserialize;

use super::{Checked, SettingsError, Violations, sections::Sections};
use crate::{
    api_keys::{self, ApiKeySettings},
    cors::CorsSettings,
    limits::LimitSettings,
    management::ManagementSettings,
    rate_limit::RateLimitSettings,
    server::{ServerSettings, descriptors},
    swagger::SwaggerSettings,
    telemetry::{LogSettings, TelemetrySettings},
    worst_case::Figure,
};

/// The part of the manual that all services share.
pub(super) const MANUAL: &str = include_str!("../../config.toml");

/// The sections of [`CommonSettings`]; every other one is the service's own.
pub(super) const SECTIONS: [&str; 9] = [
    "server",
    "limits",
    "rate_limit",
    "api_keys",
    "management",
    "swagger",
    "cors",
    "log",
    "telemetry",
];

/// The sections of [`CommonSettings`] that take effect while a service runs.
pub(super) const LIVE: [&str; 1] = ["api_keys"];

/// One consistent set of settings of a service.
#[derive(Debug)]
pub struct Settings<S> {
    /// What every service has.
    pub common: CommonSettings,
    /// What this service has.
    pub service: S,
    /// The files that they come from.
    pub(super) fingerprint: u64,
    /// What they were read from.
    pub(super) sections: Sections,
}

impl<S: Checked> Settings<S> {
    /// What they allow at worst: the edge first, then what the service does behind it.
    pub fn worst_case(&self) -> Vec<Figure> {
        let mut figures = self.common.worst_case();
        figures.extend(self.service.worst_case(&self.common));
        figures
    }

    /// As far as they take effect in a process that was started with these sections, and the
    /// sections that do not.
    pub(super) fn in_force(self, started: &Sections) -> Result<(Self, Vec<String>), SettingsError> {
        let waiting = self.sections.awaiting_restart::<S>(started);
        if waiting.is_empty() {
            return Ok((self, waiting));
        }
        let sections = self.sections.over::<S>(started);
        let (common, service) = sections.read()?;
        let fingerprint = self.fingerprint;
        let settings = Self {
            common,
            service,
            fingerprint,
            sections,
        };
        Ok((settings, waiting))
    }
}

/// The settings that every service has.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommonSettings {
    /// Listening, time limits, stopping.
    pub server: ServerSettings,
    /// Bounds on requests.
    pub limits: LimitSettings,
    /// Bounds on each key.
    pub rate_limit: RateLimitSettings,
    /// Keys.
    pub api_keys: ApiKeySettings,
    /// Where the management routes are.
    pub management: ManagementSettings,
    /// Whether there is a Swagger UI.
    pub swagger: SwaggerSettings,
    /// Who may call from a browser.
    pub cors: CorsSettings,
    /// Log lines.
    pub log: LogSettings,
    /// Traces.
    pub telemetry: TelemetrySettings,
}

impl CommonSettings {
    /// How many sockets are listened on.
    pub(crate) fn listeners(&self) -> u64 {
        if self.management.port == 0 { 1 } else { 2 }
    }

    /// Connections of each listener, as far as the system's limit on open files leaves room.
    pub(crate) fn connections_each(&self) -> usize {
        let wanted = self.server.max_connections;
        let room = descriptors::room().map(|room| room / self.listeners());
        room.and_then(|room| usize::try_from(room).ok())
            .map_or(wanted, |room| wanted.min(room).max(1))
    }

    pub(super) fn check(&self, violations: &mut Violations) {
        self.server.check(violations);
        self.limits.check(violations);
        let (requests, connections) = (
            self.limits.max_requests_in_progress,
            self.server.max_connections,
        );
        if requests > connections {
            let rule = format_args!(
                "{requests} is never reached: a connection has one request in progress, and \
                 server.max_connections = {connections}"
            );
            violations.report("limits.max_requests_in_progress", rule);
        }
        self.rate_limit.check(violations);
        api_keys::check(&self.api_keys, violations);
        self.management.check(&self.server, violations);
        self.cors.check(violations);
        self.log.check(violations);
        self.telemetry.check(violations);
    }
}
