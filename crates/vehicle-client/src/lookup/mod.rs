//! From the number that somebody asks for to the call that is made for it, if one has to be:
//! cache, single-flight, batch. They are about numbers and save calls, so they stand before the
//! guard, which bounds calls.

mod batcher;
mod cache;
mod single_flight;

use std::{sync::Arc, time::Duration};

use contracts::{RegistrationNumber, Source, Vehicle};
use tokio::time::Instant;

pub use cache::CacheState;
use cache::{Cache, Entry, Freshness};
use single_flight::{Ending, Joined, SingleFlight};

use crate::{
    Call, CallContext, Failure, FailureKind, Found, Options, Strategy,
    call::Origin,
    group::{CallResult, Waiter},
    guard::{Guard, longest_call},
    observe::{Instruments, LookupLog},
    rng::Rng,
};

/// What became of looking up one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Vehicle has it.
    Found {
        /// The vehicle.
        vehicle: Arc<Vehicle>,
        /// Where it comes from.
        source: Source,
        /// How old it is.
        age: Duration,
    },
    /// Vehicle answered that it has no such vehicle.
    NotFound {
        /// Where this comes from.
        source: Source,
    },
    /// There is no usable answer.
    Unavailable(Failure),
}

impl Lookup {
    /// What became of it, in one word.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Found { .. } => "found",
            Self::NotFound { .. } => "not_found",
            Self::Unavailable(failure) => failure.kind.label(),
        }
    }

    /// The same as the counters add it up: `answered`, `shed` (the guard did not send its last
    /// attempt) or `failed`.
    pub(crate) fn result(&self) -> &'static str {
        match self {
            Self::Found { .. } | Self::NotFound { .. } => "answered",
            Self::Unavailable(failure) if failure.kind.is_shed() => "shed",
            Self::Unavailable(_) => "failed",
        }
    }

    fn from_cache(entry: Entry, source: Source, now: Instant) -> Self {
        match entry.vehicle {
            Some(vehicle) => Self::Found {
                vehicle,
                source,
                age: now.saturating_duration_since(entry.stored),
            },
            None => Self::NotFound { source },
        }
    }

    fn from_call(number: &RegistrationNumber, result: &CallResult, source: Source) -> Self {
        match result.as_ref().map(|answer| answer.get(number)) {
            Ok(Some(Found::Vehicle(vehicle))) => Self::Found {
                vehicle: vehicle.clone(),
                source,
                age: Duration::ZERO,
            },
            Ok(Some(Found::Nothing)) => Self::NotFound { source },
            Ok(Some(Found::Failure(failure))) | Err(failure) => Self::Unavailable(*failure),
            Ok(None) => Self::Unavailable(Failure::lasting(FailureKind::ContractViolation)),
        }
    }
}

/// Looks up numbers. Clones share the cache and the calls.
#[derive(Clone)]
pub(crate) struct Lookups(Arc<Inner>);

struct Inner {
    guard: Guard,
    cache: Option<Cache>,
    single_flight: SingleFlight,
    gather_for: Duration,
    longest_call: Duration,
    rng: Rng,
    instruments: Instruments,
}

impl Lookups {
    pub(crate) fn new(options: &Options, guard: Guard, rng: Rng, instruments: Instruments) -> Self {
        Self(Arc::new(Inner {
            guard,
            cache: options.cache.enabled.then(|| Cache::new(options.cache)),
            single_flight: SingleFlight::new(options.max_batch_size),
            gather_for: options.gather_for,
            longest_call: longest_call(options).0,
            rng,
            instruments,
        }))
    }

    /// Looks up one number, by the deadline.
    pub(crate) async fn look_up(
        &self,
        number: &RegistrationNumber,
        strategy: Strategy,
        context: &CallContext,
    ) -> Lookup {
        let (now, log) = (Instant::now(), LookupLog::begin());
        let kept = self.cached(number, now, &log);
        let lookup = match kept {
            Some((Freshness::Fresh, entry)) => Lookup::from_cache(entry, Source::Cache, now),
            Some((Freshness::SoftStale, entry)) => {
                self.refresh(number, strategy, context);
                Lookup::from_cache(entry, Source::Cache, now)
            }
            Some((Freshness::HardStale, _)) => {
                match self.ask(number, strategy, context, &log).await {
                    failed @ Lookup::Unavailable(_) => self.last_known_good(number, failed),
                    lookup => lookup,
                }
            }
            None => self.ask(number, strategy, context, &log).await,
        };
        if log.is_enabled() {
            tracing::debug!(
                request_id = &*context.request_id,
                strategy = strategy.label(),
                result = lookup.label(),
                steps = log.text(),
                "a lookup explained"
            );
        }
        lookup
    }

    fn cached(
        &self,
        number: &RegistrationNumber,
        now: Instant,
        log: &LookupLog,
    ) -> Option<(Freshness, Entry)> {
        let kept = self.0.cache.as_ref()?.get(number, now);
        let class = kept
            .as_ref()
            .map_or("miss", |(freshness, _)| freshness.label());
        self.0.instruments.cache_looked_at(class);
        log.add(format_args!("cache {class}"));
        kept
    }

    /// What is kept of a number now, because it may have been erased while Vehicle was asked; the
    /// failure where nothing is.
    fn last_known_good(&self, number: &RegistrationNumber, failed: Lookup) -> Lookup {
        let now = Instant::now();
        let cache = self.0.cache.as_ref();
        cache
            .and_then(|cache| cache.get(number, now))
            .map_or(failed, |(_, entry)| {
                Lookup::from_cache(entry, Source::LastKnownGood, now)
            })
    }

    /// Forgets a number: what is kept of it, and what is on its way.
    pub(crate) fn erase(&self, number: &RegistrationNumber) {
        if let Some(cache) = &self.0.cache {
            cache.erase(number);
        }
        self.0.single_flight.forget(number);
    }

    /// Whether no call is on its way and none is kept that has ended.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.0.single_flight.is_idle()
    }

    /// How full the cache is, where there is one.
    pub(crate) fn cache_state(&self) -> Option<CacheState> {
        self.0.cache.as_ref().map(Cache::state)
    }

    /// Asks Vehicle, or waits with those who asked already.
    async fn ask(
        &self,
        number: &RegistrationNumber,
        strategy: Strategy,
        context: &CallContext,
        log: &LookupLog,
    ) -> Lookup {
        if Instant::now() >= context.deadline {
            log.add(format_args!("no time is left"));
            return Lookup::Unavailable(Failure::lasting(FailureKind::Timeout));
        }
        let (waiter, shared) = self.join(number, strategy, context.deadline, context);
        let (source, verb) = if shared {
            (Source::Shared, "joins")
        } else {
            (strategy.source(), "begins")
        };
        log.add(format_args!("{verb} a call"));
        let call_log = waiter.log();
        let result = waiter.result().await;
        if log.is_enabled() {
            log.add(format_args!("[{}]", call_log.text()));
        }
        Lookup::from_call(number, &result, source)
    }

    /// Asks Vehicle for nobody, with all the time that a call may take.
    fn refresh(&self, number: &RegistrationNumber, strategy: Strategy, context: &CallContext) {
        let deadline = Instant::now() + self.0.longest_call;
        let (waiter, shared) = self.join(number, strategy, deadline, context);
        if !shared {
            tokio::spawn(waiter.result());
        }
    }

    /// Waits for a call, which it begins if there is none. Whether there was one comes second.
    fn join(
        &self,
        number: &RegistrationNumber,
        strategy: Strategy,
        deadline: Instant,
        context: &CallContext,
    ) -> (Waiter, bool) {
        let Joined {
            waiter,
            shared,
            begun,
        } = self.0.single_flight.join(number, strategy, deadline);
        if let Some(ending) = begun {
            let call = Call {
                strategy,
                group: ending.group().clone(),
                origin: Origin::of(context),
            };
            self.begin(call, ending);
        }
        (waiter, shared)
    }

    /// Makes a call in a task of its own, which belongs to nobody who waits: they may all go away.
    fn begin(&self, call: Call, ending: Ending) {
        let (lookups, call) = (self.clone(), Arc::new(call));
        tokio::spawn(async move {
            let result = tokio::select! {
                biased;
                result = lookups.call(&call) => result,
                () = call.group.abandoned() => Err(Failure::lasting(FailureKind::Timeout)),
            };
            ending.with(result);
        });
    }

    /// Makes a call, after those that gather have had their time, and keeps its answers.
    async fn call(&self, call: &Arc<Call>) -> CallResult {
        if call.strategy == Strategy::Batch {
            let numbers = call.group.gather(self.0.gather_for).await;
            self.0.instruments.gathered(numbers);
            call.log()
                .add(format_args!("a batch of {numbers} is gathered"));
        }
        let epoch = self.0.cache.as_ref().map(Cache::epoch);
        let answer = self.0.guard.call(call).await?;
        if let (Some(cache), Some(epoch)) = (&self.0.cache, epoch) {
            let now = Instant::now();
            for number in call.group.numbers() {
                let vehicle = match answer.get(&number) {
                    Some(Found::Vehicle(vehicle)) => Some(vehicle.clone()),
                    Some(Found::Nothing) => None,
                    Some(Found::Failure(_)) | None => continue,
                };
                cache.put(&number, vehicle, epoch, now, self.0.rng.sample());
            }
        }
        Ok(Arc::new(answer))
    }
}

#[cfg(test)]
mod tests {
    use std::{panic::AssertUnwindSafe, time::Duration};

    use futures_util::FutureExt;
    use opentelemetry::metrics::{MeterProvider, noop::NoopMeterProvider};
    use tokio::time::{Instant, sleep};

    use crate::{
        Answer, Attempt, BreakerPhase, CallContext, Failure, FailureKind, Lookup, Options,
        Strategy, VehicleClient, observe::Instruments, rng::Rng, simulation, wire::Transport,
    };

    fn broken() -> Result<Answer, Failure> {
        panic!("a fault of ours")
    }

    fn client(options: &Options, transport: impl Transport) -> VehicleClient {
        let instruments = Instruments::new(&NoopMeterProvider::new().meter("test"));
        VehicleClient::over(transport, options, &Rng::default(), instruments)
    }

    fn within(time: Duration) -> CallContext {
        CallContext {
            deadline: Instant::now() + time,
            request_id: "".into(),
            traceparent: "".into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_frees_the_permit_counts_as_failed_and_answers_all_who_wait() {
        let mut options = simulation::options();
        options.breaker.minimum_calls = 1;
        options.attempt_timeout = Duration::from_secs(1);
        let transport = |_: Attempt| async {
            sleep(Duration::from_millis(500)).await;
            broken()
        };
        let client = client(&options, transport);
        let numbers = ["ABC123".parse().unwrap()];
        let context = within(Duration::from_secs(9));
        let ask = || client.look_up(&numbers, Strategy::Single, &context);
        let (first, joined) = tokio::join!(ask(), ask());
        let failure = Failure::lasting(FailureKind::ContractViolation);
        for lookups in [first, joined] {
            assert_eq!(lookups[&numbers[0]], Lookup::Unavailable(failure));
        }
        let state = client.guard_state();
        assert_eq!(state.single.in_flight, 0);
        assert_eq!(state.breaker.phase, BreakerPhase::Open);
    }

    #[test]
    fn a_panic_before_a_call_is_made_leaves_none_that_others_wait_for() {
        let client = client(&simulation::options(), |_: Attempt| async {
            Err::<Answer, _>(Failure::refusal(FailureKind::Unauthorized))
        });
        let numbers = ["ABC123".parse().unwrap()];
        for strategy in [Strategy::Single, Strategy::Batch] {
            let context = within(Duration::from_secs(5));
            let ask = || client.look_up(&numbers, strategy, &context);
            // Without a runtime no task can be spawned, which panics.
            let lost = AssertUnwindSafe(ask()).catch_unwind().now_or_never();
            assert!(lost.is_some_and(|answered| answered.is_err()));
            assert!(client.lookups.is_idle());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap();
            let asked = Failure::refusal(FailureKind::Unauthorized);
            let lookups = runtime.block_on(ask());
            assert_eq!(lookups[&numbers[0]], Lookup::Unavailable(asked));
        }
    }
}
