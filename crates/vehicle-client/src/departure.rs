use contracts::Cause;

use crate::{
    Answer, Call, Failure,
    step::{Inner, Step, ask},
};

/// From here on a call belongs to the guard and not to those who wait for it: it keeps its permit
/// until it ends and tells the breaker what became of it, because Vehicle works on when we hang up.
/// It takes along the numbers for which somebody waits, and does not go out for somebody who would
/// be gone at once.
#[derive(Clone)]
pub(crate) struct Departure;

impl Step for Departure {
    async fn pass(self, mut call: Call, inner: impl Inner) -> Result<Answer, Failure> {
        let Some(out) = call.waiters.go_out() else {
            call.trail.note(format_args!("nobody has time for a call"));
            return Err(Failure::lasting(Cause::Timeout));
        };
        call.numbers = out.numbers.clone();
        ask(&inner, call).await
    }
}
