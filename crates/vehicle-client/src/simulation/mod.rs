//! Deterministic simulation of the real guard on virtual time: a Vehicle that misbehaves by a
//! seed, callers who come, wait and go by it, and rules that hold whatever happens.
//!
//! A seed that breaks a rule prints itself. It replays identically:
//! `SIMULATION_SEED=7 cargo test -p vehicle-client simulation`. More seeds than the ordinary
//! run has: `SIMULATION_SEEDS=100000`.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is the failure that a test wants"
)]

mod caller;
mod fairness;
mod load;
mod plan;
mod rules;
mod scenario;
mod world;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use scenario::{Outcome, run};

const SEEDS: u64 = 1_000;

#[expect(
    clippy::disallowed_methods,
    reason = "an option of the test, not a setting"
)]
fn option(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Some options for a test to change.
pub(crate) fn options() -> crate::Options {
    plan::Random::new(0).options()
}

/// Prints the seed when its run panics.
struct Named(u64);

impl Drop for Named {
    #[expect(clippy::print_stderr, reason = "a seed that fails must be told")]
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "seed {0} broke a rule; replay it: \
                 SIMULATION_SEED={0} cargo test -p vehicle-client simulation",
                self.0
            );
        }
    }
}

fn run_named(seed: u64) -> Outcome {
    let _named = Named(seed);
    run(seed)
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "what was simulated is shown with --nocapture"
)]
fn the_guard_keeps_its_rules_whatever_happens() {
    if let Some(seed) = option("SIMULATION_SEED") {
        println!("{:#?}", run_named(seed));
        return;
    }
    let seeds = option("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let shown = Mutex::new(BTreeMap::<&'static str, u64>::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    let outcome = run_named(seed);
                    let mut shown = shown.lock().unwrap();
                    for (what, times) in outcome.seen {
                        *shown.entry(what).or_default() += times;
                    }
                }
            });
        }
    });
    // Rules about what never came to pass would have held for nothing.
    let shown = shown.into_inner().unwrap();
    for what in rules::EVERYTHING {
        assert!(shown.contains_key(what), "no seed showed {what}: {shown:?}");
    }
    println!("{seeds} seeds: {shown:?}");
}

#[test]
fn a_seed_replays_identically() {
    for seed in 0..20 {
        assert_eq!(run_named(seed), run_named(seed), "seed {seed}");
    }
}
