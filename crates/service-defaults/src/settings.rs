//! What every service has settings for, beside its own.

use std::time::Duration;

use ::settings::{Field, Figure, Reader, Section, Violations, section};
use access_tokens::TokenSettings;

use crate::{
    access::{self, ApiKeySettings},
    cors::CorsSettings,
    limits::LimitSettings,
    management::ManagementSettings,
    rate_limit::RateLimitSettings,
    server::{ServerSettings, descriptors},
    swagger::SwaggerSettings,
    telemetry::{LogSettings, TelemetrySettings},
};

/// The settings in force in a service.
pub type Live<S> = ::settings::Live<Settings<S>>;

/// The settings that one service has beside the common ones.
pub trait Checked: Section {
    /// Reports what contradicts the common settings, and what contradicts something in another
    /// section.
    fn check(&self, common: &CommonSettings, violations: &mut Violations) {
        let _ = (common, violations);
    }

    /// What the service's settings allow at worst, beside what the edge does
    /// ([`CommonSettings::worst_case`]).
    fn worst_case(&self) -> Vec<Figure> {
        Vec::new()
    }

    /// What else `check` says: names and values, such as a public key.
    fn facts(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// What they allow at worst when whom the service calls works for this long on each call,
    /// whoever waits for it.
    fn worst_case_at_work(&self, work: Duration) -> Vec<Figure> {
        let _ = work;
        Vec::new()
    }
}

/// One consistent set of settings of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings<S> {
    /// What every service has.
    pub common: CommonSettings,
    /// What this service has.
    pub service: S,
}

impl<S: Checked> Settings<S> {
    /// What they allow at worst: the edge first, then what the service does behind it.
    pub fn worst_case(&self) -> Vec<Figure> {
        let mut figures = self.common.worst_case();
        figures.extend(self.service.worst_case());
        figures
    }
}

impl<S: Checked> Section for Settings<S> {
    fn fields() -> Vec<Field> {
        let mut fields = CommonSettings::fields();
        fields.extend(S::fields());
        fields
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (common, service) = (CommonSettings::read(reader), S::read(reader));
        Some(Self {
            common: common?,
            service: service?,
        })
    }

    fn rules(&self, at: &str, violations: &mut Violations) {
        self.common.rules(at, violations);
        self.service.rules(at, violations);
        self.service.check(&self.common, violations);
    }

    fn keep_started(&mut self, started: &Self) -> Vec<&'static str> {
        let mut waiting = self.common.keep_started(&started.common);
        waiting.extend(self.service.keep_started(&started.service));
        waiting
    }
}

section! {
    /// The settings that every service has.
    pub struct CommonSettings checked by CommonSettings::contradictions {
        /// Listening, time limits, stopping.
        pub server: ServerSettings;
        /// Bounds on requests.
        pub limits: LimitSettings;
        /// Bounds on each key, and on each subject of tokens.
        pub rate_limit: RateLimitSettings;
        /// Keys of the X-Api-Key header, one table for each: `[api_keys.<id>]`. The id (a-z, 0-9,
        /// _) appears in logs, the key never. Each has `key` (16 characters or more) or `sha256`
        /// (its SHA-256 in hexadecimal), and may have `expires_at` (RFC 3339, UTC) and `scopes`: a
        /// list, comma-separated in a variable, of "read" (lookups), "write" (changes), "admin"
        /// (prices, and what is under /api/v1/operations/), "feed" (events, and a copy of all that they are
        /// about) and "audit" (who changed what). None implies another one. "api" (the default) and
        /// "operations" open what they opened before there were the others: the lookups, and the
        /// control of the guard. `client` is the name of the caller that several keys belong to, as
        /// in a rotation; without it, the id. At least one key is needed.
        pub api_keys: ApiKeySettings = {}, where access::check;
        /// Access tokens of an OpenID provider beside the keys.
        pub tokens: TokenSettings;
        /// The management routes.
        pub management: ManagementSettings;
        /// The page to try the API.
        pub swagger: SwaggerSettings;
        /// Who may call from a browser.
        pub cors: CorsSettings;
        /// Log lines.
        pub log: LogSettings;
        /// Traces.
        pub telemetry: TelemetrySettings;
    }
    live { api_keys }
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

    fn contradictions(&self, _: &str, violations: &mut Violations) {
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
        if self.management.port != 0 && self.management.port == self.server.port {
            violations.report("management.port", "is server.port as well");
        }
    }
}
