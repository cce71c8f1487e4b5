//! What a seed decides: the settings, the callers, and how Vehicle is at any time.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use contracts::RegistrationNumber;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    BreakerOptions, BudgetOptions, CacheOptions, Failure, FailureKind, Options, Strategy, rng::Rng,
};

/// The numbers that callers ask for. Those with a `Z` do not exist.
const POOL: [&str; 10] = [
    "AAA111", "BBB222", "CCC333", "DDD444", "EEE555", "FFF666", "GGG777", "HHH888", "ZZZ999",
    "ZZZ998",
];

/// One stream of random numbers for everything, so that a seed decides it all.
#[derive(Clone)]
pub(super) struct Random(Arc<Mutex<StdRng>>);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.0.lock().unwrap().random_range(0..bound)
    }

    pub(super) fn between(&self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub(super) fn millis(&self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    /// True in this many of a hundred cases.
    pub(super) fn percent(&self, share: u64) -> bool {
        self.below(100) < share
    }

    pub(super) fn rng(&self) -> Rng {
        let random = self.0.clone();
        Rng::new(move || random.lock().unwrap().random())
    }

    pub(super) fn numbers(&self) -> Vec<RegistrationNumber> {
        let share = self.between(5, 60);
        let chosen: Vec<_> = POOL.iter().filter(|_| self.percent(share)).collect();
        let only = &POOL[usize::try_from(self.below(10)).unwrap()];
        let chosen = if chosen.is_empty() {
            vec![only]
        } else {
            chosen
        };
        chosen.iter().map(|text| text.parse().unwrap()).collect()
    }

    pub(super) fn crowd(&self) -> Crowd {
        let share = || [0, 20, 60, 100][usize::try_from(self.below(4)).unwrap()];
        Crowd {
            callers: self.between(10, if self.percent(10) { 300 } else { 80 }),
            hurried: share(),
            vanishing: share(),
        }
    }

    pub(super) fn strategy(&self) -> Strategy {
        if self.percent(50) {
            Strategy::Single
        } else {
            Strategy::Batch
        }
    }

    pub(super) fn options(&self) -> Options {
        let size = |low, high| usize::try_from(self.between(low, high)).unwrap();
        let share = |low: u32, high: u32| {
            f64::from(u32::try_from(self.between(low.into(), high.into())).unwrap()) / 100.0
        };
        let attempt_timeout = self.millis(50, 500);
        let fresh = self.millis(0, 2_000);
        let soft_stale = fresh + self.millis(0, 5_000);
        let open_for = self.millis(100, 5_000);
        Options {
            base_url: "http://127.0.0.1:1".parse().unwrap(),
            api_key: "unused".into(),
            token: settings::parse("token", "").unwrap(),
            ca_certificate: String::new(),
            max_degree_of_parallelism_single: size(1, 5),
            max_degree_of_parallelism_batch: size(1, 2),
            max_batch_size: size(1, 8),
            queue_wait: self.millis(0, 300),
            queue_length: size(0, 20),
            connect_timeout: attempt_timeout,
            attempt_timeout,
            max_retries: u32::try_from(self.below(3)).unwrap(),
            retry_pause: self.millis(1, 50),
            max_retry_pause: self.millis(50, 250),
            cache: CacheOptions {
                enabled: self.percent(60),
                fresh,
                soft_stale,
                hard_stale: soft_stale + self.millis(0, 20_000),
                negative: self.millis(0, 1_000),
                jitter: 0.1,
                max_bytes: 1 << 20,
            },
            retry_budget: BudgetOptions {
                retries_per_good_call: share(0, 50),
                retries_per_second: share(0, 100),
                max_saved: share(100, 500),
            },
            breaker: BreakerOptions {
                window: self.millis(500, 10_000),
                minimum_calls: self.between(2, 20),
                failure_ratio: share(30, 90),
                slow_ratio: share(30, 100),
                slow_after_share: share(30, 95),
                open_for,
                max_open_for: open_for + self.millis(0, 20_000),
                probes_to_close: u32::try_from(self.between(1, 3)).unwrap(),
            },
            max_answer_bytes: 1,
            idle_connection_timeout: Duration::from_secs(1),
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crowd {
    pub(super) callers: u64,
    /// This many of a hundred have little time.
    pub(super) hurried: u64,
    /// This many of a hundred go away before they are answered.
    pub(super) vanishing: u64,
}

/// How long a slow Vehicle works on a call, at most.
pub(super) const LONGEST_WORK: Duration = Duration::from_millis(600);

/// How Vehicle is for a while.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    Healthy,
    /// This many of a hundred calls fail.
    Flaky(u64),
    Down,
    /// Good answers, but slow ones.
    Slow,
    Hanging,
    /// Says when to come back.
    Busy,
}

/// What Vehicle does with one call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reply {
    Good,
    Fail(Failure),
    Hang,
}

impl Random {
    pub(super) fn mode(&self) -> Mode {
        match self.below(8) {
            0..3 => Mode::Healthy,
            3 => Mode::Flaky(self.between(2, 60)),
            4 => Mode::Down,
            5 => Mode::Slow,
            6 => Mode::Hanging,
            _ => Mode::Busy,
        }
    }

    /// What happens to a call, and after how long.
    pub(super) fn reply(&self, mode: Mode) -> (Duration, Reply) {
        let soon = self.millis(0, 20);
        let longest = u64::try_from(LONGEST_WORK.as_millis()).unwrap();
        match mode {
            Mode::Flaky(share) if self.percent(share) => (soon, self.failure()),
            Mode::Healthy | Mode::Flaky(_) => (soon, Reply::Good),
            Mode::Down if self.percent(50) => (
                soon,
                Reply::Fail(Failure::transient(FailureKind::Connection)),
            ),
            Mode::Down => (
                soon,
                Reply::Fail(Failure::transient(FailureKind::ServerError)),
            ),
            Mode::Slow => (self.millis(20, longest), Reply::Good),
            Mode::Hanging => (soon, Reply::Hang),
            Mode::Busy if self.percent(50) => (soon, Reply::Good),
            Mode::Busy => {
                let after = self.millis(0, 3_000);
                let busy =
                    Failure::transient(FailureKind::RateLimited).with_retry_after(Some(after));
                (soon, Reply::Fail(busy))
            }
        }
    }

    fn failure(&self) -> Reply {
        Reply::Fail(match self.below(7) {
            0 => Failure::transient(FailureKind::Connection),
            1 => Failure::transient(FailureKind::ServerError),
            2 => Failure::lasting(FailureKind::ServerError),
            3 => Failure::refusal(FailureKind::Unauthorized),
            4 => Failure::lasting(FailureKind::ContractViolation),
            5 => Failure::transient(FailureKind::RateLimited),
            _ => {
                let after = self.millis(0, 1_000);
                Failure::transient(FailureKind::ServerError).with_retry_after(Some(after))
            }
        })
    }
}
