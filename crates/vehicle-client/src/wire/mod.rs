//! HTTP to Vehicle, and the check that its answers keep their contract.

mod connector;
mod contract;
pub(crate) mod event;
pub(crate) mod feed;
mod retry_after;
mod transport;

use access_tokens::{NoToken, OwnToken};
use futures_util::future::BoxFuture;

pub(crate) use retry_after::LONGEST as LONGEST_RETRY_AFTER;
pub(crate) use transport::HttpTransport;

use crate::{Answer, Attempt, Failure};

/// Sends an attempt and reads its answer. Its caller bounds the time.
pub(crate) trait Transport: Send + Sync + 'static {
    fn send(&self, attempt: Attempt) -> BoxFuture<'_, Result<Answer, Failure>>;

    /// What Vehicle is to know us by, where it is no key. May be waited for.
    fn token(&self) -> BoxFuture<'_, Result<Option<OwnToken>, NoToken>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

#[cfg(test)]
impl<F, R> Transport for F
where
    F: Fn(Attempt) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Answer, Failure>> + Send + 'static,
{
    fn send(&self, attempt: Attempt) -> BoxFuture<'_, Result<Answer, Failure>> {
        Box::pin(self(attempt))
    }
}
