use std::time::Duration;

use contracts::Cause;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{
    Answer, Call, Failure, Found, Options,
    failure_log::FailureLog,
    instruments::Instruments,
    retry::Retry,
    step::{Inner, Step, ask},
};

/// One call that is out: its time limit, which is the only one, its span and its place in the
/// metrics.
#[derive(Clone)]
pub(crate) struct Attempt {
    limit: Duration,
    instruments: Instruments,
    failures: FailureLog,
    retry: Retry,
}

impl Attempt {
    pub(crate) fn new(
        options: &Options,
        instruments: Instruments,
        failures: FailureLog,
        retry: Retry,
    ) -> Self {
        Self {
            limit: options.attempt_timeout,
            instruments,
            failures,
            retry,
        }
    }
}

impl Step for Attempt {
    async fn pass(self, mut call: Call, inner: impl Inner) -> Result<Answer, Failure> {
        let started = Instant::now();
        let until = started + self.limit;
        call.until = until;
        let (strategy, reason) = (
            call.strategy,
            if call.attempt == 0 { "first" } else { "retry" },
        );
        // Of its own, because it may outlast the request that it is made for.
        let span = tracing::info_span!(
            parent: None,
            "call vehicle",
            otel.kind = "client",
            strategy = strategy.label(),
            reason,
            numbers = call.numbers.len(),
            outcome = Empty,
        );
        span.add_link(call.first.span.clone());
        let (trail, attempt, waiters) = (call.trail.clone(), call.attempt, call.waiters.clone());
        let mut outgoing = self.instruments.outgoing(strategy, reason, waiters.clone());
        let result = timeout_at(until, ask(&inner, call).instrument(span.clone()))
            .await
            .unwrap_or(Err(Failure::transient(Cause::Timeout)));
        outgoing.outcome = result.as_ref().map_or_else(Failure::label, |_| "answered");
        outgoing.retry_budget = self.retry.label(attempt, &waiters, &result);
        span.record("outcome", outgoing.outcome);
        trail.note(format_args!("{reason} attempt: {}", outgoing.outcome));
        drop(outgoing);
        let failure = match &result {
            Err(failure) => Some(failure),
            Ok(answer) => answer.values().find_map(Found::failure),
        };
        if let Some(failure) = failure {
            span.in_scope(|| self.failures.tell(failure, started));
        }
        result
    }
}
