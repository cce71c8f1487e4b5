//! Ids that we make. They reach logs, spans, headers and errors, so one that may hold a personal
//! identity number is drawn again.

use contracts::may_hold_personal_identity_number;
use opentelemetry::{SpanId, TraceId};
use opentelemetry_sdk::trace::IdGenerator;
use uuid::{Builder, Uuid};

/// A new request id: a random UUID. Not one that begins with the time: in some milliseconds all of
/// those would have to be drawn again.
pub(crate) fn request_id() -> String {
    let draw = || Builder::from_random_bytes(rand::random()).into_uuid();
    let text = |id: &Uuid| {
        let mut text = Uuid::encode_buffer();
        id.hyphenated().encode_lower(&mut text).to_owned()
    };
    drawn(draw, text).1
}

/// A new trace id, in hexadecimal too.
pub(crate) fn trace_id() -> (TraceId, String) {
    let draw = || TraceId::from(rand::random_range(1..=u128::MAX));
    drawn(draw, TraceId::to_string)
}

/// A new span id, in hexadecimal too.
pub(crate) fn span_id() -> (SpanId, String) {
    let draw = || SpanId::from(rand::random_range(1..=u64::MAX));
    drawn(draw, SpanId::to_string)
}

fn drawn<T>(mut draw: impl FnMut() -> T, text: impl Fn(&T) -> String) -> (T, String) {
    loop {
        let id = draw();
        let text = text(&id);
        if !may_hold_personal_identity_number(&text) {
            return (id, text);
        }
    }
}

/// Makes the ids of recorded spans.
#[derive(Debug)]
pub(crate) struct Ids;

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        trace_id().0
    }

    fn new_span_id(&self) -> SpanId {
        span_id().0
    }
}

#[cfg(test)]
mod tests {
    use super::drawn;

    #[test]
    fn an_id_that_may_hold_a_number_is_drawn_again() {
        let mut draws = ["199001011234", "19900101a1234bcd", "00f067aa0ba902b7"].into_iter();
        assert_eq!(
            drawn(|| draws.next().unwrap(), ToString::to_string).0,
            "00f067aa0ba902b7"
        );
    }
}
