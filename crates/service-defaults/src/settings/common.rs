use std::collections::BTreeMap;

use serde::Deserialize;

use super::Violations;
use crate::{
    api_keys::{self, ApiKeySettings},
    edge::{CorsSettings, ManagementSettings, SwaggerSettings},
    limits::LimitSettings,
    rate_limit::RateLimitSettings,
    server::ServerSettings,
    telemetry::{LogSettings, TelemetrySettings},
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
    /// A digest of each section that is read at the start only.
    pub(super) at_start: BTreeMap<String, u64>,
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
    pub(super) fn check(&self, violations: &mut Violations) {
        self.server.check(violations);
        self.limits.check(violations);
        self.rate_limit.check(violations);
        api_keys::check(&self.api_keys, violations);
        self.management.check(&self.server, violations);
        self.cors.check(violations);
        self.log.check(violations);
        self.telemetry.check(violations);
    }
}
