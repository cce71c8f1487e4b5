use std::{
    fmt::{Arguments, Write},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::Instant;

/// What the layers decided about one lookup or one call, in words and in order, for whoever asks
/// why an answer is as it is. Holds no numbers.
///
/// It costs nothing unless debug lines are enabled. Clones are the same log.
#[derive(Clone, Debug, Default)]
pub(crate) struct LookupLog(Option<Arc<Steps>>);

#[derive(Debug)]
struct Steps {
    since: Instant,
    text: Mutex<String>,
}

impl LookupLog {
    /// A log that begins now, if debug lines are enabled.
    pub(crate) fn begin() -> Self {
        let enabled = tracing::enabled!(tracing::Level::DEBUG);
        Self(enabled.then(Self::steps))
    }

    #[cfg(test)]
    pub(crate) fn enabled() -> Self {
        Self(Some(Self::steps()))
    }

    /// Adds what was decided, with the milliseconds since the log began.
    pub(crate) fn add(&self, step: Arguments<'_>) {
        let Some(steps) = &self.0 else { return };
        let mut text = steps.text.lock().unwrap_or_else(PoisonError::into_inner);
        let between = if text.is_empty() { "" } else { "; " };
        // Writing to a text does not fail.
        let _ = write!(
            text,
            "{between}{}ms {step}",
            steps.since.elapsed().as_millis()
        );
    }

    /// All steps so far; empty when debug lines are not enabled.
    pub(crate) fn text(&self) -> String {
        let text = |steps: &Arc<Steps>| {
            let text = steps.text.lock().unwrap_or_else(PoisonError::into_inner);
            text.clone()
        };
        self.0.as_ref().map(text).unwrap_or_default()
    }

    /// Whether anybody reads it.
    pub(crate) fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    fn steps() -> Arc<Steps> {
        Arc::new(Steps {
            since: Instant::now(),
            text: Mutex::default(),
        })
    }
}
