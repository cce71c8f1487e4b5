//! How log lines look. Each names the request that it is of.

use std::{fmt, time::SystemTime};

use humantime::format_rfc3339_micros;
use serde::ser::{SerializeMap, Serializer as _};
use tracing::{Event, Subscriber};
use tracing_serde::SerdeMapVisitor;
use tracing_subscriber::{
    Layer,
    fmt::{
        format::Writer,
        time::{FormatTime, SystemTime as Time},
    },
    layer::Context,
};

use super::log_writer::LogWriter;
use crate::request_context::RequestContext;

/// Bytes that most lines have room in.
const USUAL_BYTES: usize = 512;

/// Writes each event as one JSON object: when and how grave it is, what it says, of which request,
/// and where in the code.
pub(super) struct JsonLines(pub(super) LogWriter);

impl<S: Subscriber> Layer<S> for JsonLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // Fails for none of the types that events have.
        if let Ok(line) = json_line(event) {
            self.0.take(&line);
        }
    }
}

fn json_line(event: &Event<'_>) -> serde_json::Result<Vec<u8>> {
    let metadata = event.metadata();
    let mut line = Vec::with_capacity(USUAL_BYTES);
    let mut json = serde_json::Serializer::new(&mut line);
    let mut members = json.serialize_map(None)?;
    let now = format_rfc3339_micros(SystemTime::now());
    members.serialize_entry("timestamp", &format_args!("{now}"))?;
    members.serialize_entry("level", metadata.level().as_str())?;
    let mut fields = SerdeMapVisitor::new(members);
    event.record(&mut fields);
    let mut members = fields.take_serializer()?;
    let mut named = Ok(());
    RequestContext::with_current(|request| named = name(request, event, &mut members));
    named?;
    members.serialize_entry("target", metadata.target())?;
    members.end()?;
    line.push(b'\n');
    Ok(line)
}

/// Adds the ids of the request, but for those that the event has as fields of its own.
fn name<M: SerializeMap>(
    request: &RequestContext,
    event: &Event<'_>,
    members: &mut M,
) -> Result<(), M::Error> {
    for (name, id) in [
        ("key_id", request.key_id()),
        ("request_id", Some(request.request_id())),
        ("trace_id", Some(request.trace_id())),
    ] {
        if let (Some(id), None) = (id, event.metadata().fields().field(name)) {
            members.serialize_entry(name, id)?;
        }
    }
    Ok(())
}

/// What a line for reading begins with: the time, and the id of its request.
pub(super) struct TimeAndRequest;

impl FormatTime for TimeAndRequest {
    fn format_time(&self, line: &mut Writer<'_>) -> fmt::Result {
        Time.format_time(line)?;
        let mut named = Ok(());
        RequestContext::with_current(|request| named = write!(line, " {}", request.request_id()));
        named
    }
}
