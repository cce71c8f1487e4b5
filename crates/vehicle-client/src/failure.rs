use std::time::Duration;

use contracts::Cause;

/// Why Vehicle gave no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Vehicle is unavailable: {cause:?}")]
pub struct Failure {
    /// The kind of failure, as the caller is told.
    pub cause: Cause,
    /// After how long Vehicle asks to be called again, if it said so.
    pub retry_after: Option<Duration>,
    pub(crate) nature: Nature,
}

/// What a failure says about Vehicle and about another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// Another attempt would not mend it.
    Lasting,
    /// The same call may succeed when it is made again soon.
    Transient,
    /// Vehicle is well and refused the call itself (400, 401, 403 and their like).
    Refusal,
    /// The call never went out, because the `Retry-After` gate closed while it waited for its
    /// turn. The gate's other half waits again; nobody else sees this.
    KeptBack,
}

impl Failure {
    /// A failure that another attempt would not mend.
    pub(crate) const fn lasting(cause: Cause) -> Self {
        Self::new(cause, Nature::Lasting)
    }

    /// A failure that another attempt may mend.
    pub(crate) const fn transient(cause: Cause) -> Self {
        Self::new(cause, Nature::Transient)
    }

    pub(crate) const fn new(cause: Cause, nature: Nature) -> Self {
        Self {
            cause,
            retry_after: None,
            nature,
        }
    }

    /// A refusal of the call itself, which says nothing against Vehicle.
    pub(crate) const fn refusal(cause: Cause) -> Self {
        Self::new(cause, Nature::Refusal)
    }

    /// Whether our own layers kept the call from Vehicle. A timeout of a call that was out is
    /// transient.
    pub(crate) fn never_went_out(&self) -> bool {
        self.nature == Nature::Lasting
            && matches!(
                self.cause,
                Cause::BreakerOpen | Cause::Overloaded | Cause::Timeout
            )
    }

    pub(crate) fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// The cause as a metric label: its name on the wire.
    pub(crate) fn label(&self) -> &'static str {
        match self.cause {
            Cause::Timeout => "timeout",
            Cause::BreakerOpen => "breaker_open",
            Cause::Connection => "connection",
            Cause::ServerError => "server_error",
            Cause::Overloaded => "overloaded",
            Cause::RateLimited => "rate_limited",
            Cause::Unauthorized => "unauthorized",
            Cause::ContractViolation => "contract_violation",
        }
    }
}
