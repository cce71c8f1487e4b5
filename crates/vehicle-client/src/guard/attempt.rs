use std::{pin::pin, sync::Arc, time::Duration};

use access_tokens::OwnToken;
use contracts::RegistrationNumber;
use futures_util::FutureExt;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::retry::{Retry, UNUSED};
use crate::{
    Answer, Attempt, Call, Failure, FailureKind, Found, Options, Strategy,
    failure::{Nature, NotSent},
    observe::{ABORTED, Attempted, FailureLog, Instruments},
    wire::Transport,
};

/// The outcome of an attempt whose token Vehicle refused, where there may be another one.
const TOKEN_REFUSED: &str = "token_refused";

/// Sends calls: each attempt's time limit, which is its only one, its span and its place in the
/// metrics.
pub(super) struct Attempts {
    transport: Box<dyn Transport>,
    limit: Duration,
    instruments: Instruments,
    failures: FailureLog,
}

impl Attempts {
    pub(super) fn new(
        transport: impl Transport,
        options: &Options,
        instruments: Instruments,
        failures: FailureLog,
    ) -> Self {
        Self {
            transport: Box::new(transport),
            limit: options.attempt_timeout,
            instruments,
            failures,
        }
    }

    /// What Vehicle is to know us by, where it is no key.
    pub(super) async fn token(&self, call: &Call) -> Result<Option<OwnToken>, NotSent> {
        let mut asked = pin!(self.transport.token());
        let token = if let Some(token) = (&mut asked).now_or_never() {
            token
        } else {
            // Whose time ends meanwhile is not told that Vehicle was slow.
            let without = Failure::lasting(FailureKind::Unauthorized);
            let before = call.group.tell(Some((without, Instant::now())));
            let token = asked.await;
            call.group.tell(before);
            token
        };
        token.map_err(|_| {
            call.log().add(format_args!("not sent: there is no token"));
            NotSent::because(FailureKind::Unauthorized)
        })
    }

    /// Sends a call for these numbers; `retry` is 0 for the first attempt, `budget` that of its
    /// retries.
    pub(super) async fn make(
        &self,
        call: &Arc<Call>,
        numbers: Arc<[RegistrationNumber]>,
        retry: u32,
        budget: &Retry,
        token: Option<OwnToken>,
    ) -> Result<Answer, Failure> {
        let started = Instant::now();
        let attempt = Attempt {
            call: call.clone(),
            numbers,
            retry,
            until: started + self.limit,
            token,
        };
        if call.strategy == Strategy::Batch && retry == 0 {
            self.instruments.batch(attempt.numbers.len());
        }
        let (span, reason, until) = (span(&attempt), attempt.reason(), attempt.until);
        let mut record = Record {
            instruments: &self.instruments,
            call,
            reason,
            outcome: ABORTED,
            retry_budget: UNUSED,
        };
        let sent = self.transport.send(attempt).instrument(span.clone());
        let result = timeout_at(until, sent)
            .await
            .unwrap_or(Err(Failure::transient(FailureKind::Timeout)));
        record.outcome = match &result {
            Ok(_) => "answered",
            Err(failure) if failure.nature == Nature::Renewal => TOKEN_REFUSED,
            Err(failure) => failure.kind.label(),
        };
        record.retry_budget = budget.label(call, retry, &result);
        span.record("outcome", record.outcome);
        call.log()
            .add(format_args!("{reason} attempt: {}", record.outcome));
        drop(record);
        let failure = match &result {
            // Another token mends it, or the attempt with that one is told.
            Err(failure) if failure.nature == Nature::Renewal => None,
            Err(failure) => Some(failure),
            // A good answer may say nothing usable about a number.
            Ok(answer) => answer.values().find_map(Found::failure),
        };
        if let Some(failure) = failure {
            span.in_scope(|| self.failures.log(failure, call, started));
        }
        result
    }
}

/// An attempt in flight; counted when it is dropped, with the outcome that it has then.
struct Record<'a> {
    instruments: &'a Instruments,
    call: &'a Call,
    reason: &'static str,
    outcome: &'static str,
    retry_budget: &'static str,
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        let awaited = self.call.group.is_awaited();
        self.instruments.attempted(Attempted {
            strategy: self.call.strategy,
            reason: self.reason,
            outcome: self.outcome,
            retry_budget: self.retry_budget,
            awaited,
        });
    }
}

/// A root of its own, because an attempt may outlast the request that it is made for.
fn span(attempt: &Attempt) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "call vehicle",
        otel.kind = "client",
        strategy = attempt.call.strategy.label(),
        reason = attempt.reason(),
        numbers = attempt.numbers.len(),
        outcome = Empty,
    );
    if !span.is_disabled() {
        span.add_link(attempt.call.origin.span.clone());
    }
    span
}
