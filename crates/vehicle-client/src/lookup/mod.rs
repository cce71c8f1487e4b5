//! From the numbers that somebody asks for to the calls that are made for them, if any have to be:
//! cache, single-flight, batch. They are about numbers and save calls, so they stand before the
//! guard, which bounds calls.

mod answers;
mod cache;
mod making;
mod single_flight;

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use contracts::{RegistrationNumber, Source};
use futures_util::{StreamExt, future::join_all, stream};
use tokio::time::Instant;

use answers::Answers;
pub use answers::Lookup;
pub use cache::CacheState;
use cache::{Cache, Freshness};
use making::Making;
use single_flight::{Joined, SingleFlight};

use crate::{
    Call, CallContext, Failure, FailureKind, Found, Options, Strategy,
    answer::CallResult,
    call::Origin,
    group::Waiter,
    guard::{Guard, longest_call},
    observe::{Instruments, LookupLog},
    rng::Rng,
};

const TIMEOUT: Lookup = Lookup::Unavailable(Failure::lasting(FailureKind::Timeout));

/// Looks up numbers. Clones share the cache and the calls.
#[derive(Clone)]
pub(crate) struct Lookups(Arc<Inner>);

struct Inner {
    guard: Guard,
    cache: Option<Cache>,
    single_flight: SingleFlight,
    /// Numbers of a request that are asked for at once by single calls.
    width: usize,
    longest_call: Duration,
    rng: Rng,
    instruments: Instruments,
}

/// A number that the cache has no good answer for.
struct Missing<'a> {
    number: &'a RegistrationNumber,
    log: LookupLog,
}

impl Lookups {
    pub(crate) fn new(options: &Options, guard: Guard, rng: Rng, instruments: Instruments) -> Self {
        Self(Arc::new(Inner {
            guard,
            cache: options.cache.enabled.then(|| Cache::new(options.cache)),
            single_flight: SingleFlight::new(options.max_batch_size),
            width: options.max_degree_of_parallelism_single,
            longest_call: longest_call(options).0,
            rng,
            instruments,
        }))
    }

    /// Looks up distinct numbers, by the deadline.
    pub(crate) async fn look_up(
        &self,
        numbers: &[RegistrationNumber],
        strategy: Strategy,
        context: &CallContext,
    ) -> HashMap<RegistrationNumber, Lookup> {
        // Also those whose turn never comes, because the caller goes away.
        let counts = self.0.instruments.asked(numbers.len());
        let mut answers = Answers::new(numbers.len(), counts, strategy, context);
        let (missing, soft_stale) = self.look_into_cache(numbers, &mut answers);
        let refresh = || self.refresh(&soft_stale, strategy, context);
        match strategy {
            // As one set; the batches are what is bounded. What is soft-stale goes behind it, and
            // with it where there is room in a batch.
            Strategy::Batch if !missing.is_empty() => {
                let lookups = self.ask(&missing, strategy, context, refresh).await;
                for (missing, lookup) in missing.iter().zip(lookups) {
                    answers.add(missing.number, lookup, &missing.log);
                }
            }
            Strategy::Batch => refresh(),
            Strategy::Single => {
                let width = self.0.width;
                let each = missing.into_iter().enumerate();
                let each = each.map(|(index, missing)| async move {
                    let waited = index >= width;
                    let lookup = if waited && let Some(lookup) = self.came_meanwhile(&missing) {
                        lookup
                    } else {
                        let one = std::slice::from_ref(&missing);
                        self.ask(one, strategy, context, || ()).await.remove(0)
                    };
                    (missing.number, lookup, missing.log)
                });
                let each: Vec<_> = each.collect();
                let mut asking = stream::iter(each).buffer_unordered(width);
                while let Some((number, lookup, log)) = asking.next().await {
                    answers.add(number, lookup, &log);
                }
                refresh();
            }
        }
        answers.into_lookups()
    }

    /// Answers what the cache can answer. Returns the others, and what of it is soft-stale.
    fn look_into_cache<'a>(
        &self,
        numbers: &'a [RegistrationNumber],
        answers: &mut Answers<'_>,
    ) -> (Vec<Missing<'a>>, Vec<&'a RegistrationNumber>) {
        let (mut missing, mut soft_stale) = (Vec::new(), Vec::new());
        let now = Instant::now();
        for number in numbers {
            let log = LookupLog::begin();
            let kept = self.0.cache.as_ref().and_then(|cache| {
                let kept = cache.get(number, now);
                let class = kept
                    .as_ref()
                    .map_or("miss", |(freshness, _)| freshness.label());
                answers.looked_at_cache(class, &log);
                kept
            });
            match kept {
                Some((freshness @ (Freshness::Fresh | Freshness::SoftStale), entry)) => {
                    if freshness == Freshness::SoftStale {
                        soft_stale.push(number);
                    }
                    answers.add(number, Lookup::from_cache(freshness, entry, now), &log);
                }
                _ => missing.push(Missing { number, log }),
            }
        }
        (missing, soft_stale)
    }

    /// Looks a number up by the deadline. What is kept counts only while it is fresh and says that
    /// there is a vehicle.
    pub(crate) async fn confirm(
        &self,
        number: &RegistrationNumber,
        context: &CallContext,
    ) -> Lookup {
        let strategy = Strategy::Single;
        let counts = self.0.instruments.asked(1);
        let mut answers = Answers::new(1, counts, strategy, context);
        let (log, now) = (LookupLog::begin(), Instant::now());
        let kept = self
            .0
            .cache
            .as_ref()
            .and_then(|cache| cache.get(number, now));
        let lookup = match kept {
            Some((Freshness::Fresh, entry)) if entry.vehicle.is_some() => {
                Lookup::from_cache(Freshness::Fresh, entry, now)
            }
            _ => {
                let mut lookup = TIMEOUT;
                let joined = self.join([number], strategy, context.deadline, context);
                for (joined, making) in joined {
                    let shared = joined.numbers.iter().any(|(_, shared)| *shared);
                    let source = if shared {
                        Source::Shared
                    } else {
                        strategy.source()
                    };
                    let answer = result(joined.waiter, making).await;
                    lookup = Lookup::from_call(number, &answer, source);
                }
                lookup
            }
        };
        answers.add(number, lookup.clone(), &log);
        lookup
    }

    /// The answer to a number that others asked for while it waited for its turn.
    fn came_meanwhile(&self, missing: &Missing<'_>) -> Option<Lookup> {
        let now = Instant::now();
        let (freshness, entry) = self.0.cache.as_ref()?.get(missing.number, now)?;
        if freshness == Freshness::HardStale {
            return None;
        }
        let step = format_args!("cache {} by now", freshness.label());
        missing.log.add(step);
        Some(Lookup::from_cache(freshness, entry, now))
    }

    /// Has soft-stale numbers asked for, unless that was done meanwhile: for nobody, with all the
    /// time that a call may take.
    fn refresh(
        &self,
        soft_stale: &[&RegistrationNumber],
        strategy: Strategy,
        context: &CallContext,
    ) {
        let Some(cache) = self.0.cache.as_ref().filter(|_| !soft_stale.is_empty()) else {
            return;
        };
        let now = Instant::now();
        let is_stale = |number: &&RegistrationNumber| {
            let kept = cache.get(number, now);
            kept.is_some_and(|(freshness, _)| freshness != Freshness::Fresh)
        };
        let stale = soft_stale.iter().copied().filter(is_stale);
        // Their makers are gone at once.
        for (joined, _making) in self.join(stale, strategy, now + self.0.longest_call, context) {
            joined.waiter.stay();
        }
    }

    /// Asks Vehicle for a set of numbers, or waits with those who asked already. The answers are in
    /// the order of the numbers. What is done `behind` them finds their calls begun and not sent.
    async fn ask(
        &self,
        missing: &[Missing<'_>],
        strategy: Strategy,
        context: &CallContext,
        behind: impl FnOnce(),
    ) -> Vec<Lookup> {
        let mut lookups = vec![TIMEOUT; missing.len()];
        if Instant::now() >= context.deadline {
            for Missing { log, .. } in missing {
                log.add(format_args!("no time is left"));
            }
            behind();
        } else {
            let numbers = missing.iter().map(|missing| missing.number);
            let joined = self.join(numbers, strategy, context.deadline, context);
            behind();
            for (position, shared) in joined.iter().flat_map(|(joined, _)| &joined.numbers) {
                let verb = if *shared { "joins" } else { "begins" };
                missing[*position].log.add(format_args!("{verb} a call"));
            }
            let results = joined.into_iter().map(|(joined, making)| async move {
                let log = joined.waiter.group().log().clone();
                (joined.numbers, result(joined.waiter, making).await, log)
            });
            for (numbers, result, call_log) in join_all(results).await {
                for (position, shared) in numbers {
                    let Missing { number, log, .. } = &missing[position];
                    if log.is_enabled() {
                        log.add(format_args!("[{}]", call_log.text()));
                    }
                    let source = if shared {
                        Source::Shared
                    } else {
                        strategy.source()
                    };
                    lookups[position] = Lookup::from_call(number, &result, source);
                }
            }
        }
        for (missing, lookup) in missing.iter().zip(&mut lookups) {
            if matches!(lookup, Lookup::Unavailable(_)) {
                self.use_last_known_good(missing.number, lookup);
            }
        }
        lookups
    }

    /// Puts what is kept of a number now in the place of a failure, because it may have been erased
    /// or renewed while Vehicle was asked.
    fn use_last_known_good(&self, number: &RegistrationNumber, lookup: &mut Lookup) {
        let now = Instant::now();
        let cache = self.0.cache.as_ref();
        if let Some((freshness, entry)) = cache.and_then(|cache| cache.get(number, now)) {
            *lookup = Lookup::from_cache(freshness, entry, now);
        }
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

    /// Waits for the calls that carry these numbers, and begins those that there are not yet, which
    /// belong to nobody who waits: they may all go away.
    fn join<'a>(
        &self,
        numbers: impl IntoIterator<Item = &'a RegistrationNumber>,
        strategy: Strategy,
        deadline: Instant,
        context: &CallContext,
    ) -> Vec<(Joined, Option<Making>)> {
        let joined = self.0.single_flight.join(numbers, strategy, deadline);
        let making = |mut joined: Joined| {
            let making = joined.begun.take().map(|ending| {
                let call = Arc::new(Call {
                    strategy,
                    group: ending.group().clone(),
                    origin: Origin::of(context),
                });
                Making::new(call.clone(), self.clone().call(call), ending)
            });
            (joined, making)
        };
        joined.into_iter().map(making).collect()
    }

    /// Makes a call and keeps its answers.
    async fn call(self, call: Arc<Call>) -> CallResult {
        let epoch = self.0.cache.as_ref().map(Cache::epoch);
        let answer = self.0.guard.call(&call).await?;
        if let (Some(cache), Some(epoch)) = (&self.0.cache, epoch) {
            let now = Instant::now();
            // Not in the order of the answer, which is no order.
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

/// Waits for a call's result, and makes the call meanwhile where that is left to the waiter.
async fn result(waiter: Waiter, making: Option<Making>) -> CallResult {
    let result = waiter.result();
    let Some(making) = making else {
        return result.await;
    };
    let mut result = pin!(result);
    tokio::select! {
        biased;
        () = making => result.await,
        result = result.as_mut() => result,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use contracts::{RegistrationNumber, Vehicle};
    use futures_util::FutureExt;
    use opentelemetry::metrics::{MeterProvider, noop::NoopMeterProvider};
    use tokio::time::{Instant, sleep};

    use crate::{
        Answer, Attempt, BreakerPhase, CacheOptions, CallContext, Failure, FailureKind, Found,
        Lookup, Options, Strategy, VehicleClient, observe::Instruments, rng::Rng, simulation,
        wire::Transport,
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

    #[tokio::test(start_paused = true)]
    async fn nothing_waits_when_nothing_is_in_flight() {
        let client = client(&simulation::options(), |attempt: Attempt| async move {
            let nothing = |number: &RegistrationNumber| (number.clone(), Found::Nothing);
            Ok::<Answer, Failure>(attempt.numbers.iter().map(nothing).collect())
        });
        let (start, numbers) = (
            Instant::now(),
            ["ABC123", "DEF456"].map(|it| it.parse().unwrap()),
        );
        for strategy in [Strategy::Single, Strategy::Batch] {
            let context = within(Duration::from_secs(9));
            let lookups = client.look_up(&numbers, strategy, &context).await;
            let is_answered = |it: &Lookup| matches!(it, Lookup::NotFound { .. });
            assert!(lookups.values().all(is_answered), "{lookups:?}");
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_refreshed_meanwhile_is_not_refreshed_again() {
        let mut options = simulation::options();
        options.max_retries = 0;
        options.attempt_timeout = Duration::from_secs(5);
        options.cache = CacheOptions {
            enabled: true,
            fresh: Duration::from_secs(10),
            soft_stale: Duration::from_mins(10),
            hard_stale: Duration::from_hours(24),
            negative: Duration::from_secs(10),
            jitter: 0.0,
            max_bytes: 1 << 20,
        };
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = sent.clone();
        let client = client(&options, move |attempt: Attempt| {
            counted.fetch_add(1, Ordering::SeqCst);
            let number = attempt.numbers[0].clone();
            async move {
                if number.as_str() == "DEF456" {
                    sleep(Duration::from_secs(1)).await;
                }
                let vehicle = Vehicle {
                    registration_number: number.clone(),
                    make: None,
                    model: None,
                    model_year: None,
                };
                Ok::<Answer, Failure>([(number, Found::Vehicle(vehicle.into()))].into())
            }
        });
        let numbers = ["ABC123", "DEF456"].map(|it| it.parse().unwrap());
        let context = within(Duration::from_mins(1));
        let ask = |numbers| client.look_up(numbers, Strategy::Single, &context);
        ask(&numbers[..1]).await;
        sleep(Duration::from_secs(11)).await;
        // The second has the number refreshed while the first waits for the other one.
        tokio::join!(ask(&numbers), ask(&numbers[..1]));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(sent.load(Ordering::SeqCst), 3);
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
            // Without a runtime there are no timers, which panics.
            let lost = ask().now_or_never().unwrap();
            let fault = Failure::lasting(FailureKind::ContractViolation);
            assert_eq!(lost[&numbers[0]], Lookup::Unavailable(fault));
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
