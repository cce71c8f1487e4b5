use std::{path::Path, time::Duration};

use contracts::MAX_BATCH_SIZE;
use http::HeaderValue;
use settings::{Secret, Shown, Violations, millis, read_file, seconds, section};
use url::Url;

use crate::{BreakerOptions, BudgetOptions, CacheOptions, wire::check_certificates};

/// The most that `max_retries` may be.
pub(crate) const MOST_RETRIES: u32 = 5;
/// Fewest bytes of a vehicle in a batch answer: the shortest number, and null for the rest.
const SMALLEST_VEHICLE: usize =
    r#"{"registrationNumber":"AB","make":null,"model":null,"modelYear":null}"#.len();

section! {
    /// How Vehicle is called: the section `[vehicle_client]`.
    pub struct Options checked by Options::contradictions {
        /// Where Vehicle is.
        pub base_url: Url = "http://127.0.0.1:5081", where plain_url;
        /// Our key for Vehicle.
        pub api_key: Secret = "", where usable_key;
        /// PEM file of certificates to trust for Vehicle; empty = the system's.
        pub ca_certificate: String = "", where usable_certificates;
        /// Single calls in flight in the whole process, and for each request.
        pub max_degree_of_parallelism_single: usize = 5, in 1..=1000;
        /// Batch calls in flight in the whole process.
        pub max_degree_of_parallelism_batch: usize = 1, in 1..=1000;
        /// Numbers in one batch call.
        pub max_batch_size: usize = 50, in 1..=MAX_BATCH_SIZE;
        /// Longest wait of a call for its turn; then `overloaded`.
        pub queue_wait: Duration = "250ms", in Duration::ZERO..=seconds(10);
        /// Most calls that wait for their turn; more are `overloaded` at once.
        pub queue_length: usize = 1024, in 0..=100_000;
        /// Time to connect.
        pub connect_timeout: Duration = "250ms", in millis(10)..=seconds(10);
        /// Time for one attempt, from its turn to the last byte of the answer.
        pub attempt_timeout: Duration = "500ms", in millis(10)..=seconds(60);
        /// Attempts after the first.
        pub max_retries: u32 = 1, in 0..=MOST_RETRIES;
        /// Upper end of the random pause before the first retry; doubles with each. A tenth of an
        /// attempt: long enough to spread retries, short enough for the deadline.
        pub retry_pause: Duration => millis(50);
        /// Upper end of every pause.
        pub max_retry_pause: Duration => millis(250);
        /// Largest answer of Vehicle in bytes.
        pub max_answer_bytes: usize = 1048576, in 1024..=67_108_864;
        /// How long an idle connection is kept: shorter than servers and load balancers keep it.
        pub idle_connection_timeout: Duration => seconds(15);
        /// How long a batch call waits for more numbers, at most a tenth of enrichment.deadline.
        pub gather_for: Duration = "2ms", in millis(1)..=millis(100);
        /// How long answers are kept.
        pub cache: CacheOptions;
        /// How many retries there may be.
        pub retry_budget: BudgetOptions;
        /// When calls stop and how they begin again.
        pub breaker: BreakerOptions;
        /// Time for a lookup that refreshes what is kept while nobody waits for it; for the service
        /// to say.
        pub refresh_within: Duration => seconds(2);
        /// Name of the caller for Vehicle's logs; for the service to say.
        pub user_agent: &'static str => concat!("threadpilot/", env!("CARGO_PKG_VERSION"));
    }
    removed {
        "retry_pause" => "is 50ms",
        "max_retry_pause" => "is 250ms",
        "idle_connection_timeout" => "is 15s",
    }
}

/// Why no client can be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The certificates or the TLS set-up cannot be used.
    #[error("the HTTP client for Vehicle cannot be built")]
    Http(#[from] reqwest::Error),
    /// There is no certificate where some were named.
    #[error("the file for Vehicle's certificates holds none")]
    NoCertificate,
    /// The certificates cannot be read.
    #[error("vehicle_client.ca_certificate: {path} cannot be read: {reason}")]
    Certificate {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// The key holds characters that no header can.
    #[error("vehicle_client.api_key holds characters that no header can")]
    Key,
}

fn plain_url(url: &Url, at: &str, violations: &mut Violations) {
    let plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain {
        let rule = "is no http or https URL without user, query and fragment";
        violations.report(at, rule);
    }
}

fn usable_key(key: &Secret, at: &str, violations: &mut Violations) {
    violations.secret(at, key);
    if HeaderValue::from_str(key.expose()).is_err() {
        violations.report(at, "holds characters that no header can");
    }
}

fn usable_certificates(path: &String, at: &str, violations: &mut Violations) {
    if path.is_empty() {
        return;
    }
    match read_file(Path::new(path)) {
        Ok(pem) if check_certificates(&pem).is_ok() => {}
        Ok(_) => violations.report(at, format_args!("{path} holds no usable PEM certificates")),
        Err(reason) => violations.report(at, format_args!("{path} cannot be read: {reason}")),
    }
}

impl Options {
    /// PEM certificates to trust instead of the system's, if any.
    pub(crate) fn certificates(&self) -> Result<Option<Vec<u8>>, BuildError> {
        let path = &self.ca_certificate;
        if path.is_empty() {
            return Ok(None);
        }
        let read = read_file(Path::new(path)).map_err(|reason| BuildError::Certificate {
            path: path.clone(),
            reason,
        });
        read.map(Some)
    }

    /// The key for Vehicle as a header; `Debug` hides it.
    pub(crate) fn key_header(&self) -> Result<HeaderValue, BuildError> {
        let mut key = HeaderValue::from_str(self.api_key.expose()).map_err(|_| BuildError::Key)?;
        key.set_sensitive(true);
        Ok(key)
    }

    /// Reports settings that are good by themselves and make no sense together, each with the
    /// figure that it comes to and the bound that this breaks.
    fn contradictions(&self, at: &str, violations: &mut Violations) {
        let attempt = self.attempt_timeout;
        let mut report = |key: &str, rule: String| violations.report(&format!("{at}.{key}"), rule);
        if self.connect_timeout > attempt {
            let (connect, attempt) = (Shown(self.connect_timeout), Shown(attempt));
            let rule = format!("{connect} is over {at}.attempt_timeout = {attempt}");
            report("connect_timeout", rule);
        }
        if self.breaker.slow_after >= attempt {
            let (slow, attempt) = (Shown(self.breaker.slow_after), Shown(attempt));
            let rule = format!("{slow} is never reached within {at}.attempt_timeout = {attempt}");
            report("breaker.slow_after", rule);
        }
        let (size, answer) = (self.max_batch_size, self.max_answer_bytes);
        let smallest = size.saturating_mul(SMALLEST_VEHICLE);
        if smallest > answer {
            let rule = format!(
                "{size} vehicles take {smallest} bytes or more, over {at}.max_answer_bytes = \
                 {answer}"
            );
            report("max_batch_size", rule);
        }
        let (minimum, most) = (self.breaker.minimum_calls, self.most_slow_calls_in_window());
        if minimum > most {
            let rule = format!(
                "{minimum} slow calls are never seen: at most {most} of {} fit in \
                 {at}.breaker.window = {}",
                Shown(self.breaker.slow_after),
                Shown(self.breaker.window)
            );
            report("breaker.minimum_calls", rule);
        }
        let (budget, retries) = (&self.retry_budget, self.max_retries);
        if retries > 0 && budget.retries_per_good_call + budget.retries_per_second <= 0.0 {
            let rule = format!(
                "{retries} is never made: {at}.retry_budget earns 0 by good calls and 0 a second"
            );
            report("max_retries", rule);
        }
    }

    /// Reports calls that do not fit into the time for all lookups of one request.
    pub fn check_within(&self, deadline: Duration, at: &str, violations: &mut Violations) {
        let within = format!("over enrichment.deadline = {}", Shown(deadline));
        // Not their pauses: a retry that has no time left is not made.
        let attempts = self.longest_attempts();
        if attempts > deadline {
            let attempts = Shown(attempts);
            let rule = format!("all attempts take up to {attempts}, {within}");
            violations.report(&format!("{at}.attempt_timeout"), rule);
        }
        let (wait, attempt) = (self.queue_wait, self.attempt_timeout);
        let queued = wait.saturating_add(attempt);
        if queued > deadline {
            let (wait, attempt, queued) = (Shown(wait), Shown(attempt), Shown(queued));
            let rule = format!("{wait} + {at}.attempt_timeout {attempt} = {queued}, {within}");
            violations.report(&format!("{at}.queue_wait"), rule);
        }
    }
}
