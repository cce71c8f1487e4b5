//! The circuit breaker: stops calling a dependency that does not work, and finds out gently when
//! it works again.
//!
//! Our own, because the crates at hand fell short in tests: a window that did not slide, a cost
//! that grew with its length, half-open states that let everybody through, late results of an
//! older state that closed the circuit.

mod machine;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
mod window;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contracts::Cause;
use tokio::time::Instant;

pub use machine::{BreakerOptions, Phase};
use machine::{Machine, Outcome, Permit, Transition};

use crate::{
    Answer, BreakerState, Call, Failure,
    chance::Chance,
    failure::Nature,
    instruments::Instruments,
    step::{Inner, Step, ask},
};

/// Asked when a call holds its bulkhead permit, so that nothing that was queued goes out after
/// the breaker has opened.
#[derive(Clone)]
pub(crate) struct Breaker {
    machine: Arc<Mutex<Machine>>,
    chance: Chance,
    instruments: Instruments,
}

impl Breaker {
    pub(crate) fn new(options: BreakerOptions, chance: Chance, instruments: Instruments) -> Self {
        let machine = Arc::new(Mutex::new(Machine::new(options, Instant::now())));
        instruments.breaker_is(Phase::Closed);
        Self {
            machine,
            chance,
            instruments,
        }
    }

    /// The state, for people and metrics.
    pub(crate) fn phase(&self) -> Phase {
        self.machine().phase()
    }

    /// The state, with the time that it lasts.
    pub(crate) fn state(&self) -> BreakerState {
        let machine = self.machine();
        BreakerState {
            phase: machine.phase(),
            retry_after: machine.retry_after(Instant::now()),
        }
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        // The machine's methods leave it whole even if one of them panics.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, transition: Option<Transition>) {
        let phase = match transition {
            None => return,
            Some(Transition::Opened { duration }) => {
                tracing::warn!(?duration, "breaker opened: Vehicle is not called");
                Phase::Open
            }
            Some(Transition::HalfOpened) => {
                tracing::info!("breaker half-open: Vehicle is probed with one call at a time");
                Phase::HalfOpen
            }
            Some(Transition::Closed) => {
                tracing::info!("breaker closed: Vehicle works again");
                Phase::Closed
            }
        };
        self.instruments.breaker_became(phase);
    }
}

impl Step for Breaker {
    async fn pass(self, call: Call, inner: impl Inner) -> Result<Answer, Failure> {
        let (leave, transition) = self.machine().ask(Instant::now(), self.chance.draw());
        self.tell(transition);
        if call.trail.is_wanted() {
            let phase = self.phase().label();
            call.trail.note(format_args!("breaker {phase}"));
        }
        let permit = leave.map_err(|refused| {
            Failure::lasting(Cause::BreakerOpen).with_retry_after(refused.retry_after)
        })?;
        let mut leave = Leave {
            breaker: &self,
            permit,
            outcome: Outcome::Failed,
        };
        let result = ask(&inner, call).await;
        leave.outcome = match &result {
            // A refusal of our key or of our question is loud by other means and shows a Vehicle
            // that works.
            Err(failure) if failure.nature == Nature::Refusal => Outcome::Good,
            Err(_) => Outcome::Failed,
            Ok(_) => Outcome::Good,
        };
        result
    }
}

/// The half above the bulkhead: while the breaker is open, nobody waits for a place to be told so.
/// It decides nothing for a call that it lets through.
#[derive(Clone)]
pub(crate) struct BreakerGlance(pub(crate) Breaker);

impl Step for BreakerGlance {
    async fn pass(self, call: Call, inner: impl Inner) -> Result<Answer, Failure> {
        let refused = self.0.machine().glance(Instant::now());
        if let Some(refused) = refused {
            call.trail.note(format_args!("the breaker is not closed"));
            return Err(Failure::lasting(Cause::BreakerOpen).with_retry_after(refused.retry_after));
        }
        ask(&inner, call).await
    }
}

/// A permit that gives itself back, also when the call panics, which counts as a failure.
struct Leave<'a> {
    breaker: &'a Breaker,
    permit: Permit,
    outcome: Outcome,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let (now, random) = (Instant::now(), self.breaker.chance.draw());
        let transition = self
            .breaker
            .machine()
            .report(self.permit, self.outcome, now, random);
        self.breaker.tell(transition);
    }
}
