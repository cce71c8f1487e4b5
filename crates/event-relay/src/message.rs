//! An event as a message: the binary mode of `CloudEvents`.

use std::fmt::Display;

use async_nats::{HeaderMap, HeaderValue, jetstream::message::PublishMessage};
use contracts::CloudEvent;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value, value::RawValue};
use uuid::Uuid;

/// What is not printable ASCII is encoded in a header, and these
/// (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#3132-http-header-values>).
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// The header with an event's position in the log.
const SEQUENCE: &str = "ce-sequence";
/// The header with an event's id.
const ID: &str = "ce-id";
/// Attributes that an event may lack.
const OPTIONAL: [&str; 3] = ["causationid", "traceparent", "method"];

/// An event of the log, by its position and its id.
pub(crate) type Place = (i64, Uuid);

/// The subject of a service's event.
pub(crate) fn subject(service: &str, event: &CloudEvent) -> String {
    format!("threadpilot.{service}.{}", event.r#type)
}

/// The place of a message's event; `None` where it is not of a relay.
pub(crate) fn place(headers: &HeaderMap) -> Option<Place> {
    let header = |name| headers.get(name).map(HeaderValue::as_str);
    Some((header(SEQUENCE)?.parse().ok()?, header(ID)?.parse().ok()?))
}

/// A message's event in the structured JSON form, as the feed has it. What does not fit is left as it
/// is: the reader holds it to the contract.
pub(crate) fn event(headers: &HeaderMap, payload: &[u8]) -> serde_json::Result<Box<RawValue>> {
    let mut members = Map::new();
    for name in OPTIONAL {
        members.insert(name.to_owned(), Value::Null);
    }
    for (name, values) in headers.iter() {
        let (name, value) = (name.to_string(), values.last());
        let (Some(name), Some(value)) = (name.strip_prefix("ce-"), value) else {
            continue;
        };
        let text = percent_decode_str(value.as_str()).decode_utf8_lossy();
        let number = text
            .parse::<i64>()
            .ok()
            .filter(|_| name == "aggregateversion");
        let value = number.map_or_else(|| text.as_ref().into(), Value::from);
        members.insert(name.to_owned(), value);
    }
    let data = serde_json::from_slice(payload);
    let data = data.unwrap_or_else(|_| String::from_utf8_lossy(payload).into());
    members.insert("data".to_owned(), data);
    serde_json::value::to_raw_value(&members)
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
