use contracts::CloudEvent;
use serde_json::value::RawValue;
use service_defaults::problem::Rejection;

use crate::Event;

/// An event as its readers get it.
pub(super) fn cloud_event(event: Event, source: &str) -> Result<CloudEvent, Rejection> {
    let subject = format!("{}/{}", event.aggregate_type, event.aggregate_id);
    let auth_type = if event.actor.starts_with("key/") {
        "api_key"
    } else {
        "system"
    };
    let gone = event.data == "null";
    let data = RawValue::from_string(event.data)
        .map_err(|error| Rejection::internal().with_cause(error))?;
    Ok(CloudEvent {
        specversion: "1.0",
        id: event.event_id.to_string(),
        source: source.to_owned(),
        r#type: event.event_type,
        partitionkey: subject.clone(),
        subject,
        time: event.occurred_at.to_string(),
        datacontenttype: "application/json",
        sequence: format!("{:020}", event.position),
        aggregateversion: event.version,
        correlationid: event.correlation_id,
        causationid: event.causation_id.map(|it| it.to_string()),
        traceparent: event.traceparent,
        authtype: auth_type,
        authid: event.actor,
        method: gone.then_some("DELETE"),
        data,
    })
}

pub(super) fn cloud_events(events: Vec<Event>, source: &str) -> Result<Vec<CloudEvent>, Rejection> {
    let wired = events.into_iter().map(|event| cloud_event(event, source));
    wired.collect()
}
