use contracts::CloudEvent;
use service_defaults::problem::Rejection;

use crate::Event;

/// An event as its readers get it.
pub(super) fn cloud_event(event: Event, source: &str) -> Result<CloudEvent, Rejection> {
    let wired = event.into_cloud_event(source);
    wired.map_err(|error| Rejection::internal().with_cause(error))
}

pub(super) fn cloud_events(events: Vec<Event>, source: &str) -> Result<Vec<CloudEvent>, Rejection> {
    let wired = events.into_iter().map(|event| cloud_event(event, source));
    wired.collect()
}
