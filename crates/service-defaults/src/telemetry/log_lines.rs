//! How log lines look. Each names the request that it is of.

use std::{
    fmt::{self, Debug},
    time::SystemTime,
};

use humantime::format_rfc3339_micros;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    fmt::{
        format::Writer,
        time::{FormatTime, SystemTime as Time},
    },
    layer::Context,
};

use super::log_writer::LogWriter;
use crate::{json::Object, request_context::RequestContext};

/// Writes each event as one JSON object: when and how grave it is, what it says, of which request,
/// and where in the code.
pub(super) struct JsonLines(pub(super) LogWriter);

impl<S: Subscriber> Layer<S> for JsonLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.take(&json_line(event));
    }
}

fn json_line(event: &Event<'_>) -> Vec<u8> {
    let metadata = event.metadata();
    let mut line = Line(Object::new());
    line.0.text(
        "timestamp",
        &format_rfc3339_micros(SystemTime::now()).to_string(),
    );
    line.0.text("level", metadata.level().as_str());
    event.record(&mut line);
    RequestContext::with_current(|request| line.name(request, event));
    line.0.text("target", metadata.target());
    let mut line = line.0.end();
    line.push(b'\n');
    line
}

struct Line(Object);

impl Line {
    /// Adds the ids of the request, but for those that the event has as fields of its own.
    fn name(&mut self, request: &RequestContext, event: &Event<'_>) {
        for (name, id) in [
            ("key_id", request.key_id()),
            ("request_id", Some(request.request_id())),
            ("trace_id", Some(request.trace_id())),
        ] {
            if let (Some(id), None) = (id, event.metadata().fields().field(name)) {
                self.0.text(name, id);
            }
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.text(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.member(field.name(), &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.member(field.name(), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.member(field.name(), &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.member(field.name(), &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.member(field.name(), &format_args!("{value:?}"));
    }
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
