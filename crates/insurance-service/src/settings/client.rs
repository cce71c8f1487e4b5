use std::{fs, time::Duration};

use contracts::MAX_BATCH_SIZE;
use http::HeaderValue;
use serde::Deserialize;
use service_defaults::settings::{Secret, Violations, duration};
use url::Url;
use vehicle_client::{Options, check_certificates};

use super::{BreakerSettings, CacheSettings, RetryBudgetSettings};
use crate::RunError;

/// The section `[vehicle_client]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VehicleClientSettings {
    /// Where Vehicle is.
    pub base_url: Url,
    /// Our key for Vehicle.
    pub api_key: Secret,
    /// PEM file of certificates to trust; empty = the system's.
    pub ca_certificate: String,
    /// Single calls in flight in the whole process, and for each request.
    pub max_degree_of_parallelism_single: usize,
    /// Batch calls in flight in the whole process.
    pub max_degree_of_parallelism_batch: usize,
    /// Numbers in one batch call.
    pub max_batch_size: usize,
    /// Longest wait of a call for its turn.
    #[serde(with = "duration")]
    pub queue_wait: Duration,
    /// Most calls that wait for their turn.
    pub queue_length: usize,
    /// Time to connect.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Time for one attempt.
    #[serde(with = "duration")]
    pub attempt_timeout: Duration,
    /// Attempts after the first.
    pub max_retries: u32,
    /// Upper end of the first pause.
    #[serde(with = "duration")]
    pub retry_pause: Duration,
    /// Upper end of every pause.
    #[serde(with = "duration")]
    pub max_retry_pause: Duration,
    /// How long a batch call waits for numbers of other requests.
    #[serde(with = "duration")]
    pub gather_for: Duration,
    /// How long answers are kept.
    pub cache: CacheSettings,
    /// How many retries there may be.
    pub retry_budget: RetryBudgetSettings,
    /// When calls stop and how they begin again.
    pub breaker: BreakerSettings,
    /// Largest answer in bytes.
    pub max_answer_bytes: usize,
    /// How long an idle connection is kept.
    #[serde(with = "duration")]
    pub idle_connection_timeout: Duration,
}

impl VehicleClientSettings {
    pub(super) fn check(&self, violations: &mut Violations) {
        let (seconds, millis) = (Duration::from_secs, Duration::from_millis);
        let name = |key: &str| format!("vehicle_client.{key}");
        let url = &self.base_url;
        if !matches!(url.scheme(), "http" | "https")
            || !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some()
        {
            violations.report(
                &name("base_url"),
                "is no http or https URL without user, query and fragment",
            );
        }
        let certificate = &self.ca_certificate;
        if !certificate.is_empty() {
            let rule = match fs::read(certificate) {
                Ok(pem) if check_certificates(&pem).is_ok() => None,
                Ok(_) => Some(format!("{certificate} holds no usable PEM certificates")),
                Err(error) => Some(format!("{certificate} cannot be read: {error}")),
            };
            if let Some(rule) = rule {
                violations.report(&name("ca_certificate"), rule);
            }
        }
        violations.secret(&name("api_key"), &self.api_key);
        if HeaderValue::from_str(self.api_key.expose()).is_err() {
            violations.report(&name("api_key"), "holds characters that no header can");
        }
        for (key, value, bounds) in [
            (
                "max_degree_of_parallelism_single",
                self.max_degree_of_parallelism_single,
                1..=1000,
            ),
            (
                "max_degree_of_parallelism_batch",
                self.max_degree_of_parallelism_batch,
                1..=1000,
            ),
            ("max_batch_size", self.max_batch_size, 1..=MAX_BATCH_SIZE),
            ("queue_length", self.queue_length, 0..=100_000),
            ("max_answer_bytes", self.max_answer_bytes, 1024..=67_108_864),
        ] {
            violations.range(&name(key), &value, bounds);
        }
        violations.range(&name("max_retries"), &self.max_retries, 0..=5);
        for (key, value, bounds) in [
            ("queue_wait", self.queue_wait, Duration::ZERO..=seconds(10)),
            ("gather_for", self.gather_for, millis(1)..=millis(100)),
            (
                "connect_timeout",
                self.connect_timeout,
                millis(10)..=seconds(10),
            ),
            (
                "attempt_timeout",
                self.attempt_timeout,
                millis(10)..=seconds(60),
            ),
            ("retry_pause", self.retry_pause, millis(1)..=seconds(10)),
            (
                "max_retry_pause",
                self.max_retry_pause,
                self.retry_pause..=seconds(60),
            ),
            (
                "idle_connection_timeout",
                self.idle_connection_timeout,
                seconds(1)..=seconds(600),
            ),
        ] {
            violations.duration(&name(key), value, bounds);
        }
        self.cache.check(violations);
        self.retry_budget.check(violations);
        self.breaker.check(violations);
    }

    /// What the client is built from.
    pub(crate) fn options(&self, refresh_within: Duration) -> Result<Options, RunError> {
        let certificates = match self.ca_certificate.as_str() {
            "" => None,
            path => Some(fs::read(path).map_err(|source| RunError::Certificate {
                path: path.to_owned(),
                source,
            })?),
        };
        let mut api_key = HeaderValue::from_str(self.api_key.expose())
            .unwrap_or_else(|_| HeaderValue::from_static(""));
        api_key.set_sensitive(true);
        Ok(Options {
            base_url: self.base_url.clone(),
            api_key,
            user_agent: concat!("threadpilot-insurance/", env!("CARGO_PKG_VERSION")),
            certificates,
            max_degree_of_parallelism_single: self.max_degree_of_parallelism_single,
            max_degree_of_parallelism_batch: self.max_degree_of_parallelism_batch,
            max_batch_size: self.max_batch_size,
            queue_wait: self.queue_wait,
            queue_length: self.queue_length,
            connect_timeout: self.connect_timeout,
            attempt_timeout: self.attempt_timeout,
            max_retries: self.max_retries,
            retry_pause: self.retry_pause,
            max_retry_pause: self.max_retry_pause,
            cache: self.cache.options(),
            gather_for: self.gather_for,
            refresh_within,
            retry_budget: self.retry_budget.options(),
            breaker: self.breaker.options(),
            max_answer_bytes: self.max_answer_bytes,
            idle_connection_timeout: self.idle_connection_timeout,
        })
    }
}
