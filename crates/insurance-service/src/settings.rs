use std::{fs, time::Duration};

use contracts::{MAX_BATCH_SIZE, PersonalIdentityNumberCheck};
use http::HeaderValue;
use serde::Deserialize;
use service_database::DatabaseSettings;
use service_defaults::settings::{Checked, CommonSettings, Secret, Violations, duration};
use url::Url;
use vehicle_client::{BreakerOptions, BudgetOptions, CacheOptions, Options};

use crate::RunError;

/// What the Insurance service has beside the common settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InsuranceSettings {
    /// Where the schema is.
    pub database: DatabaseSettings,
    /// What can be switched while the service runs.
    pub feature_toggles: FeatureToggles,
    /// How strictly personal identity numbers are checked.
    pub personal_identity_number: PersonalIdentityNumberSettings,
    /// How long enriching may take.
    pub enrichment: EnrichmentSettings,
    /// How Vehicle is called.
    pub vehicle_client: VehicleClientSettings,
}

/// The section `[feature_toggles]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureToggles {
    /// Kill switch: false means not one call to Vehicle.
    pub enable_vehicle_enrichment: bool,
    /// Batch calls instead of single ones.
    pub enable_batch_vehicle_call: bool,
}

/// The section `[personal_identity_number]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonalIdentityNumberSettings {
    /// How strictly numbers are checked.
    pub check: PersonalIdentityNumberCheck,
}

/// The section `[enrichment]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrichmentSettings {
    /// Time for all lookups of one request.
    #[serde(with = "duration")]
    pub deadline: Duration,
}

/// The section `[vehicle_client.cache]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheSettings {
    /// Keeps Vehicle's answers.
    pub enabled: bool,
    /// Younger answers are given without asking Vehicle.
    #[serde(with = "duration")]
    pub fresh: Duration,
    /// Younger answers are given and refreshed behind.
    #[serde(with = "duration")]
    pub soft_stale: Duration,
    /// Younger answers are given only when Vehicle fails.
    #[serde(with = "duration")]
    pub hard_stale: Duration,
    /// How long it is believed that there is no vehicle.
    #[serde(with = "duration")]
    pub negative: Duration,
    /// Share by which expiry varies.
    pub jitter: f64,
    /// Most memory for answers, in bytes.
    pub max_bytes: u64,
}

impl CacheSettings {
    fn check(&self, violations: &mut Violations) {
        let name = |key: &str| format!("vehicle_client.cache.{key}");
        let day = Duration::from_hours(24);
        for (key, value, bounds) in [
            ("fresh", self.fresh, Duration::ZERO..=day),
            ("soft_stale", self.soft_stale, self.fresh..=day),
            ("hard_stale", self.hard_stale, self.soft_stale..=day * 30),
            ("negative", self.negative, Duration::ZERO..=day),
        ] {
            violations.duration(&name(key), value, bounds);
        }
        violations.range(&name("jitter"), &self.jitter, 0.0..=0.5);
        violations.range(&name("max_bytes"), &self.max_bytes, 65_536..=17_179_869_184);
    }

    fn options(&self) -> Option<CacheOptions> {
        self.enabled.then_some(CacheOptions {
            fresh: self.fresh,
            soft_stale: self.soft_stale,
            hard_stale: self.hard_stale,
            negative: self.negative,
            jitter: self.jitter,
            max_bytes: self.max_bytes,
        })
    }
}

/// The section `[vehicle_client.retry_budget]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryBudgetSettings {
    /// Retries earned by each good call.
    pub retries_per_good_call: f64,
    /// Retries earned by each second.
    pub retries_per_second: f64,
    /// Most retries that can be saved up.
    pub max_saved: f64,
}

impl RetryBudgetSettings {
    fn check(&self, violations: &mut Violations) {
        for (key, value, bounds) in [
            (
                "retries_per_good_call",
                self.retries_per_good_call,
                0.0..=1.0,
            ),
            ("retries_per_second", self.retries_per_second, 0.0..=1_000.0),
            ("max_saved", self.max_saved, 1.0..=10_000.0),
        ] {
            violations.range(
                &format!("vehicle_client.retry_budget.{key}"),
                &value,
                bounds,
            );
        }
    }

    fn options(&self) -> BudgetOptions {
        BudgetOptions {
            retries_per_good_call: self.retries_per_good_call,
            retries_per_second: self.retries_per_second,
            max_saved: self.max_saved,
        }
    }
}

/// The section `[vehicle_client.breaker]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerSettings {
    /// How far back calls count.
    #[serde(with = "duration")]
    pub window: Duration,
    /// Fewer calls prove nothing; as many failures in a row open the breaker.
    pub minimum_calls: u64,
    /// Share of failed calls that opens the breaker.
    pub failure_ratio: f64,
    /// Share of slow calls that opens the breaker.
    pub slow_ratio: f64,
    /// From when on a call is slow.
    #[serde(with = "duration")]
    pub slow_after: Duration,
    /// How long the breaker stays open the first time.
    #[serde(with = "duration")]
    pub open_for: Duration,
    /// Upper end of the doubling.
    #[serde(with = "duration")]
    pub max_open_for: Duration,
    /// Good probes in a row that close the breaker.
    pub probes_to_close: u32,
}

impl BreakerSettings {
    fn check(&self, attempt_timeout: Duration, violations: &mut Violations) {
        let (seconds, millis) = (Duration::from_secs, Duration::from_millis);
        let name = |key: &str| format!("vehicle_client.breaker.{key}");
        violations.range(&name("minimum_calls"), &self.minimum_calls, 1..=100_000);
        violations.range(&name("failure_ratio"), &self.failure_ratio, 0.01..=1.0);
        violations.range(&name("slow_ratio"), &self.slow_ratio, 0.01..=1.0);
        violations.range(&name("probes_to_close"), &self.probes_to_close, 1..=100);
        for (key, value, bounds) in [
            ("window", self.window, seconds(1)..=seconds(600)),
            ("slow_after", self.slow_after, millis(1)..=seconds(60)),
            ("open_for", self.open_for, millis(100)..=seconds(600)),
            (
                "max_open_for",
                self.max_open_for,
                self.open_for..=seconds(3600),
            ),
        ] {
            violations.duration(&name(key), value, bounds);
        }
        if self.slow_after >= attempt_timeout {
            let slow_after = self.slow_after;
            let rule = format_args!(
                "{slow_after:?} is never reached within vehicle_client.attempt_timeout = {attempt_timeout:?}"
            );
            violations.report(&name("slow_after"), rule);
        }
    }

    fn options(&self) -> BreakerOptions {
        BreakerOptions {
            window: self.window,
            minimum_calls: self.minimum_calls,
            failure_ratio: self.failure_ratio,
            slow_ratio: self.slow_ratio,
            slow_after: self.slow_after,
            open_for: self.open_for,
            max_open_for: self.max_open_for,
            probes_to_close: self.probes_to_close,
        }
    }
}

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

impl Checked for InsuranceSettings {
    const LIVE: &'static [&'static str] = &["feature_toggles", "personal_identity_number"];

    fn check(&self, common: &CommonSettings, violations: &mut Violations) {
        let (seconds, millis) = (Duration::from_secs, Duration::from_millis);
        self.database.check(violations);
        self.vehicle_client.check(violations);
        let deadline = self.enrichment.deadline;
        violations.duration("enrichment.deadline", deadline, millis(10)..=seconds(60));
        let request = common.server.request_deadline;
        if deadline >= request {
            let rule = format_args!(
                "{deadline:?} leaves no time within server.request_deadline = {request:?}"
            );
            violations.report("enrichment.deadline", rule);
        }
        let longest = self.vehicle_client.longest_call();
        if longest > deadline {
            let rule = format_args!(
                "all attempts with their pauses take up to {longest:?}, over enrichment.deadline = {deadline:?}"
            );
            violations.report("vehicle_client.attempt_timeout", rule);
        }
    }
}

impl VehicleClientSettings {
    fn check(&self, violations: &mut Violations) {
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
        if !certificate.is_empty()
            && let Err(error) = fs::read(certificate)
        {
            let rule = format_args!("{certificate} cannot be read: {error}");
            violations.report(&name("ca_certificate"), rule);
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
            ("gather_for", self.gather_for, Duration::ZERO..=millis(100)),
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
        self.breaker.check(self.attempt_timeout, violations);
        if self.connect_timeout > self.attempt_timeout {
            let (connect, attempt) = (self.connect_timeout, self.attempt_timeout);
            let rule =
                format_args!("{connect:?} is over vehicle_client.attempt_timeout = {attempt:?}");
            violations.report(&name("connect_timeout"), rule);
        }
    }

    /// All attempts and the pauses between them, at their longest.
    fn longest_call(&self) -> Duration {
        let attempts = self
            .attempt_timeout
            .saturating_mul(self.max_retries.saturating_add(1));
        (0..self.max_retries.min(5)).fold(attempts, |sum, retry| {
            let pause = self.retry_pause.saturating_mul(1 << retry);
            sum.saturating_add(pause.min(self.max_retry_pause))
        })
    }

    /// What the client is built from.
    pub(crate) fn options(&self) -> Result<Options, RunError> {
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
            retry_budget: self.retry_budget.options(),
            breaker: self.breaker.options(),
            max_answer_bytes: self.max_answer_bytes,
            idle_connection_timeout: self.idle_connection_timeout,
        })
    }
}
