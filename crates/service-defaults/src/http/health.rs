//! Liveness and readiness.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{StatusCode, header::CACHE_CONTROL},
    response::IntoResponse,
};
use contracts::wire_enum;
use futures_util::future::join_all;
use serde::Serialize;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use utoipa::ToSchema;

use crate::{extract::Json, lifecycle::Shutdown};

/// How long one check may take before it counts as failed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a report is reused: readiness is open to everyone and must not load the database.
const REUSE: Duration = Duration::from_millis(250);

/// What one check found.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What was looked at.
    #[schema(example = "database", value_type = String)]
    pub name: &'static str,
    /// What was found.
    pub status: CheckStatus,
    /// More about it, where there is more to say.
    #[schema(required)]
    pub detail: Option<String>,
}

wire_enum! {
    /// The result of a check.
    pub enum CheckStatus {
        /// As it should be.
        Pass = "pass",
        /// Worth knowing; the service serves all the same.
        Warn = "warn",
        /// The service cannot serve.
        Fail = "fail",
    }
}

impl Check {
    /// A check that passed.
    pub fn pass(name: &'static str) -> Self {
        Self {
            name,
            status: CheckStatus::Pass,
            detail: None,
        }
    }

    /// A check that found something worth knowing.
    pub fn warn(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            status: CheckStatus::Warn,
            detail: Some(detail.into()),
        }
    }

    /// A check that failed.
    pub fn fail(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            status: CheckStatus::Fail,
            detail: Some(detail.into()),
        }
    }
}

/// Whether requests should be sent to this process.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadinessReport {
    /// True when no check failed.
    pub ready: bool,
    /// Each check.
    pub checks: Vec<Check>,
}

type BoxedCheck =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Check> + Send>> + Send + Sync + 'static>;

/// The checks of a service.
#[derive(Clone)]
pub struct Readiness {
    checks: Arc<Vec<(&'static str, BoxedCheck)>>,
    shutdown: Shutdown,
    last: Arc<Mutex<Option<(Instant, ReadinessReport)>>>,
}

impl Readiness {
    /// A service that is ready until it is told to stop.
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            checks: Arc::default(),
            shutdown,
            last: Arc::default(),
        }
    }

    /// Adds a check. Add all before the readiness is shared.
    #[must_use]
    pub fn with_check<F, C>(mut self, name: &'static str, check: C) -> Self
    where
        F: Future<Output = Check> + Send + 'static,
        C: Fn() -> F + Send + Sync + 'static,
    {
        if let Some(checks) = Arc::get_mut(&mut self.checks) {
            checks.push((name, Box::new(move || Box::pin(check()))));
        }
        self
    }

    /// Runs every check, at most one round at a time.
    pub async fn report(&self) -> ReadinessReport {
        if self.shutdown.is_draining() {
            let checks = vec![Check::fail("lifecycle", "the service is stopping")];
            return ReadinessReport {
                ready: false,
                checks,
            };
        }
        let mut last = self.last.lock().await;
        if let Some((at, report)) = &*last
            && at.elapsed() < REUSE
        {
            return report.clone();
        }
        let mut checks = join_all(self.checks.iter().map(|(name, check)| async move {
            timeout(CHECK_TIMEOUT, check())
                .await
                .unwrap_or_else(|_| Check::fail(name, "no answer within 1 s"))
        }))
        .await;
        checks.push(Check::pass("lifecycle"));
        let ready = checks.iter().all(|check| check.status != CheckStatus::Fail);
        let report = ReadinessReport { ready, checks };
        *last = Some((Instant::now(), report.clone()));
        report
    }
}

/// Whether the process can serve; asks nobody else
#[utoipa::path(
    get, path = "/healthz", tag = "Operations",
    responses((status = 200, description = "The process serves", body = String, content_type = "text/plain"))
)]
pub(crate) async fn get_health() -> &'static str {
    "ok"
}

/// Whether requests should be sent here
#[utoipa::path(
    get, path = "/readyz", tag = "Operations",
    responses(
        (status = 200, description = "Ready", body = ReadinessReport, headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 503, description = "Not ready; the failed checks say why", body = ReadinessReport),
    )
)]
pub(crate) async fn get_readiness(State(readiness): State<Readiness>) -> impl IntoResponse {
    let report = readiness.report().await;
    let status = if report.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, [(CACHE_CONTROL, "no-store")], Json(report))
}
