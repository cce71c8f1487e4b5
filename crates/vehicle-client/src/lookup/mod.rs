//! From the numbers that somebody asks for to the calls that are made for them, if any have to be:
//! cache, single-flight, batch. They are about numbers and save calls, so they stand before the
//! guard, which bounds calls.

mod answers;
mod cache;
mod calls;
mod making;
mod single_flight;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc, time::Duration};

use contracts::{RegistrationNumber, Source};
use futures_util::{StreamExt, future::join_all, stream};
use tokio::time::Instant;

use answers::Answers;
pub use answers::Lookup;
pub use cache::CacheState;
use cache::{Cache, Freshness};
use calls::result;
use single_flight::SingleFlight;

use crate::{
    CallContext, Failure, FailureKind, Options, Strategy,
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
}
