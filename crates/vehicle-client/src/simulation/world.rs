//! The Vehicle of a simulation: sees every call that the guard lets out, and holds it to the rules.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    fmt::Debug,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use contracts::{RegistrationNumber, Vehicle};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};

use super::{
    load::Load,
    plan::{Mode, Random, Reply},
};
use crate::{
    Answer, Attempt, BreakerPhase as Phase, Failure, FailureKind, Found, Options, Strategy,
    group::LEAST_TIME, guard::Admission, wire::Transport,
};

/// Clones are the same Vehicle.
#[derive(Clone)]
pub(super) struct World {
    pub(super) random: Random,
    pub(super) options: Arc<Options>,
    pub(super) admission: Arc<OnceLock<Admission>>,
    state: Arc<Mutex<State>>,
    /// A panic in a call ends with its task, and must be told for the run to fail.
    broken: Arc<AtomicBool>,
}

pub(super) struct State {
    pub(super) mode: Mode,
    pub(super) start: Instant,
    in_flight: BTreeMap<&'static str, usize>,
    /// Calls in flight by number.
    carried: BTreeMap<RegistrationNumber, usize>,
    probes: usize,
    /// When Vehicle last said that it may be called again.
    pub(super) not_before: Instant,
    /// What Vehicle said about a number and when: answers are numbered, so that each is known again.
    pub(super) said: BTreeMap<RegistrationNumber, Vec<(Instant, i16)>>,
    pub(super) failed: BTreeMap<RegistrationNumber, Vec<(Instant, Failure)>>,
    pub(super) erased: BTreeMap<RegistrationNumber, Instant>,
    answers: i16,
    pub(super) last_full: BTreeMap<&'static str, Instant>,
    pub(super) last_not_closed: Option<Instant>,
    pub(super) isolated_until: Instant,
    /// The last jump of the clock.
    pub(super) jump: Option<(Instant, Instant)>,
    /// How far it jumped in all, and how often.
    jumps: (Duration, u32),
    load: Load,
    pub(super) seen: BTreeMap<&'static str, u64>,
    journal: DefaultHasher,
}

impl World {
    pub(super) fn new(random: Random, options: Options) -> Self {
        let start = Instant::now();
        Self {
            random,
            options: Arc::new(options),
            admission: Arc::default(),
            broken: Arc::default(),
            state: Arc::new(Mutex::new(State {
                mode: Mode::Healthy,
                start,
                in_flight: BTreeMap::new(),
                carried: BTreeMap::new(),
                probes: 0,
                not_before: start,
                said: BTreeMap::new(),
                failed: BTreeMap::new(),
                erased: BTreeMap::new(),
                answers: 0,
                last_full: BTreeMap::new(),
                last_not_closed: None,
                isolated_until: start,
                jump: None,
                jumps: (Duration::ZERO, 0),
                load: Load::default(),
                seen: BTreeMap::new(),
                journal: DefaultHasher::new(),
            })),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // The panic that poisoned it is the one to tell.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the breaker, so that no spell in which it is not closed goes unnoticed.
    pub(super) fn look_at_breaker(&self) -> Phase {
        let phase = self.admission.get().unwrap().state().breaker.phase;
        let mut state = self.state();
        if phase != Phase::Closed {
            state.last_not_closed = state.last_not_closed.max(Some(Instant::now()));
        }
        state.saw(phase.label());
        phase
    }

    pub(super) fn idle(&self) -> bool {
        self.state().in_flight.values().all(|calls| *calls == 0)
    }

    /// Fails if a rule was broken in a call.
    pub(super) fn keeps_its_rules(&self) {
        assert!(!self.broken.load(Ordering::SeqCst), "a call broke a rule");
    }

    async fn answer(self, attempt: Attempt) -> Result<Answer, Failure> {
        let _flag = PanicFlag(self.broken.clone());
        let mut out = self.arrive(&attempt);
        let mode = self.state().mode;
        let (pause, reply) = self.random.reply(mode);
        if !matches!(reply, Reply::Hang) {
            self.state().load.works(&self.options, pause);
        }
        sleep(pause).await;
        let result = match reply {
            Reply::Hang => std::future::pending().await,
            Reply::Fail(failure) => Err(failure),
            Reply::Good => Ok(self.good(&attempt)),
        };
        self.look_at_breaker();
        out.answered = true;
        let now = Instant::now();
        let mut state = self.state();
        state.journal(&("answered", attempt.numbers.len(), result.is_ok()));
        state.load.ended(&result);
        if let Err(failure) = &result {
            for number in attempt.numbers.iter() {
                state.fail(number, now, *failure);
            }
            if let Some(after) = failure.retry_after {
                state.not_before = state.not_before.max(now + after);
                state.saw("retry_after");
            }
        }
        result
    }

    /// Every number that exists is a vehicle whose year numbers the answer; now and then an answer
    /// is no good for one number.
    fn good(&self, attempt: &Attempt) -> Answer {
        let now = Instant::now();
        let say = |number: &RegistrationNumber| {
            let mut state = self.state();
            if attempt.numbers.len() > 1 && self.random.percent(2) {
                let violation = Failure::lasting(FailureKind::ContractViolation);
                state.fail(number, now, violation);
                return Found::Failure(violation);
            }
            state.answers += 1;
            let answer = state.answers;
            state
                .said
                .entry(number.clone())
                .or_default()
                .push((now, answer));
            if number.as_str().starts_with('Z') {
                return Found::Nothing;
            }
            Found::Vehicle(Arc::new(Vehicle {
                registration_number: number.clone(),
                make: Some(number.to_string()),
                model: None,
                model_year: Some(answer),
            }))
        };
        attempt
            .numbers
            .iter()
            .map(|number| (number.clone(), say(number)))
            .collect()
    }

    fn arrive(&self, attempt: &Attempt) -> Out {
        let phase = self.look_at_breaker();
        let now = Instant::now();
        let (strategy, options) = (attempt.call.strategy.label(), &self.options);
        let cap = match attempt.call.strategy {
            Strategy::Single => options.max_degree_of_parallelism_single,
            Strategy::Batch => options.max_degree_of_parallelism_batch,
        };
        let mut state = self.state();
        state.journal(&("call", strategy, &attempt.numbers, attempt.retry));
        state.saw(if attempt.retry == 0 { "first" } else { "retry" });
        let in_flight = state.in_flight.entry(strategy).or_default();
        *in_flight += 1;
        assert!(
            *in_flight <= cap,
            "{in_flight} calls in flight, over the cap of {cap}"
        );
        if *in_flight == cap {
            state.last_full.insert(strategy, now);
        }
        let latest = attempt.call.group.latest_deadline();
        let worth_it = latest.is_some_and(|latest| latest >= now + LEAST_TIME);
        assert!(worth_it, "a call that nobody has time for");
        let limit = now + options.attempt_timeout;
        assert_eq!(attempt.until, limit, "a call that somebody's hurry ends");
        assert!(
            now >= state.not_before,
            "a call before Retry-After was over"
        );
        assert_ne!(phase, Phase::Open, "a call while the breaker is open");
        assert!(now >= state.isolated_until, "a call while isolated");
        let probe = phase == Phase::HalfOpen;
        if probe {
            state.probes += 1;
            assert_eq!(state.probes, 1, "more than one probe");
        } else {
            state.load.in_a_row(options);
        }
        if attempt.retry > 0 {
            let (leap, jumps) = state.jumps;
            let time = now - (state.start + leap);
            state.load.retried(options, time, jumps);
        }
        let most = if attempt.call.strategy == Strategy::Single {
            1
        } else {
            options.max_batch_size
        };
        assert!(
            (1..=most).contains(&attempt.numbers.len()),
            "{} numbers",
            attempt.numbers.len()
        );
        let distinct: BTreeSet<_> = attempt.numbers.iter().collect();
        assert_eq!(distinct.len(), attempt.numbers.len(), "a number twice");
        for number in attempt.numbers.iter() {
            let awaited = attempt.call.group.is_awaited_for(number);
            assert!(awaited, "a number that nobody waits for");
            *state.carried.entry(number.clone()).or_default() += 1;
            let carried = state.carried[number];
            let erased = state.erased.contains_key(number);
            assert!(carried == 1 || erased, "a number in flight {carried} times");
        }
        Out {
            world: self.clone(),
            attempt: attempt.clone(),
            probe,
            answered: false,
        }
    }
}

impl State {
    pub(super) fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn fail(&mut self, number: &RegistrationNumber, now: Instant, failure: Failure) {
        self.failed
            .entry(number.clone())
            .or_default()
            .push((now, failure));
    }

    /// Takes an event into the digest by which two runs are compared.
    pub(super) fn journal(&mut self, event: &(impl Hash + Debug)) {
        let time: Duration = self.start.elapsed();
        (time, event).hash(&mut self.journal);
    }

    pub(super) fn jumped(&mut self, from: Instant, to: Instant) {
        self.jump = Some((from, to));
        self.jumps.0 += to - from;
        self.jumps.1 += 1;
        self.saw("jump");
    }

    pub(super) fn digest(&self) -> u64 {
        self.journal.finish()
    }
}

/// A call until the guard has an answer or gives it up.
struct Out {
    world: World,
    attempt: Attempt,
    probe: bool,
    answered: bool,
}

impl Drop for Out {
    fn drop(&mut self) {
        self.world.look_at_breaker();
        let now = Instant::now();
        let strategy = self.attempt.call.strategy.label();
        let mut state = self.world.state();
        *state.in_flight.get_mut(strategy).unwrap() -= 1;
        state.probes -= usize::from(self.probe);
        for number in self.attempt.numbers.iter() {
            *state.carried.get_mut(number).unwrap() -= 1;
            if now >= self.attempt.until {
                state.fail(number, now, Failure::transient(FailureKind::Timeout));
            }
        }
        let ended = self.answered || now >= self.attempt.until;
        assert!(ended, "a call that is out ended with its callers");
    }
}

/// Notes down that a call panicked, which says that it broke a rule.
struct PanicFlag(Arc<AtomicBool>);

impl Drop for PanicFlag {
    fn drop(&mut self) {
        self.0.fetch_or(thread::panicking(), Ordering::SeqCst);
    }
}

impl Transport for World {
    fn send(&self, attempt: Attempt) -> BoxFuture<'_, Result<Answer, Failure>> {
        Box::pin(self.clone().answer(attempt))
    }
}
