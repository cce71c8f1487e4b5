//! From the number that somebody asks for to the call that goes out for it, if one has to:
//! cache, collapsing, gathering.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use contracts::{Cause, RegistrationNumber, Source};
use tokio::time::Instant;
use tower::ServiceExt;

use crate::{
    CacheState, Call, CallContext, Failure, Found, Lookup, Options, Strategy,
    cache::{Cache, Entry, Freshness},
    call::Origin,
    chance::Chance,
    guard::Guard,
    instruments::Instruments,
    single_flight::{Shared, SingleFlight},
    trail::Trail,
    waiters::{CallResult, Waiter, Waiters},
};

/// What stands before the guard. Clones share the cache and the calls.
#[derive(Clone)]
pub(crate) struct Dispatch {
    guard: Guard,
    cache: Option<Cache>,
    single_flight: SingleFlight,
    /// The batch that was begun last; numbers may be added while it gathers.
    gathering: Arc<Mutex<Option<Shared>>>,
    max_batch_size: usize,
    gather_for: Duration,
    refresh_within: Duration,
    chance: Chance,
    instruments: Instruments,
}

impl Dispatch {
    pub(crate) fn new(
        options: &Options,
        guard: Guard,
        chance: Chance,
        instruments: Instruments,
    ) -> Self {
        Self {
            guard,
            cache: options.cache.map(Cache::new),
            single_flight: SingleFlight::default(),
            gathering: Arc::default(),
            max_batch_size: options.max_batch_size,
            gather_for: options.gather_for,
            refresh_within: options.refresh_within,
            chance,
            instruments,
        }
    }

    /// Looks up one number, by the deadline.
    pub(crate) async fn look_up(
        &self,
        number: &RegistrationNumber,
        strategy: Strategy,
        context: &CallContext,
    ) -> Lookup {
        let now = Instant::now();
        let trail = Trail::begin();
        let kept = self.cache.as_ref().and_then(|cache| cache.get(number, now));
        if self.cache.is_some() {
            let class = kept
                .as_ref()
                .map_or("miss", |(freshness, _)| freshness.label());
            self.instruments.cache_looked_at(class);
            trail.note(format_args!("cache {class}"));
        }
        let lookup = match kept {
            Some((Freshness::Fresh, entry)) => from_cache(entry, Source::Cache, now),
            Some((Freshness::SoftStale, entry)) => {
                self.refresh(number, strategy, context);
                from_cache(entry, Source::Cache, now)
            }
            Some((Freshness::HardStale, _)) => {
                match self.ask(number, strategy, context, &trail).await {
                    failed @ Lookup::Unavailable(_) => self.last_known_good(number, failed),
                    lookup => lookup,
                }
            }
            None => self.ask(number, strategy, context, &trail).await,
        };
        if trail.is_wanted() {
            tracing::debug!(
                request_id = &*context.request_id,
                strategy = strategy.label(),
                result = lookup.label(),
                steps = trail.steps_so_far(),
                "a lookup explained"
            );
        }
        lookup
    }

    /// What is kept of a number now, because it may have been erased while Vehicle was asked; the
    /// failure where nothing is.
    fn last_known_good(&self, number: &RegistrationNumber, failed: Lookup) -> Lookup {
        let now = Instant::now();
        let kept = self.cache.as_ref().and_then(|cache| cache.get(number, now));
        kept.map_or(failed, |(_, entry)| {
            from_cache(entry, Source::LastKnownGood, now)
        })
    }

    /// Forgets a number: what is kept of it, and what is on its way.
    pub(crate) fn erase(&self, number: &RegistrationNumber) {
        if let Some(cache) = &self.cache {
            cache.erase(number);
        }
        self.single_flight.forget(number);
    }

    /// Whether no call is on its way and none is kept that has ended.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.single_flight.is_empty() && self.gathering.lock().unwrap().is_none()
    }

    /// How full the cache is, where there is one.
    pub(crate) fn cache_state(&self) -> Option<CacheState> {
        self.cache.as_ref().map(Cache::state)
    }

    /// Asks Vehicle, or waits with those who asked already.
    async fn ask(
        &self,
        number: &RegistrationNumber,
        strategy: Strategy,
        context: &CallContext,
        trail: &Trail,
    ) -> Lookup {
        if Instant::now() >= context.deadline {
            trail.note(format_args!("no time is left"));
            return Lookup::Unavailable(Failure::lasting(Cause::Timeout));
        }
        let (waiter, steps, shared) = self.join(number, strategy, context);
        let (source, verb) = if shared {
            (Source::Shared, "joins")
        } else {
            (strategy.source(), "begins")
        };
        trail.note(format_args!("{verb} a call"));
        let result = waiter.result().await;
        if trail.is_wanted() {
            trail.note(format_args!("[{}]", steps.steps_so_far()));
        }
        from_call(number, &result, source)
    }

    /// Asks Vehicle for nobody, with all the time that a caller may have.
    fn refresh(&self, number: &RegistrationNumber, strategy: Strategy, context: &CallContext) {
        let context = CallContext {
            deadline: Instant::now() + self.refresh_within,
            ..context.clone()
        };
        let (waiter, _, shared) = self.join(number, strategy, &context);
        if !shared {
            tokio::spawn(waiter.result());
        }
    }

    fn join(
        &self,
        number: &RegistrationNumber,
        strategy: Strategy,
        context: &CallContext,
    ) -> (Waiter, Trail, bool) {
        let deadline = context.deadline;
        self.single_flight
            .join(number, deadline, || match strategy {
                Strategy::Single => self.begin(number, strategy, context, 1),
                Strategy::Batch => self.gather(number, context),
            })
    }

    /// Adds a number to the batch that gathers, or begins a new one.
    fn gather(&self, number: &RegistrationNumber, context: &CallContext) -> (Shared, Waiter) {
        let mut gathering = self
            .gathering
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(batch) = &*gathering
            && let Some(waiter) = batch.waiters.add(number, context.deadline)
        {
            return (batch.clone(), waiter);
        }
        let (batch, waiter) = self.begin(number, Strategy::Batch, context, self.max_batch_size);
        *gathering = Some(batch.clone());
        (batch, waiter)
    }

    /// Keeps nothing of this batch any more.
    fn gathers_no_more(&self, waiters: &Waiters) {
        self.gathering
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take_if(|batch| batch.waiters.is(waiters));
    }

    /// Begins a call of up to so many numbers in a task of its own, which belongs to nobody who
    /// waits: they may all go away.
    fn begin(
        &self,
        number: &RegistrationNumber,
        strategy: Strategy,
        context: &CallContext,
        most: usize,
    ) -> (Shared, Waiter) {
        let (waiters, waiter) = Waiters::of(number, context.deadline, most);
        let call = Call {
            numbers: Arc::default(),
            strategy,
            waiters: waiters.clone(),
            first: Origin::of(context),
            until: context.deadline,
            attempt: 0,
            trail: Trail::begin(),
        };
        let shared = Shared {
            waiters: waiters.clone(),
            trail: call.trail.clone(),
        };
        let (dispatch, ending) = (self.clone(), self.single_flight.ending(waiters.clone()));
        tokio::spawn(async move {
            let result = tokio::select! {
                biased;
                result = dispatch.carry_out(call) => result,
                () = waiters.given_up() => Err(Failure::lasting(Cause::Timeout)),
            };
            dispatch.gathers_no_more(&waiters);
            ending.with(result);
        });
        (shared, waiter)
    }

    /// Makes a call, after those that gather have had their time, and keeps its answers.
    async fn carry_out(&self, call: Call) -> CallResult {
        let waiters = call.waiters.clone();
        if call.strategy == Strategy::Batch {
            let numbers = waiters.gathered(self.gather_for).await;
            self.instruments.gathered(numbers);
            call.trail
                .note(format_args!("a batch of {numbers} is gathered"));
        }
        let epoch = self.cache.as_ref().map(Cache::epoch);
        let answer = self.guard.clone().oneshot(call).await?;
        if let (Some(cache), Some(epoch)) = (&self.cache, epoch) {
            let now = Instant::now();
            for number in waiters.numbers() {
                let vehicle = match answer.get(&number) {
                    Some(Found::Vehicle(vehicle)) => Some(Arc::new(vehicle.clone())),
                    Some(Found::Nothing) => None,
                    Some(Found::Failure(_)) | None => continue,
                };
                cache.put(&number, vehicle, epoch, now, self.chance.draw());
            }
        }
        Ok(Arc::new(answer))
    }
}

fn from_call(number: &RegistrationNumber, result: &CallResult, source: Source) -> Lookup {
    match result.as_ref().map(|answer| answer.get(number)) {
        Ok(Some(Found::Vehicle(vehicle))) => Lookup::Found {
            vehicle: vehicle.clone(),
            source,
            age: Duration::ZERO,
        },
        Ok(Some(Found::Nothing)) => Lookup::NotFound { source },
        Ok(Some(Found::Failure(failure))) | Err(failure) => Lookup::Unavailable(*failure),
        Ok(None) => Lookup::Unavailable(Failure::lasting(Cause::ContractViolation)),
    }
}

fn from_cache(entry: Entry, source: Source, now: Instant) -> Lookup {
    match entry.vehicle {
        Some(vehicle) => Lookup::Found {
            vehicle: Arc::unwrap_or_clone(vehicle),
            source,
            age: now.saturating_duration_since(entry.stored),
        },
        None => Lookup::NotFound { source },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use contracts::Cause;
    use opentelemetry::metrics::{MeterProvider, noop::NoopMeterProvider};
    use tokio::time::{Instant, sleep};
    use tower::service_fn;

    use crate::{
        Answer, BreakerPhase, Call, CallContext, Failure, Lookup, Strategy, VehicleClient,
        chance::Chance, instruments::Instruments, simulation,
    };

    fn broken() -> Result<Answer, Failure> {
        panic!("a fault of ours")
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_frees_the_permit_counts_as_failed_and_answers_all_who_wait() {
        let mut options = simulation::options();
        options.breaker.minimum_calls = 1;
        options.attempt_timeout = Duration::from_secs(1);
        let transport = service_fn(|_: Call| async {
            sleep(Duration::from_millis(500)).await;
            broken()
        });
        let instruments = Instruments::new(&NoopMeterProvider::new().meter("test"));
        let client = VehicleClient::over(transport, &options, &Chance::default(), instruments);
        let numbers = ["ABC123".parse().unwrap()];
        let context = CallContext {
            deadline: Instant::now() + Duration::from_secs(9),
            request_id: "".into(),
            traceparent: "".into(),
        };
        let ask = || client.look_up(&numbers, Strategy::Single, &context);
        let (first, joined) = tokio::join!(ask(), ask());
        let failure = Failure::lasting(Cause::ContractViolation);
        for lookups in [first, joined] {
            assert_eq!(lookups[&numbers[0]], Lookup::Unavailable(failure));
        }
        let state = client.guard_state();
        assert_eq!(state.single.in_flight, 0);
        assert_eq!(state.breaker.phase, BreakerPhase::Open);
    }
}
