use std::{collections::HashMap, sync::Arc};

use contracts::{RegistrationNumber, Source, Vehicle};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use tokio::time::Instant;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{Failure, trail::Trail, waiters::Waiters};

/// How several vehicles are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// A call for each number, some at a time.
    Single,
    /// Calls for many numbers each.
    Batch,
}

impl Strategy {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Batch => "batch",
        }
    }

    pub(crate) fn source(self) -> Source {
        match self {
            Self::Single => Source::Live,
            Self::Batch => Source::Batch,
        }
    }
}

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
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The numbers asked for, each once: one for [`Strategy::Single`]. None before it goes out.
    pub(crate) numbers: Arc<[RegistrationNumber]>,
    /// Which route of Vehicle is called.
    pub(crate) strategy: Strategy,
    /// Who waits for it, and until when.
    pub(crate) waiters: Waiters,
    /// Who waited for it first.
    pub(crate) first: Origin,
    /// When the attempt that is out is given up. Means nothing before it goes out.
    pub(crate) until: Instant,
    /// 0 for the first attempt.
    pub(crate) attempt: u32,
    /// Where the layers say what they decided.
    pub(crate) trail: Trail,
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
            span: tracing::Span::current()
                .context()
                .span()
                .span_context()
                .clone(),
        }
    }
}

/// What Vehicle says about one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The vehicle.
    Vehicle(Vehicle),
    /// There is none.
    Nothing,
    /// The answer says nothing usable about this number.
    Failure(Failure),
}

impl Found {
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failure(failure) => Some(failure),
            Self::Vehicle(_) | Self::Nothing => None,
        }
    }
}

/// What Vehicle says about every number that was asked for, and about no other.
pub(crate) type Answer = HashMap<RegistrationNumber, Found>;

#[cfg(test)]
impl Call {
    /// A single call for which somebody waits until then, with a trail.
    pub(crate) fn awaited(deadline: Instant) -> (Self, crate::waiters::Waiter) {
        let number = "ABC123".parse().unwrap();
        let (waiters, waiter) = Waiters::of(&number, deadline, 1);
        let call = Self {
            numbers: Arc::from([number]),
            strategy: Strategy::Single,
            waiters,
            first: Origin {
                request_id: "".into(),
                traceparent: "".into(),
                span: SpanContext::NONE,
            },
            until: Instant::now(),
            attempt: 0,
            trail: Trail::wanted(),
        };
        (call, waiter)
    }
}
