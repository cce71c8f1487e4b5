use std::time::Duration;

/// Why Vehicle gave no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Vehicle is unavailable: {kind:?}")]
pub struct Failure {
    /// What happened.
    pub kind: FailureKind,
    /// After how long Vehicle may be called again, if that is known.
    pub retry_after: Option<Duration>,
    pub(crate) nature: Nature,
}

/// What happened to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// No answer came in time.
    Timeout,
    /// Not sent: calls are switched off.
    SwitchedOff,
    /// Not sent: an operator isolates Vehicle.
    Isolated,
    /// Not sent: the circuit breaker is open, or probes.
    BreakerOpen,
    /// Not sent: there was no place in time, or the queue was full.
    Overloaded,
    /// No connection, or it broke before an answer began.
    Connection,
    /// Vehicle answered with a 5xx.
    ServerError,
    /// Vehicle answered with a 429.
    RateLimited,
    /// Vehicle refuses our key or token (401, 403), or there is no token.
    Unauthorized,
    /// Vehicle's answer breaks its contract.
    ContractViolation,
}

impl FailureKind {
    /// The name in metrics and log lines.
    pub fn label(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::SwitchedOff => "switched_off",
            Self::Isolated => "isolated",
            Self::BreakerOpen => "breaker_open",
            Self::Overloaded => "overloaded",
            Self::Connection => "connection",
            Self::ServerError => "server_error",
            Self::RateLimited => "rate_limited",
            Self::Unauthorized => "unauthorized",
            Self::ContractViolation => "contract_violation",
        }
    }

    /// Whether the guard shed the call to protect Vehicle.
    pub(crate) fn is_shed(self) -> bool {
        matches!(
            self,
            Self::SwitchedOff | Self::Isolated | Self::BreakerOpen | Self::Overloaded
        )
    }
}

/// What a failure says about Vehicle and about another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// Another attempt would not help.
    Lasting,
    /// The same call may succeed when it is made again soon.
    Transient,
    /// Vehicle is well and refused the call itself (400, 401, 403 and their like).
    Refusal,
    /// Vehicle is well and refused the token of the call, and there is another one, or may be.
    Renewal,
}

impl Failure {
    /// A failure that another attempt would not help.
    pub(crate) const fn lasting(kind: FailureKind) -> Self {
        Self::new(kind, Nature::Lasting)
    }

    /// A failure after which another attempt may succeed.
    pub(crate) const fn transient(kind: FailureKind) -> Self {
        Self::new(kind, Nature::Transient)
    }

    /// A refusal of the call itself, which says nothing against Vehicle.
    pub(crate) const fn refusal(kind: FailureKind) -> Self {
        Self::new(kind, Nature::Refusal)
    }

    /// A refusal of the token of a call, for which there may be another one.
    pub(crate) const fn renewal() -> Self {
        Self::new(FailureKind::Unauthorized, Nature::Renewal)
    }

    const fn new(kind: FailureKind, nature: Nature) -> Self {
        Self {
            kind,
            retry_after: None,
            nature,
        }
    }

    pub(crate) const fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// Whether it says nothing against Vehicle.
    pub(crate) fn shows_vehicle_well(self) -> bool {
        matches!(self.nature, Nature::Refusal | Nature::Renewal)
    }

    /// The same failure, told so much later: of `retry_after`, what is left.
    pub(crate) fn told_after(self, time: Duration) -> Self {
        let left = |after: Duration| after.checked_sub(time).filter(|left| !left.is_zero());
        self.with_retry_after(self.retry_after.and_then(left))
    }
}

/// Why a call was not sent. Apart from [`Failure`], so that nobody takes it for something that
/// Vehicle did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotSent(pub(crate) Failure);

impl NotSent {
    pub(crate) const fn because(kind: FailureKind) -> Self {
        Self(Failure::lasting(kind))
    }
}
