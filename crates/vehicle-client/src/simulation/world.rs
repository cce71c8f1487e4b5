//! The Vehicle of a simulation: sees every call that the guard lets out, and holds it to the rules.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    fmt::Debug,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    thread,
    time::Duration,
};

use contracts::{Cause, RegistrationNumber, Vehicle};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};
use tower::Service;

use super::{
    load::Load,
    plan::{Dice, Mode, Reply},
};
use crate::{
    Answer, Call, Failure, Found, Options, Strategy,
    breaker::{Breaker, Phase},
    waiters::LEAST_TIME,
};

/// Clones are the same Vehicle.
#[derive(Clone)]
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) options: Arc<Options>,
    pub(super) breaker: Arc<OnceLock<Breaker>>,
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
    pub(super) fn new(dice: Dice, options: Options) -> Self {
        let start = Instant::now();
        Self {
            dice,
            options: Arc::new(options),
            breaker: Arc::default(),
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
        let phase = self.breaker.get().unwrap().phase();
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

    async fn answer(self, call: Call) -> Result<Answer, Failure> {
        let _told = Told(self.broken.clone());
        let mut out = self.arrive(&call);
        let mode = self.state().mode;
        let (pause, reply) = self.dice.reply(mode);
        if !matches!(reply, Reply::Hang) {
            self.state().load.works(&self.options, pause);
        }
        sleep(pause).await;
        let result = match reply {
            Reply::Hang => std::future::pending().await,
            Reply::Fail(failure) => Err(failure),
            Reply::Good => Ok(self.good(&call)),
        };
        self.look_at_breaker();
        out.answered = true;
        let now = Instant::now();
        let mut state = self.state();
        state.journal(&("answered", call.numbers.len(), result.is_ok()));
        state.load.ended(&result);
        if let Err(failure) = &result {
            for number in call.numbers.iter() {
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
    fn good(&self, call: &Call) -> Answer {
        let now = Instant::now();
        let say = |number: &RegistrationNumber| {
            let mut state = self.state();
            if call.numbers.len() > 1 && self.dice.percent(2) {
                let violation = Failure::lasting(Cause::ContractViolation);
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
            Found::Vehicle(Vehicle {
                registration_number: number.clone(),
                make: Some(number.to_string()),
                model: None,
                model_year: Some(answer),
            })
        };
        call.numbers
            .iter()
            .map(|number| (number.clone(), say(number)))
            .collect()
    }

    fn arrive(&self, call: &Call) -> Out {
        let phase = self.look_at_breaker();
        let now = Instant::now();
        let (strategy, options) = (call.strategy.label(), &self.options);
        let cap = match call.strategy {
            Strategy::Single => options.max_degree_of_parallelism_single,
            Strategy::Batch => options.max_degree_of_parallelism_batch,
        };
        let mut state = self.state();
        state.journal(&("call", strategy, &call.numbers, call.attempt));
        state.saw(if call.attempt == 0 { "first" } else { "retry" });
        let in_flight = state.in_flight.entry(strategy).or_default();
        *in_flight += 1;
        assert!(
            *in_flight <= cap,
            "{in_flight} calls in flight, over the cap of {cap}"
        );
        if *in_flight == cap {
            state.last_full.insert(strategy, now);
        }
        let latest = call.waiters.latest();
        let worth_it = latest.is_some_and(|latest| latest >= now + LEAST_TIME);
        assert!(worth_it, "a call that nobody has time for");
        let limit = now + options.attempt_timeout;
        assert_eq!(call.until, limit, "a call that somebody's hurry ends");
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
        if call.attempt > 0 {
            let (leap, jumps) = state.jumps;
            let time = now - (state.start + leap);
            state.load.retried(options, time, jumps);
        }
        let most = if call.strategy == Strategy::Single {
            1
        } else {
            options.max_batch_size
        };
        assert!(
            (1..=most).contains(&call.numbers.len()),
            "{} numbers",
            call.numbers.len()
        );
        let distinct: BTreeSet<_> = call.numbers.iter().collect();
        assert_eq!(distinct.len(), call.numbers.len(), "a number twice");
        for number in call.numbers.iter() {
            let awaited = call.waiters.await_number(number);
            assert!(awaited, "a number that nobody waits for");
            *state.carried.entry(number.clone()).or_default() += 1;
            let carried = state.carried[number];
            let erased = state.erased.contains_key(number);
            assert!(carried == 1 || erased, "a number in flight {carried} times");
        }
        Out {
            world: self.clone(),
            call: call.clone(),
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
    call: Call,
    probe: bool,
    answered: bool,
}

impl Drop for Out {
    fn drop(&mut self) {
        self.world.look_at_breaker();
        let now = Instant::now();
        let strategy = self.call.strategy.label();
        let mut state = self.world.state();
        *state.in_flight.get_mut(strategy).unwrap() -= 1;
        state.probes -= usize::from(self.probe);
        for number in self.call.numbers.iter() {
            *state.carried.get_mut(number).unwrap() -= 1;
            if now >= self.call.until {
                state.fail(number, now, Failure::transient(Cause::Timeout));
            }
        }
        let ended = self.answered || now >= self.call.until;
        assert!(ended, "a call that is out ended with its callers");
    }
}

/// Notes down that a call panicked, which says that it broke a rule.
struct Told(Arc<AtomicBool>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.fetch_or(thread::panicking(), Ordering::SeqCst);
    }
}

impl Service<Call> for World {
    type Response = Answer;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Answer, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        Box::pin(self.clone().answer(call))
    }
}
