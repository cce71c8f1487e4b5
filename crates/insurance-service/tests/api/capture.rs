use std::{
    io,
    sync::{Arc, Mutex, OnceLock},
};

use tracing::Dispatch;

use tracing_subscriber::{
    filter::LevelFilter,
    fmt::{MakeWriter, format::FmtSpan},
    util::SubscriberInitExt,
};

/// Everything that this test's thread says to its log, spans included, as JSON lines.
#[derive(Clone, Default)]
pub(crate) struct Capture(Arc<Mutex<Vec<u8>>>);

/// Another subscriber, of no thread. While tracing knows a single one, a thread without any that
/// is the first to pass a place in the code switches that place off for every thread.
static ANOTHER: OnceLock<Dispatch> = OnceLock::new();

impl Capture {
    /// Captures from this level on, until the guard is dropped.
    pub(crate) fn start(level: LevelFilter) -> (Self, tracing::subscriber::DefaultGuard) {
        ANOTHER.get_or_init(|| {
            let all = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE);
            all.with_writer(io::sink).into()
        });
        let capture = Self::default();
        let guard = tracing_subscriber::fmt()
            .json()
            .with_max_level(level)
            .with_span_events(FmtSpan::FULL)
            .with_writer(capture.clone())
            .set_default();
        (capture, guard)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines that hold all of these texts.
    pub(crate) fn lines_with(&self, texts: &[&str]) -> usize {
        let holds = |line: &&str| texts.iter().all(|text| line.contains(text));
        self.text().lines().filter(holds).count()
    }
}

impl io::Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Capture {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
