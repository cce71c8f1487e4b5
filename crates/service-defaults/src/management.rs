//! The routes for the platform, on the main listener or on one of their own.

use serde::Deserialize;
use utoipa::openapi::OpenApiBuilder;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    health::{self, Readiness},
    metrics::{self, Metrics},
    scope::Scope,
    server::ServerSettings,
    settings::Violations,
    surface::{Limits, Routes, Surface},
};

/// The section `[management]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagementSettings {
    /// Port of a separate listener for the management routes; 0 = none.
    pub port: u16,
    /// Asks for a key on `/metrics`.
    pub metrics_require_key: bool,
}

impl ManagementSettings {
    /// Reports a port that the main listener has already.
    pub fn check(&self, server: &ServerSettings, violations: &mut Violations) {
        if self.port != 0 && self.port == server.port {
            violations.report("management.port", "is server.port as well");
        }
    }
}

/// Health, readiness and metrics.
pub(crate) fn routes(
    settings: &ManagementSettings,
    readiness: &Readiness,
    metrics: &Metrics,
) -> Routes {
    let open = Surface::open().routine();
    let keyed = Surface::keyed(Scope::Api)
        .with_limits(Limits::None)
        .routine();
    let scraped = if settings.metrics_require_key {
        keyed
    } else {
        open.clone()
    };
    let health = OpenApiRouter::new().routes(routes!(health::get_health));
    let ready = OpenApiRouter::new().routes(routes!(health::get_readiness));
    let measured = OpenApiRouter::new().routes(routes!(metrics::get_metrics));
    Routes::new(OpenApiBuilder::new().build())
        .with(open.clone(), health)
        .with(open, ready.with_state(readiness.clone()))
        .with(scraped, measured.with_state(metrics.clone()))
}
