//! The trail of a lookup: which layers decided what, for whoever asks why an answer is as it is.

use std::{
    fmt::{Arguments, Write},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::Instant;

/// What the layers say about one lookup or one call, in words and in order. Holds no numbers.
///
/// It costs nothing unless debug lines are wanted. Clones are the same trail.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail(Option<Arc<Steps>>);

#[derive(Debug)]
struct Steps {
    since: Instant,
    text: Mutex<String>,
}

impl Trail {
    /// A trail that begins now, if debug lines are wanted.
    pub(crate) fn begin() -> Self {
        let wanted = tracing::enabled!(tracing::Level::DEBUG);
        Self(wanted.then(Self::steps))
    }

    #[cfg(test)]
    pub(crate) fn wanted() -> Self {
        Self(Some(Self::steps()))
    }

    /// Notes down what was decided, with the milliseconds since the trail began.
    pub(crate) fn note(&self, step: Arguments<'_>) {
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

    /// All steps so far; empty when debug lines are not wanted.
    pub(crate) fn steps_so_far(&self) -> String {
        let text = |steps: &Arc<Steps>| {
            let text = steps.text.lock().unwrap_or_else(PoisonError::into_inner);
            text.clone()
        };
        self.0.as_ref().map(text).unwrap_or_default()
    }

    /// Whether anybody reads it.
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    fn steps() -> Arc<Steps> {
        Arc::new(Steps {
            since: Instant::now(),
            text: Mutex::default(),
        })
    }
}
