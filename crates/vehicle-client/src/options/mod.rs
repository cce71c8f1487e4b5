//! What can be configured. Everything else in this crate may use it; it uses nothing of theirs.

mod breaker;
mod cache;
mod retry_budget;
mod validation;

use std::{path::Path, time::Duration};

use access_tokens::{ClientTokenSettings, LONGEST_FETCH, usable_certificates};
use contracts::MAX_BATCH_SIZE;
use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use settings::{Secret, millis, read_file, seconds, section};
use url::Url;

pub use breaker::BreakerOptions;
pub use cache::CacheOptions;
pub use retry_budget::BudgetOptions;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The most that `max_retries` may be.
pub(crate) const MOST_RETRIES: u32 = 5;

section! {
    /// How Vehicle is called: the section `[vehicle_client]`.
    pub struct Options checked by validation::contradictions {
        /// Where Vehicle is.
        pub base_url: Url = "http://127.0.0.1:5081", where validation::plain_url;
        /// Our key for Vehicle; not sent where there is a `token`.
        pub api_key: Secret = "", where validation::usable_key;
        /// A token for Vehicle, in the place of the key.
        pub token: ClientTokenSettings;
        /// PEM file of certificates to trust for Vehicle; empty = the system's.
        pub ca_certificate: String = "", where usable_certificates;
        /// Single calls in flight in the whole process, and for each request.
        pub max_degree_of_parallelism_single: usize = 5, in 1..=1000;
        /// Batch calls in flight in the whole process.
        pub max_degree_of_parallelism_batch: usize = 1, in 1..=1000;
        /// Numbers in one batch call.
        pub max_batch_size: usize = 50, in 1..=MAX_BATCH_SIZE;
        /// Longest wait of a call for its turn; then `overloaded`, also for those who joined it late.
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
        /// How long an idle connection is kept: less than Vehicle keeps it, whose
        /// `server.header_read_timeout` is 5 s, so that no call goes out on one that Vehicle closes.
        pub idle_connection_timeout: Duration => seconds(4);
        /// How long answers are kept.
        pub cache: CacheOptions;
        /// How many retries there may be.
        pub retry_budget: BudgetOptions;
        /// When calls stop and how they begin again.
        pub breaker: BreakerOptions;
    }
    removed {
        "retry_pause" => "is 50ms",
        "max_retry_pause" => "is 250ms",
        "idle_connection_timeout" => "is 4s",
        "gather_for" => "is 0: a batch takes numbers until its turn comes",
    }
}

/// Why no client can be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A certificate or the TLS set-up cannot be used.
    #[error("TLS to Vehicle cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The file for the certificates is not PEM.
    #[error("the file for Vehicle's certificates is not PEM")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// Tokens for Vehicle cannot be fetched.
    #[error("tokens for Vehicle cannot be fetched")]
    Token(#[from] access_tokens::BuildError),
    /// The base URL cannot be called.
    #[error("vehicle_client.base_url cannot be called")]
    Url,
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

impl Options {
    /// Certificates to trust instead of the system's, if any.
    pub(crate) fn certificates(&self) -> Result<Option<RootCertStore>, BuildError> {
        let path = &self.ca_certificate;
        if path.is_empty() {
            return Ok(None);
        }
        let pem = read_file(Path::new(path)).map_err(|reason| BuildError::Certificate {
            path: path.clone(),
            reason,
        })?;
        certificates(&pem).map(Some)
    }

    /// The key for Vehicle as a header, where there is one; `Debug` hides it.
    pub(crate) fn key_headers(&self) -> Result<HeaderMap, BuildError> {
        if self.token.is_on() {
            return Ok(HeaderMap::new());
        }
        let mut key = HeaderValue::from_str(self.api_key.expose()).map_err(|_| BuildError::Key)?;
        key.set_sensitive(true);
        Ok(HeaderMap::from_iter([(X_API_KEY, key)]))
    }

    /// The longest that an attempt waits for a token of our own before it is made.
    pub(crate) fn longest_wait_for_token(&self) -> Duration {
        if self.token.is_on() {
            LONGEST_FETCH
        } else {
            Duration::ZERO
        }
    }

    /// From when on a call is slow, also while it is in flight.
    pub(crate) fn slow_after(&self) -> Duration {
        self.attempt_timeout.mul_f64(self.breaker.slow_after_share)
    }

    /// All attempts of a call, without the pauses between them.
    pub(crate) fn longest_attempts(&self) -> Duration {
        let attempts = self.max_retries.saturating_add(1);
        self.attempt_timeout.saturating_mul(attempts)
    }
}

fn certificates(pem: &[u8]) -> Result<RootCertStore, BuildError> {
    let mut certificates = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        certificates.add(certificate?)?;
    }
    if certificates.is_empty() {
        return Err(BuildError::NoCertificate);
    }
    Ok(certificates)
}
