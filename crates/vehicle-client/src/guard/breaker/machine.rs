use std::time::Duration;

use tokio::time::Instant;

use super::closed::{Closed, Rule};
use crate::BreakerOptions;

/// Share by which every open time varies, so that processes do not probe in step.
pub(crate) const JITTER: f64 = 0.1;

/// A circuit breaker as a pure state machine: time and randomness come from outside.
///
/// It costs O(1) a call; its memory is bounded by the calls that start within `slow_after`.
/// `random` is in 0..1 wherever it is asked for.
#[derive(Debug)]
pub(crate) struct Machine {
    options: BreakerOptions,
    slow_after: Duration,
    state: State,
    /// Raised by every transition. A permit of an older one has no say any more.
    generation: u64,
    /// Times the breaker opened since it was last closed.
    opened: u32,
}

#[derive(Debug)]
enum State {
    Closed(Box<Closed>),
    Open { until: Instant },
    HalfOpen { probing: bool, good: u32 },
}

/// Permission for one call, to be given back with its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Permit {
    generation: u64,
    number: u64,
    started: Instant,
}

/// What became of a call, as far as the breaker cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The dependency works.
    Good,
    /// The dependency does not work.
    Failed,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    Opened {
        /// For so long.
        duration: Duration,
        rule: Rule,
    },
    HalfOpened,
    Closed {
        /// Good probes in a row.
        probes: u32,
    },
}

/// Why a call may not go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// How long until the next probe, if that is known.
    pub(crate) retry_after: Option<Duration>,
}

/// The breaker's state in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Calls go out.
    Closed,
    /// No call goes out.
    Open,
    /// One call at a time goes out, to see whether Vehicle works again.
    HalfOpen,
}

/// How the breaker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerState {
    /// Its state.
    pub phase: Phase,
    /// How long until it lets a probe through; nothing unless it is open.
    pub retry_after: Option<Duration>,
}

impl Phase {
    /// The state as a metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl Machine {
    pub(crate) fn new(options: BreakerOptions, slow_after: Duration, now: Instant) -> Self {
        let closed = Closed::new(options, slow_after, now);
        Self {
            options,
            slow_after,
            state: State::Closed(Box::new(closed)),
            generation: 0,
            opened: 0,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.state {
            State::Closed(_) => Phase::Closed,
            State::Open { .. } => Phase::Open,
            State::HalfOpen { .. } => Phase::HalfOpen,
        }
    }

    /// The state, and how long until a probe may go out.
    pub(crate) fn state(&self, now: Instant) -> BreakerState {
        let retry_after = match self.state {
            State::Open { until } => Some(until.saturating_duration_since(now)),
            State::Closed(_) | State::HalfOpen { .. } => None,
        };
        BreakerState {
            phase: self.phase(),
            retry_after,
        }
    }

    /// Asks for permission to make a call now.
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        random: f64,
    ) -> (Result<Permit, Refused>, Option<Transition>) {
        let mut transition = None;
        match &mut self.state {
            State::Closed(closed) => {
                if let Some(rule) = closed.broken_rule(now) {
                    transition = Some(self.open(rule, now, random));
                }
            }
            State::Open { until } if now >= *until => {
                self.enter(State::HalfOpen {
                    probing: false,
                    good: 0,
                });
                transition = Some(Transition::HalfOpened);
            }
            State::Open { .. } | State::HalfOpen { .. } => {}
        }
        let generation = self.generation;
        let permit = |number| Permit {
            generation,
            number,
            started: now,
        };
        let answer = match &mut self.state {
            State::Closed(closed) => Ok(permit(closed.begin(now))),
            State::Open { until } => Err(Refused {
                retry_after: Some(until.saturating_duration_since(now)),
            }),
            State::HalfOpen { probing: true, .. } => Err(Refused { retry_after: None }),
            State::HalfOpen { probing, .. } => {
                *probing = true;
                Ok(permit(0))
            }
        };
        (answer, transition)
    }

    /// Whether a call would be refused now, without asking for permission.
    pub(crate) fn refusal(&self, now: Instant) -> Option<Refused> {
        let retry_after = match self.state {
            State::Open { until } if now < until => Some(until - now),
            State::HalfOpen { probing: true, .. } => None,
            _ => return None,
        };
        Some(Refused { retry_after })
    }

    /// Gives a permit back with what became of its call.
    pub(crate) fn report(
        &mut self,
        permit: Permit,
        outcome: Outcome,
        now: Instant,
        random: f64,
    ) -> Option<Transition> {
        if permit.generation != self.generation {
            return None;
        }
        let slow = now.saturating_duration_since(permit.started) >= self.slow_after;
        match &mut self.state {
            State::Closed(closed) => {
                closed.end(permit.number, outcome == Outcome::Failed, slow, now);
                let rule = closed.broken_rule(now)?;
                Some(self.open(rule, now, random))
            }
            State::HalfOpen { probing, good } => {
                *probing = false;
                let rule = match outcome {
                    Outcome::Good if !slow => {
                        *good += 1;
                        let probes = *good;
                        let enough = probes >= self.options.probes_to_close;
                        return enough.then(|| self.close(probes, now));
                    }
                    Outcome::Good => Rule::new("slow_probe"),
                    Outcome::Failed => Rule::new("failed_probe"),
                };
                Some(self.open(rule, now, random))
            }
            // No permit is given while open, so none of this generation can come back.
            State::Open { .. } => None,
        }
    }

    fn open(&mut self, rule: Rule, now: Instant, random: f64) -> Transition {
        let doubled = self
            .options
            .open_for
            .saturating_mul(1 << self.opened.min(20));
        let spread = 1.0 + JITTER * (2.0 * random - 1.0);
        let duration = doubled.min(self.options.longest_open()).mul_f64(spread);
        self.opened = self.opened.saturating_add(1);
        let until = now + duration;
        self.enter(State::Open { until });
        Transition::Opened { duration, rule }
    }

    fn close(&mut self, probes: u32, now: Instant) -> Transition {
        self.opened = 0;
        let closed = Closed::new(self.options, self.slow_after, now);
        self.enter(State::Closed(Box::new(closed)));
        Transition::Closed { probes }
    }

    fn enter(&mut self, state: State) {
        self.generation += 1;
        self.state = state;
    }
}
