//! The kill switch: asked for each call, so that it holds for those of requests that began before.

use std::sync::{Arc, OnceLock};

use contracts::Cause;

use crate::{
    Answer, Call, Failure,
    step::{Inner, Step, ask},
};

/// Keeps calls from Vehicle while its question says no; lets them through where none is set.
#[derive(Clone, Default)]
pub(crate) struct Switch(Arc<OnceLock<Question>>);

type Question = Box<dyn Fn() -> bool + Send + Sync>;

impl Switch {
    /// Sets the question, once; a later one is not asked.
    pub(crate) fn ask_whether_on(&self, is_on: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = self.0.set(Box::new(is_on));
    }
}

impl Step for Switch {
    async fn pass(self, call: Call, inner: impl Inner) -> Result<Answer, Failure> {
        if self.0.get().is_some_and(|is_on| !is_on()) {
            call.trail.note(format_args!("calls are switched off"));
            return Err(Failure::lasting(Cause::BreakerOpen));
        }
        ask(&inner, call).await
    }
}
