//! Who a request is: its request id, its place in a trace, and the key that it came with.

use std::sync::{Arc, OnceLock};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use contracts::may_hold_personal_identity_number;
use opentelemetry::{
    Context, TraceFlags, TraceId,
    propagation::{Extractor, TextMapPropagator},
    trace::{SpanContext, TraceContextExt, TraceState},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use crate::telemetry::ids;

/// `X-Request-Id`.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// `traceparent` of W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

const MAX_REQUEST_ID: usize = 128;

/// The identity of one request, shared by everything that handles it.
#[derive(Clone, Debug)]
pub struct RequestContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    request_id: String,
    span: SpanContext,
    key_id: OnceLock<String>,
}

impl RequestContext {
    /// Takes the request id and the trace from the caller's headers, or makes what is missing or
    /// may hold a personal identity number. Also returns the caller's trace context, for the parent
    /// of the request's span: empty for a new trace.
    pub fn from_headers(headers: &HeaderMap) -> (Self, Context) {
        let caller = callers_trace(headers);
        let span = match caller.span().span_context() {
            parent if parent.is_valid() => own_span(parent.trace_id(), parent.trace_flags()),
            _ => own_span(ids::trace_id(), TraceFlags::NOT_SAMPLED),
        };
        let request_id = headers
            .get(X_REQUEST_ID)
            .and_then(|value| value.to_str().ok())
            .filter(|id| is_request_id(id))
            .map_or_else(ids::request_id, str::to_owned);
        (
            Self(Arc::new(Inner {
                request_id,
                span,
                key_id: OnceLock::new(),
            })),
            caller,
        )
    }

    /// Takes over the span that a tracer recorded for this request, if one did.
    #[must_use]
    pub fn with_recorded_span(self, recorded: &SpanContext) -> Self {
        if !recorded.is_valid() {
            return self;
        }
        let request_id = self.0.request_id.clone();
        Self(Arc::new(Inner {
            request_id,
            span: recorded.clone(),
            key_id: OnceLock::new(),
        }))
    }

    /// The request id: the caller's or a new UUID.
    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// The trace id: the caller's or a new one.
    pub fn trace_id(&self) -> TraceId {
        self.0.span.trace_id()
    }

    /// The `traceparent` that names this request as the parent (W3C Trace Context, version 00).
    pub fn traceparent(&self) -> String {
        let span = &self.0.span;
        let flags = span.trace_flags() & TraceFlags::SAMPLED;
        format!(
            "00-{}-{}-{:02x}",
            span.trace_id(),
            span.span_id(),
            flags.to_u8()
        )
    }

    /// The id of the key that the request came with, once it is known.
    pub fn key_id(&self) -> Option<&str> {
        self.0.key_id.get().map(String::as_str)
    }

    pub(crate) fn set_key_id(&self, id: &str) {
        // Set once a request, by the authentication layer.
        let _ = self.0.key_id.set(id.to_owned());
    }

    pub(crate) fn write_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in [
            (X_REQUEST_ID, self.request_id()),
            (TRACEPARENT, &self.traceparent()),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
    }
}

fn own_span(trace_id: TraceId, flags: TraceFlags) -> SpanContext {
    SpanContext::new(
        trace_id,
        ids::span_id(),
        flags,
        false,
        TraceState::default(),
    )
}

/// Bounded and printable; and nothing that may hold an identity number, because a careless caller
/// may use somebody's and it would reach every log.
fn is_request_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/+=-".contains(&byte);
    !id.is_empty()
        && id.len() <= MAX_REQUEST_ID
        && id.bytes().all(allowed)
        && !may_hold_personal_identity_number(id)
}

/// The caller's place in a trace, if neither of its ids may hold an identity number.
fn callers_trace(headers: &HeaderMap) -> Context {
    let caller = TraceContextPropagator::new()
        .extract_with_context(&Context::new(), &TraceparentCarrier(headers));
    let (trace_id, parent) = {
        let span = caller.span();
        let context = span.span_context();
        (
            context.trace_id().to_string(),
            context.span_id().to_string(),
        )
    };
    if [trace_id, parent]
        .iter()
        .any(|id| may_hold_personal_identity_number(id))
    {
        Context::new()
    } else {
        caller
    }
}

/// Carries no `tracestate`: it is other vendors' free text (W3C Trace Context, 3.3), which may be
/// anything, and it would be exported with every span.
struct TraceparentCarrier<'a>(&'a HeaderMap);

impl Extractor for TraceparentCarrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(TRACEPARENT).filter(|_| TRACEPARENT == key);
        value.and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};
    use contracts::may_hold_personal_identity_number;
    use opentelemetry::trace::TraceContextExt;

    use super::{RequestContext, TRACEPARENT, X_REQUEST_ID};

    fn context(headers: &[(axum::http::HeaderName, &str)]) -> RequestContext {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect();
        RequestContext::from_headers(&headers).0
    }

    #[test]
    fn a_callers_request_id_is_taken() {
        assert_eq!(
            context(&[(X_REQUEST_ID, "core-42")]).request_id(),
            "core-42"
        );
    }

    #[test]
    fn a_long_random_request_id_is_taken() {
        for id in [
            "0193a3c6-5b8f-7a60-9d5c-0c3f5e7d2b11",
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "order-202699999999",
        ] {
            assert_eq!(context(&[(X_REQUEST_ID, id)]).request_id(), id);
        }
    }

    #[test]
    fn an_unusable_request_id_is_replaced() {
        for id in [
            "",
            "a b",
            "a\"b",
            &"x".repeat(129),
            "199001011234",
            "19900101-1234",
            "person:19900101+1234",
            "ref:19900101_1234",
            "user-900101-1234",
            "person:199001011234",
            "lookup-19900161-1234-2",
            "19900101T1234",
            "19900101-1234-abcd-abcd-abcdefabcdef",
            "abcdefab-abcd-4bcd-8bcd-199001011234",
        ] {
            assert_ne!(context(&[(X_REQUEST_ID, id)]).request_id(), id);
        }
    }

    #[test]
    fn a_callers_trace_is_continued_and_its_sampling_kept() {
        for flags in ["00", "01"] {
            let parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
            let context = context(&[(TRACEPARENT, &parent)]);
            let own = context.traceparent();
            assert!(
                own.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"),
                "{own}"
            );
            assert!(own.ends_with(flags) && own != parent, "{own}");
        }
    }

    #[test]
    fn a_trace_that_may_name_a_person_is_not_continued() {
        for parent in [
            "00-00000000000000000000199001011234-00f067aa0ba902b7-01",
            "00-199001011234abcdef00f067aa0ba902-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-199001011234abcd-01",
        ] {
            let headers = HeaderMap::from_iter([(TRACEPARENT, parent.parse().unwrap())]);
            let (context, caller) = RequestContext::from_headers(&headers);
            assert!(!caller.span().span_context().is_valid(), "{parent}");
            assert!(!parent.contains(&context.trace_id().to_string()));
        }
    }

    /// So many that 17 trace ids and 11 request ids would, by chance, if they were not drawn again.
    #[test]
    fn no_id_of_ours_may_name_a_person() {
        for _ in 0..50_000 {
            let context = context(&[]);
            for id in [context.request_id(), &context.trace_id().to_string()] {
                assert!(!may_hold_personal_identity_number(id), "{id}");
            }
        }
    }

    #[test]
    fn a_trace_state_is_dropped() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let headers = HeaderMap::from_iter([
            (TRACEPARENT, parent.parse().unwrap()),
            ("tracestate".parse().unwrap(), "core=1".parse().unwrap()),
        ]);
        let (_, caller) = RequestContext::from_headers(&headers);
        let span = caller.span();
        assert!(span.span_context().is_valid());
        assert_eq!(span.span_context().trace_state().header(), "");
    }

    #[test]
    fn a_broken_trace_is_replaced_by_a_new_one() {
        for parent in ["", "00-0-0-00", "zz", &"0".repeat(5_000)] {
            let own = context(&[(TRACEPARENT, parent)]);
            assert_eq!(own.trace_id().to_string().len(), 32);
            assert_ne!(own.trace_id().to_string(), "0".repeat(32));
        }
    }
}
