//! Who a request is: its request id, its place in a trace, and the key or token that it came with.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use contracts::may_hold_personal_identity_number;
use opentelemetry::{
    SpanId, TraceFlags, TraceId,
    trace::{SpanContext, TraceState},
};

use crate::{access::Held, scope::Scope, telemetry::ids};

/// `X-Request-Id`.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// `traceparent` of W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

const MAX_REQUEST_ID: usize = 128;
/// Where the trace id stands in a `traceparent` of version 00.
const TRACE_ID: Range<usize> = 3..35;

tokio::task_local! {
    /// The request that is being handled.
    static CURRENT: RequestContext;
}

/// The identity of one request, shared by everything that handles it.
#[derive(Clone, Debug)]
pub struct RequestContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    request_id: String,
    traceparent: String,
    key: OnceLock<Arc<Held>>,
}

impl RequestContext {
    /// A request of this id: the recorded span, if there is one, and else one of the caller's
    /// trace or of a new one.
    pub(crate) fn new(
        request_id: String,
        caller: Option<&SpanContext>,
        recorded: Option<&SpanContext>,
    ) -> Self {
        let trace_id = recorded
            .or(caller)
            .map_or_else(|| ids::trace_id().1, |span| span.trace_id().to_string());
        let span_id = recorded.map_or_else(|| ids::span_id().1, |span| span.span_id().to_string());
        let sampled = recorded.or(caller).is_some_and(SpanContext::is_sampled);
        let flags = if sampled { "01" } else { "00" };
        Self(Arc::new(Inner {
            request_id,
            traceparent: ["00", &trace_id, &span_id, flags].join("-"),
            key: OnceLock::new(),
        }))
    }

    /// The request id: the caller's or a new UUID.
    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// The trace id in hexadecimal: the caller's or a new one.
    pub fn trace_id(&self) -> &str {
        &self.0.traceparent[TRACE_ID]
    }

    /// The `traceparent` that names this request as the parent (W3C Trace Context, version 00).
    pub fn traceparent(&self) -> &str {
        &self.0.traceparent
    }

    /// The id of the key that the request came with, or `token/` and the subject of its token, once
    /// it is known. It names no person.
    pub fn key_id(&self) -> Option<&str> {
        self.0.key.get().map(|key| &*key.id)
    }

    /// Whose the key or token is that the request came with, once it is known. The keys of a
    /// rotation share it.
    pub fn client(&self) -> Option<&str> {
        self.0.key.get().map(|key| &*key.client)
    }

    /// Who makes the request, as it is kept beside what it changes: `key/<id>`, or `token/<subject>`.
    pub fn actor(&self) -> String {
        let key = self.0.key.get();
        key.map_or_else(|| "key/".to_owned(), |key| key.actor.to_string())
    }

    /// Whether the key or token that the request came with has this scope, beside that of the route.
    pub fn has_scope(&self, scope: Scope) -> bool {
        let key = self.0.key.get();
        key.is_some_and(|key| key.scopes.contains(&scope))
    }

    pub(crate) fn set_key(&self, key: Arc<Held>) {
        // Set once a request, by the authentication layer.
        let _ = self.0.key.set(key);
    }

    pub(crate) fn write_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in [
            (X_REQUEST_ID, self.request_id()),
            (TRACEPARENT, self.traceparent()),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
    }

    /// What this future logs is of this request.
    pub(crate) fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(self.clone(), future)
    }

    /// What this function logs is of this request.
    pub(crate) fn in_scope(&self, log: impl FnOnce()) {
        CURRENT.sync_scope(self.clone(), log);
    }

    /// Lets this function look at the request that is being handled, if one is.
    pub(crate) fn with_current(look: impl FnOnce(&Self)) {
        // Fails where nothing of a request is done.
        let _ = CURRENT.try_with(look);
    }
}

/// The caller's request id; a new one where it has none that can be used.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(X_REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| is_request_id(id))
        .map_or_else(ids::request_id, str::to_owned)
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

/// The caller's place in a trace (W3C Trace Context, 3.2), if neither of its ids may hold an
/// identity number.
///
/// `tracestate` is dropped: it is other vendors' free text (3.3), which may be anything, and it
/// would be exported with every span.
pub(crate) fn callers_span(headers: &HeaderMap) -> Option<SpanContext> {
    let mut parts = headers.get(TRACEPARENT)?.to_str().ok()?.split('-');
    let version = hexadecimal(parts.next()?, 2)?;
    let (trace_id, span_id) = (
        hexadecimal(parts.next()?, 32)?,
        hexadecimal(parts.next()?, 16)?,
    );
    let flags = hexadecimal(parts.next()?, 2)?;
    // Later versions may add parts.
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    if [trace_id, span_id]
        .into_iter()
        .any(may_hold_personal_identity_number)
    {
        return None;
    }
    let span = SpanContext::new(
        TraceId::from_hex(trace_id).ok()?,
        SpanId::from_hex(span_id).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    span.is_valid().then_some(span)
}

fn hexadecimal(text: &str, digits: usize) -> Option<&str> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == digits && text.bytes().all(is_digit)).then_some(text)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};
    use contracts::may_hold_personal_identity_number;

    use super::{RequestContext, TRACEPARENT, X_REQUEST_ID, callers_span, request_id};

    fn context(headers: &[(axum::http::HeaderName, &str)]) -> RequestContext {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect();
        RequestContext::new(request_id(&headers), callers_span(&headers).as_ref(), None)
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
            assert_eq!(callers_span(&headers), None, "{parent}");
        }
    }

    /// So many that 17 trace ids and 11 request ids would, by chance, if they were not drawn again.
    #[test]
    fn no_id_of_ours_may_name_a_person() {
        for _ in 0..50_000 {
            let context = context(&[]);
            for id in [context.request_id(), context.trace_id()] {
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
        let caller = callers_span(&headers).unwrap();
        assert_eq!(caller.trace_state().header(), "");
    }

    #[test]
    fn a_broken_trace_is_replaced_by_a_new_one() {
        for parent in [
            "",
            "00-0-0-00",
            "zz",
            &"0".repeat(5_000),
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-+1",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            let own = context(&[(TRACEPARENT, parent)]);
            assert_eq!(own.trace_id().len(), 32);
            assert_ne!(own.trace_id(), "0".repeat(32));
            assert!(!parent.contains(own.trace_id()), "{parent}");
        }
    }

    #[test]
    fn a_trace_of_a_later_version_is_continued() {
        let parent = "02-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-09-more";
        let own = context(&[(TRACEPARENT, parent)]);
        let (trace, flags) = ("00-4bf92f3577b34da6a3ce929d0e0e4736-", "-01");
        assert!(own.traceparent().starts_with(trace) && own.traceparent().ends_with(flags));
    }
}
