use std::sync::Arc;

use access_tokens::OwnToken;
use contracts::RegistrationNumber;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use tokio::time::Instant;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{Strategy, group::Group, observe::LookupLog};

/// The inbound request for which Vehicle is asked.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// Nothing is waited for past this.
    pub deadline: Instant,
    /// Sent on as `X-Request-Id`.
    pub request_id: Arc<str>,
    /// Sent on as `traceparent` where no tracer records a span of its own.
    pub traceparent: Arc<str>,
}

/// One question to Vehicle, as it passes the guard.
#[derive(Debug)]
pub(crate) struct Call {
    /// Which route of Vehicle is called.
    pub(crate) strategy: Strategy,
    /// Who waits for it: for which numbers, and until when.
    pub(crate) group: Group,
    /// Who asked first.
    pub(crate) origin: Origin,
}

impl Call {
    /// Where the layers say what they decided.
    pub(crate) fn log(&self) -> &LookupLog {
        self.group.log()
    }
}

/// One attempt of a call, as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) call: Arc<Call>,
    /// The numbers asked for, each once: one for [`Strategy::Single`].
    pub(crate) numbers: Arc<[RegistrationNumber]>,
    /// 0 for the first.
    pub(crate) retry: u32,
    /// When it is given up.
    pub(crate) until: Instant,
    /// What Vehicle knows us by, where it is no key.
    pub(crate) token: Option<OwnToken>,
}

impl Attempt {
    /// Why it is made, as a metric label.
    pub(crate) fn reason(&self) -> &'static str {
        if self.retry == 0 { "first" } else { "retry" }
    }
}

/// The inbound request that a call is made for, as Vehicle and the traces are told.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) request_id: Arc<str>,
    pub(crate) traceparent: Arc<str>,
    /// The span in which it asks; invalid where none is recorded.
    pub(crate) span: SpanContext,
}

impl Origin {
    /// The request that asks now.
    pub(crate) fn of(context: &CallContext) -> Self {
        Self {
            request_id: context.request_id.clone(),
            traceparent: context.traceparent.clone(),
            span: recorded(&tracing::Span::current()),
        }
    }
}

/// A span as a tracing back-end knows it; invalid where there is none.
fn recorded(span: &tracing::Span) -> SpanContext {
    if span.is_disabled() {
        return SpanContext::NONE;
    }
    span.context().span().span_context().clone()
}

#[cfg(test)]
impl Call {
    /// A single call for which somebody waits until then, with a log.
    pub(crate) fn awaited(deadline: Instant) -> (Arc<Self>, crate::group::Waiter) {
        let number = "ABC123".parse().unwrap();
        let (group, waiter) = Group::new(&number, deadline, 1, LookupLog::enabled());
        let call = Self {
            strategy: Strategy::Single,
            group,
            origin: Origin {
                request_id: "".into(),
                traceparent: "".into(),
                span: SpanContext::NONE,
            },
        };
        (Arc::new(call), waiter)
    }
}
