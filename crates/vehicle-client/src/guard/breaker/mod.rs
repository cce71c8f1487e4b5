//! The circuit breaker: stops calling a dependency that does not work, and finds out gently when
//! it works again.
//!
//! Our own, because the crates at hand fell short in tests: a window that did not slide, a cost
//! that grew with its length, half-open states that let everybody through, late results of an
//! older state that closed the circuit.

mod closed;
mod in_flight;
mod machine;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
mod window;

pub use machine::{BreakerState, Phase};
pub(crate) use machine::{JITTER, Machine, Outcome, Permit, Transition};
