//! The routes for the platform, on the main listener or on one of their own.

use settings::section;
use utoipa::openapi::OpenApiBuilder;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    health::{self, Readiness},
    metrics::{self, Metrics},
    scope::Scope,
    surface::{Limits, Routes, Surface},
};

section! {
    /// The section `[management]`.
    pub struct ManagementSettings {
        /// Port of a separate listener for /healthz, /readyz and /metrics; 0 = the main listener.
        pub port: u16 = 0, in 0..=u16::MAX;
        /// Asks for a key on /metrics.
        pub metrics_require_key: bool = false;
    }
}

/// Health, readiness and metrics.
pub(crate) fn routes(
    settings: &ManagementSettings,
    readiness: &Readiness,
    metrics: &Metrics,
) -> Routes {
    let open = Surface::open().routine();
    let keyed = Surface::keyed(&[Scope::Read, Scope::Api])
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
