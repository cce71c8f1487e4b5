use std::fmt::Display;

use async_nats::{HeaderMap, jetstream::message::PublishMessage};
use contracts::CloudEvent;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What is not printable ASCII is encoded in a header, and these
/// (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#3132-http-header-values>).
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// The header with an event's position in the log.
pub(crate) const SEQUENCE: &str = "ce-sequence";
/// The header with an event's id.
pub(crate) const ID: &str = "ce-id";

/// The subject of a service's event.
pub(crate) fn subject(service: &str, event: &CloudEvent) -> String {
    format!("threadpilot.{service}.{}", event.r#type)
}

/// The event in the binary mode of `CloudEvents`: its attributes as headers, its data as the payload.
/// The server takes it only into this stream, and only right after the message of this sequence.
pub(crate) fn message(event: CloudEvent, stream: &str, after: u64) -> PublishMessage {
    let mut headers = HeaderMap::new();
    let mut put = |name: &str, value: &dyn Display| {
        let value = value.to_string();
        headers.insert(name, utf8_percent_encode(&value, ENCODED).to_string());
    };
    put("ce-specversion", &event.specversion);
    put(ID, &event.id);
    put("ce-source", &event.source);
    put("ce-type", &event.r#type);
    put("ce-subject", &event.subject);
    put("ce-time", &event.time);
    put("ce-datacontenttype", &event.datacontenttype);
    put(SEQUENCE, &event.sequence);
    put("ce-partitionkey", &event.partitionkey);
    put("ce-aggregateversion", &event.aggregateversion);
    put("ce-correlationid", &event.correlationid);
    put("ce-authtype", &event.authtype);
    put("ce-authid", &event.authid);
    for (name, value) in [
        ("ce-causationid", event.causationid.as_deref()),
        ("ce-traceparent", event.traceparent.as_deref()),
        ("ce-method", event.method),
    ] {
        if let Some(value) = value {
            put(name, &value);
        }
    }
    let payload = String::from(Box::<str>::from(event.data)).into();
    PublishMessage::build()
        .headers(headers)
        .message_id(event.id)
        .payload(payload)
        .expected_stream(stream)
        .expected_last_sequence(after)
}
