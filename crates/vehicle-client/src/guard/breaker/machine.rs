use std::time::Duration;

use settings::{Figure, Shown, millis, seconds, section};
use tokio::time::Instant;

use super::{in_flight::InFlight, window::Window};

section! {
    /// When the breaker opens, for how long, and what closes it again.
    #[derive(Copy)]
    pub struct BreakerOptions {
        /// How far back calls count.
        pub window: Duration = "10s", in seconds(1)..=seconds(600);
        /// Fewer calls prove nothing. As many failures in a row open the breaker, whatever went
        /// before and however long they took to come together: a silent Vehicle may still be at
        /// work on each of them.
        pub minimum_calls: u64 = 20, in 1..=100_000;
        /// Share of failed calls that opens the breaker.
        pub failure_ratio: f64 = 0.5, in 0.01..=1.0;
        /// Share of slow calls that opens the breaker.
        pub slow_ratio: f64 => 0.8;
        /// From when on a call is slow, also while it is in flight.
        pub slow_after: Duration = "400ms", in millis(1)..=seconds(60);
        /// How long the breaker stays open the first time; doubles with each failed probe.
        pub open_for: Duration = "5s", in millis(100)..=seconds(600);
        /// Upper end of the doubling where `open_for` is less.
        pub max_open_for: Duration => seconds(60);
        /// Good probes in a row, one at a time, that close the breaker.
        pub probes_to_close: u32 => 3;
    }
    removed {
        "slow_ratio" => "is 0.8",
        "max_open_for" => "is 60s, or open_for where that is more",
        "probes_to_close" => "is 3",
    }
}

impl BreakerOptions {
    fn longest_open(&self) -> Duration {
        self.max_open_for.max(self.open_for)
    }

    /// How long it stays open at worst.
    pub(crate) fn worst_case(&self) -> Figure {
        let longest = self.longest_open();
        Figure::duration(
            "longest_breaker_open",
            longest.mul_f64(1.0 + JITTER),
            format_args!(
                "{}, where the doubling of vehicle_client.breaker.open_for {} ends, + {JITTER} of it",
                Shown(longest),
                Shown(self.open_for)
            ),
        )
    }
}

/// Share by which every open time varies, so that processes do not probe in step.
const JITTER: f64 = 0.1;

/// A circuit breaker as a pure state machine: time and randomness come from outside.
///
/// It costs O(1) a call; its memory is bounded by the calls that start within `slow_after`.
/// `random` is in 0..1 wherever it is asked for.
#[derive(Debug)]
pub(crate) struct Machine {
    options: BreakerOptions,
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

#[derive(Debug)]
struct Closed {
    window: Window,
    failures_in_row: u64,
    in_flight: InFlight,
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

/// The rule by which the breaker opened, with its figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// `failures_in_row`, `failure_ratio`, `slow_ratio`, `failed_probe` or `slow_probe`.
    pub(crate) name: &'static str,
    /// Calls that failed, in a row or in the window.
    pub(crate) failures: Option<u64>,
    /// Calls that were slow, those in flight included.
    pub(crate) slow: Option<u64>,
    /// Calls of which these are a share.
    pub(crate) calls: Option<u64>,
}

impl Rule {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            failures: None,
            slow: None,
            calls: None,
        }
    }
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
    pub(crate) fn new(options: BreakerOptions, now: Instant) -> Self {
        let state = State::Closed(Box::new(Closed::new(&options, now)));
        Self {
            options,
            state,
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
                if let Some(rule) = closed.broken_rule(&self.options, now) {
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
            State::Closed(closed) => Ok(permit(closed.in_flight.begin(now))),
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
        let slow = now.saturating_duration_since(permit.started) >= self.options.slow_after;
        match &mut self.state {
            State::Closed(closed) => {
                closed.end(permit, outcome, slow, now);
                let rule = closed.broken_rule(&self.options, now)?;
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
        self.enter(State::Closed(Box::new(Closed::new(&self.options, now))));
        Transition::Closed { probes }
    }

    fn enter(&mut self, state: State) {
        self.generation += 1;
        self.state = state;
    }
}

impl Closed {
    fn new(options: &BreakerOptions, now: Instant) -> Self {
        let window = Window::new(options.window, now);
        Self {
            window,
            failures_in_row: 0,
            in_flight: InFlight::new(options.slow_after),
        }
    }

    fn end(&mut self, permit: Permit, outcome: Outcome, slow: bool, now: Instant) {
        self.in_flight.end(permit.number, now);
        self.window.roll(now);
        let failed = outcome == Outcome::Failed;
        self.failures_in_row = if failed { self.failures_in_row + 1 } else { 0 };
        self.window.record(failed, slow);
    }

    fn broken_rule(&mut self, options: &BreakerOptions, now: Instant) -> Option<Rule> {
        self.window.roll(now);
        self.in_flight.roll(now);
        let ended = self.window.total();
        let calls = ended.calls + self.in_flight.slow;
        let slow = ended.slow + self.in_flight.slow;
        if self.failures_in_row >= options.minimum_calls {
            return Some(Rule {
                failures: Some(self.failures_in_row),
                ..Rule::new("failures_in_row")
            });
        }
        let name = if calls < options.minimum_calls {
            return None;
        } else if ratio(ended.failures, calls) >= options.failure_ratio {
            "failure_ratio"
        } else if ratio(slow, calls) >= options.slow_ratio {
            "slow_ratio"
        } else {
            return None;
        };
        Some(Rule {
            name,
            failures: Some(ended.failures),
            slow: Some(slow),
            calls: Some(calls),
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of calls in a window are far below 2^52"
)]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}
