//! From the number that somebody asks for to the call that goes out for it, if one has to:
//! cache, collapsing, gathering.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use contracts::{Cause, RegistrationNumber, Source};
use futures_util::future::{BoxFuture, WeakShared};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};
use tower::ServiceExt;
use tracing::Instrument;

use crate::{
    CacheState, Call, CallContext, Failure, Found, Lookup, Options, Strategy,
    cache::{Cache, Entry, Freshness},
    chance::Chance,
    flight::{Begun, Boarded, Flights, Joined, Landed, Passengers, flight},
    guard::Guard,
    instruments::Instruments,
    trail::Trail,
};

/// What stands before the guard. Clones share the cache and the flights.
#[derive(Clone)]
pub(crate) struct Dispatch {
    guard: Guard,
    cache: Option<Cache>,
    flights: Flights,
    /// The batch that numbers can still board.
    boarding: Arc<Mutex<Option<Boarding>>>,
    max_batch_size: usize,
    gather_for: Duration,
    refresh_within: Duration,
    chance: Chance,
    instruments: Instruments,
}

struct Boarding {
    id: u64,
    deadline: Instant,
    passengers: Arc<Mutex<Passengers>>,
    full: Arc<Notify>,
    flight: WeakShared<BoxFuture<'static, Landed>>,
    trail: Trail,
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
            flights: Flights::default(),
            boarding: Arc::default(),
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
        self.flights.forget(number);
    }

    /// Whether no call is on its way.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.flights.is_empty()
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
        loop {
            if Instant::now() >= context.deadline {
                trail.note(format_args!("no time is left"));
                return Lookup::Unavailable(Failure::lasting(Cause::Timeout));
            }
            let joined = self.join(number, strategy, context);
            let source = if joined.shared {
                Source::Shared
            } else {
                strategy.source()
            };
            let verb = if joined.shared { "joins" } else { "begins" };
            trail.note(format_args!("{verb} a call"));
            let landed = timeout_at(context.deadline, joined.flight).await;
            if trail.is_wanted() {
                trail.note(format_args!("[{}]", joined.trail.steps_so_far()));
            }
            let Ok(landed) = landed else {
                trail.note(format_args!("the deadline came first"));
                return Lookup::Unavailable(Failure::lasting(Cause::Timeout));
            };
            match landed {
                // Whoever began the call, or the batch that it is in, had less time than this one.
                Err(failure)
                    if failure.cause == Cause::Timeout && Instant::now() >= joined.deadline => {}
                Err(failure) if failure.short_of_time && joined.deadline < context.deadline => {}
                landed => return from_flight(number, &landed, source),
            }
        }
    }

    /// Asks Vehicle while nobody waits for it, with all the time that a caller may have.
    fn refresh(&self, number: &RegistrationNumber, strategy: Strategy, context: &CallContext) {
        let context = CallContext {
            deadline: Instant::now() + self.refresh_within,
            ..context.clone()
        };
        let joined = self.join(number, strategy, &context);
        if !joined.shared {
            tokio::spawn(joined.flight);
        }
    }

    fn join(
        &self,
        number: &RegistrationNumber,
        strategy: Strategy,
        context: &CallContext,
    ) -> Joined {
        self.flights.join(number, || match strategy {
            Strategy::Single => {
                let passengers = Passengers {
                    numbers: vec![number.clone()],
                    departed: false,
                };
                let boarded = self.flights.board(Arc::new(Mutex::new(passengers)));
                self.depart(boarded, strategy, context, None)
            }
            Strategy::Batch => self.board(number, context),
        })
    }

    /// Puts a number on the batch that is boarding, or begins a new one.
    fn board(&self, number: &RegistrationNumber, context: &CallContext) -> Begun {
        let mut boarding = self.boarding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(batch) = &*boarding {
            let mut passengers = batch
                .passengers
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if !passengers.departed
                && passengers.numbers.len() < self.max_batch_size
                && let Some(flight) = batch.flight.upgrade()
            {
                passengers.numbers.push(number.clone());
                if passengers.numbers.len() == self.max_batch_size {
                    batch.full.notify_one();
                }
                return Begun {
                    id: batch.id,
                    deadline: batch.deadline,
                    flight,
                    trail: batch.trail.clone(),
                };
            }
        }
        let numbers = vec![number.clone()];
        let passengers = Arc::new(Mutex::new(Passengers {
            numbers,
            departed: false,
        }));
        let boarded = self.flights.board(passengers.clone());
        let (id, full) = (boarded.id(), Arc::new(Notify::new()));
        if self.max_batch_size == 1 {
            full.notify_one();
        }
        let begun = self.depart(boarded, Strategy::Batch, context, Some(full.clone()));
        *boarding = begun.flight.downgrade().map(|flight| Boarding {
            id,
            deadline: begun.deadline,
            passengers,
            full,
            flight,
            trail: begun.trail.clone(),
        });
        begun
    }

    /// The flight that goes out for these numbers, after those that gather have had their time.
    fn depart(
        &self,
        boarded: Boarded,
        strategy: Strategy,
        context: &CallContext,
        full: Option<Arc<Notify>>,
    ) -> Begun {
        let (dispatch, context) = (self.clone(), context.clone());
        let (id, deadline) = (boarded.id(), context.deadline);
        let trail = Trail::begin();
        let steps = trail.clone();
        let call = async move {
            if let Some(full) = full {
                tokio::select! {
                    biased;
                    () = full.notified() => {}
                    () = sleep(dispatch.gather_for) => {}
                }
            }
            let numbers = boarded.depart();
            if strategy == Strategy::Batch {
                dispatch.instruments.gathered(numbers.len());
                trail.note(format_args!("a batch of {} departs", numbers.len()));
            }
            let epoch = dispatch.cache.as_ref().map(Cache::epoch);
            let call = Call {
                numbers: numbers.clone().into(),
                strategy,
                context,
                attempt: 0,
                trail,
            };
            let answer = dispatch.guard.clone().oneshot(call).await?;
            if let (Some(cache), Some(epoch)) = (&dispatch.cache, epoch) {
                let now = Instant::now();
                for number in numbers {
                    let vehicle = match answer.get(&number) {
                        Some(Found::Vehicle(vehicle)) => Some(Arc::new(vehicle.clone())),
                        Some(Found::Nothing) => None,
                        Some(Found::Failure(_)) | None => continue,
                    };
                    cache.put(&number, vehicle, epoch, now, dispatch.chance.draw());
                }
            }
            drop(boarded);
            Ok(Arc::new(answer))
        };
        Begun {
            id,
            deadline,
            flight: flight(call.in_current_span()),
            trail: steps,
        }
    }
}

fn from_flight(number: &RegistrationNumber, landed: &Landed, source: Source) -> Lookup {
    match landed.as_ref().map(|answer| answer.get(number)) {
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
