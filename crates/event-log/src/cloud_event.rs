use contracts::CloudEvent;
use serde_json::value::RawValue;

use crate::Event;

impl Event {
    /// The event as its readers get it, from the log with this `source`.
    ///
    /// # Errors
    ///
    /// Its data are no JSON, which the schema of the log rules out.
    pub fn into_cloud_event(self, source: &str) -> serde_json::Result<CloudEvent> {
        let subject = format!("{}/{}", self.aggregate_type, self.aggregate_id);
        let auth_type = auth_type(&self.actor);
        let gone = self.data == "null";
        Ok(CloudEvent {
            specversion: "1.0",
            id: self.event_id.to_string(),
            source: source.to_owned(),
            r#type: self.event_type,
            partitionkey: subject.clone(),
            subject,
            time: self.occurred_at.to_string(),
            datacontenttype: "application/json",
            sequence: format!("{:020}", self.position),
            aggregateversion: self.version,
            correlationid: self.correlation_id,
            causationid: self.causation_id.map(|it| it.to_string()),
            traceparent: self.traceparent,
            authtype: auth_type,
            authid: self.actor,
            method: gone.then_some("DELETE"),
            data: RawValue::from_string(self.data)?,
        })
    }
}

/// The kind of an actor, in the words of the extension of `CloudEvents` for authentication contexts.
fn auth_type(actor: &str) -> &'static str {
    match actor.split_once('/') {
        Some(("key", _)) => "api_key",
        // A subject may be a person or a program.
        Some(("token", _)) => "unknown",
        _ => "system",
    }
}

#[cfg(test)]
mod tests {
    use super::auth_type;

    #[test]
    fn only_what_nobody_asked_for_is_the_systems() {
        for (actor, expected) in [
            ("key/core_system", "api_key"),
            ("token/core-system", "unknown"),
            ("token/~abcdefghijklmnopabcdefghijklmnop", "unknown"),
            ("token/key/a", "unknown"),
            ("worker/expiry", "system"),
            ("database/postgres", "system"),
        ] {
            assert_eq!(auth_type(actor), expected, "{actor}");
        }
    }
}
