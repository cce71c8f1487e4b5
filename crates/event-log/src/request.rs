use contracts::may_hold_personal_identity_number;
use http::HeaderMap;
use service_defaults::request_context::RequestContext;
use uuid::Uuid;

use crate::Origin;

/// Names the event that led a caller to a request.
const X_CAUSATION_ID: &str = "x-causation-id";

impl Origin {
    /// Who causes what a request changes: its key or token, its request id and its place in its
    /// trace, and the event that the caller names.
    pub fn of_request(context: &RequestContext, headers: &HeaderMap) -> Self {
        let causation_id = headers.get(X_CAUSATION_ID).and_then(|value| {
            let text = value.to_str().ok()?;
            // An event keeps it for ever.
            let kept = !may_hold_personal_identity_number(text);
            Uuid::parse_str(text).ok().filter(|_| kept)
        });
        Self {
            actor: context.actor(),
            correlation_id: context.request_id().to_owned(),
            causation_id,
            traceparent: Some(context.traceparent().to_owned()),
        }
    }
}
