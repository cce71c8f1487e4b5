//! The breaker said once more, slowly and plainly, and the real one held against it.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::machine::{Machine, Outcome, Permit, Phase};
use crate::BreakerOptions;

const OPTIONS: BreakerOptions = BreakerOptions {
    window: Duration::from_secs(10),
    minimum_calls: 5,
    failure_ratio: 0.5,
    slow_ratio: 0.8,
    slow_after_share: 0.8,
    open_for: Duration::from_secs(5),
    max_open_for: Duration::from_secs(30),
    probes_to_close: 3,
};
const SLOW_AFTER: Duration = Duration::from_millis(400);
/// The real window forgets in steps of this.
const STEP: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, PartialEq, Debug)]
enum Is {
    Closed,
    Open { until: Instant },
    HalfOpen { probing: bool, good: u32 },
}

struct Ended {
    step: u128,
    failed: bool,
    slow: bool,
}

/// The reference: remembers every call and counts them all anew each time.
struct Model {
    is: Is,
    generation: u64,
    opened: u32,
    since: Instant,
    ended: Vec<Ended>,
    in_row: u64,
    in_flight: Vec<(usize, Instant)>,
}

impl Model {
    fn new(now: Instant) -> Self {
        Self {
            is: Is::Closed,
            generation: 0,
            opened: 0,
            since: now,
            ended: Vec::new(),
            in_row: 0,
            in_flight: Vec::new(),
        }
    }

    fn step(&self, now: Instant) -> u128 {
        (now - self.since).as_nanos() / STEP.as_nanos()
    }

    fn become_state(&mut self, is: Is, now: Instant) {
        self.is = is;
        self.generation += 1;
        self.since = now;
        self.ended.clear();
        self.in_flight.clear();
        self.in_row = 0;
    }

    fn open(&mut self, now: Instant) {
        let doubled = OPTIONS.open_for * 2_u32.pow(self.opened.min(10));
        // A random number of one half means no jitter.
        let until = now + doubled.min(OPTIONS.max_open_for);
        self.opened += 1;
        self.become_state(Is::Open { until }, now);
    }

    fn open_if_a_rule_says_so(&mut self, now: Instant) {
        let newest = self.step(now);
        let recent = || self.ended.iter().filter(|call| call.step + 20 > newest);
        let still_slow = self
            .in_flight
            .iter()
            .filter(|(_, start)| now - *start >= SLOW_AFTER)
            .count();
        let calls = recent().count() + still_slow;
        let failed = recent().filter(|call| call.failed).count();
        let slow = recent().filter(|call| call.slow).count() + still_slow;
        let enough = calls as u64 >= OPTIONS.minimum_calls;
        // One half and four fifths.
        let ill = enough && (failed * 2 >= calls || slow * 5 >= calls * 4);
        let ill = ill || self.in_row >= OPTIONS.minimum_calls;
        if ill {
            self.open(now);
        }
    }

    fn ask(&mut self, id: usize, now: Instant) -> bool {
        if self.is == Is::Closed {
            self.open_if_a_rule_says_so(now);
        }
        if matches!(self.is, Is::Open { until } if now >= until) {
            self.become_state(
                Is::HalfOpen {
                    probing: false,
                    good: 0,
                },
                now,
            );
        }
        match self.is {
            Is::Closed => {
                self.in_flight.push((id, now));
                true
            }
            Is::HalfOpen {
                probing: false,
                good,
            } => {
                self.is = Is::HalfOpen {
                    probing: true,
                    good,
                };
                true
            }
            Is::Open { .. } | Is::HalfOpen { .. } => false,
        }
    }

    fn report(
        &mut self,
        id: usize,
        generation: u64,
        start: Instant,
        outcome: Outcome,
        now: Instant,
    ) {
        if generation != self.generation {
            return;
        }
        let slow = now - start >= SLOW_AFTER;
        match self.is {
            Is::Closed => {
                self.in_flight.retain(|(other, _)| *other != id);
                let failed = outcome == Outcome::Failed;
                self.in_row = if failed { self.in_row + 1 } else { 0 };
                self.ended.push(Ended {
                    step: self.step(now),
                    failed,
                    slow,
                });
                self.open_if_a_rule_says_so(now);
            }
            Is::HalfOpen { good: 2, .. } if outcome == Outcome::Good && !slow => {
                self.opened = 0;
                self.become_state(Is::Closed, now);
            }
            Is::HalfOpen { good, .. } if outcome == Outcome::Good && !slow => {
                self.is = Is::HalfOpen {
                    probing: false,
                    good: good + 1,
                };
            }
            Is::HalfOpen { .. } => self.open(now),
            Is::Open { .. } => {}
        }
    }

    fn phase(&self) -> Phase {
        match self.is {
            Is::Closed => Phase::Closed,
            Is::Open { .. } => Phase::Open,
            Is::HalfOpen { .. } => Phase::HalfOpen,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Ask,
    /// The call of this index, modulo those in flight, ends so.
    End(usize, Outcome),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop_oneof![Just(Outcome::Good), Just(Outcome::Failed)];
    let step = prop_oneof![
        3 => (0_u64..600).prop_map(Step::Wait),
        1 => (0_u64..12_000).prop_map(Step::Wait),
        6 => Just(Step::Ask),
        6 => (any::<usize>(), outcome).prop_map(|(index, outcome)| Step::End(index, outcome)),
    ];
    prop::collection::vec(step, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_breaker_does_what_the_reference_does(steps in steps()) {
        let mut now = Instant::now();
        let mut real = Machine::new(OPTIONS, SLOW_AFTER, now);
        let mut model = Model::new(now);
        let mut in_flight: Vec<(usize, Permit, u64, Instant)> = Vec::new();
        for (id, step) in steps.into_iter().enumerate() {
            match step {
                Step::Wait(millis) => now += Duration::from_millis(millis),
                Step::Ask => {
                    let (permit, _) = real.ask(now, 0.5);
                    prop_assert_eq!(permit.is_ok(), model.ask(id, now));
                    if let Ok(permit) = permit {
                        in_flight.push((id, permit, model.generation, now));
                    }
                }
                Step::End(_, _) if in_flight.is_empty() => {}
                Step::End(index, outcome) => {
                    let (id, permit, generation, start) = in_flight.swap_remove(index % in_flight.len());
                    real.report(permit, outcome, now, 0.5);
                    model.report(id, generation, start, outcome, now);
                }
            }
            prop_assert_eq!(real.phase(), model.phase());
        }
    }
}
