use std::time::Duration;

use http::HeaderValue;
use url::Url;

use crate::{BreakerOptions, BudgetOptions, CacheOptions};

/// How Vehicle is called. The settings of the service that uses the client are checked there;
/// these are taken as they are.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where Vehicle is; paths are joined to it.
    pub base_url: Url,
    /// The key for Vehicle; marked sensitive, so that `Debug` hides it.
    pub api_key: HeaderValue,
    /// Name of the caller for Vehicle's logs.
    pub user_agent: &'static str,
    /// PEM certificates to trust instead of the system's, if any.
    pub certificates: Option<Vec<u8>>,
    /// Single calls in flight in the whole process, and for each inbound request.
    pub max_degree_of_parallelism_single: usize,
    /// Batch calls in flight in the whole process.
    pub max_degree_of_parallelism_batch: usize,
    /// Numbers in one batch call.
    pub max_batch_size: usize,
    /// Longest wait of a call for its turn.
    pub queue_wait: Duration,
    /// Most calls that wait for their turn.
    pub queue_length: usize,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time for one attempt, from its turn to the last byte of the answer.
    pub attempt_timeout: Duration,
    /// Attempts after the first.
    pub max_retries: u32,
    /// Upper end of the first pause between attempts; doubles with each.
    pub retry_pause: Duration,
    /// Upper end of every pause.
    pub max_retry_pause: Duration,
    /// How long answers are kept; nothing = they are not.
    pub cache: Option<CacheOptions>,
    /// How long a batch waits for more numbers; a millisecond or more, so that all that one caller
    /// asks for share it.
    pub gather_for: Duration,
    /// Time for a lookup that refreshes what is kept while nobody waits for it.
    pub refresh_within: Duration,
    /// How many retries there may be.
    pub retry_budget: BudgetOptions,
    /// When calls stop and how they begin again.
    pub breaker: BreakerOptions,
    /// Largest answer in bytes.
    pub max_answer_bytes: usize,
    /// How long an idle connection is kept.
    pub idle_connection_timeout: Duration,
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
}
