use std::{collections::HashMap, sync::Arc, time::Duration};

use contracts::{Cause, RegistrationNumber, Source, Vehicle};
use futures_util::{StreamExt, stream};
use opentelemetry::metrics::Meter;
use tokio::time::{Instant, timeout_at};
use tower::ServiceExt;

use crate::{
    BuildError, Call, CallContext, Failure, Found, Options, Strategy,
    bulkhead::Bulkheads,
    guard::{self, Guard},
    instruments::Instruments,
};

/// Looks up vehicles. Clones share one guard; a process has one.
#[derive(Clone)]
pub struct VehicleClient {
    guard: Guard,
    bulkheads: Bulkheads,
    max_degree_of_parallelism_single: usize,
    max_degree_of_parallelism_batch: usize,
    max_batch_size: usize,
}

/// What became of looking up one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Vehicle has it.
    Found {
        /// The vehicle.
        vehicle: Vehicle,
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

impl VehicleClient {
    /// A client with a guard of its own. Connects when it is first needed.
    pub fn new(options: &Options, meter: &Meter) -> Result<Self, BuildError> {
        let (guard, bulkheads) = guard::build(options, &Instruments::new(meter))?;
        Ok(Self {
            guard,
            bulkheads,
            max_degree_of_parallelism_single: options.max_degree_of_parallelism_single,
            max_degree_of_parallelism_batch: options.max_degree_of_parallelism_batch,
            max_batch_size: options.max_batch_size,
        })
    }

    /// Looks up distinct numbers and answers for every one of them by the deadline.
    ///
    /// Dropping the future ends the calls that it waits for.
    pub async fn look_up(
        &self,
        numbers: &[RegistrationNumber],
        strategy: Strategy,
        context: &CallContext,
    ) -> HashMap<RegistrationNumber, Lookup> {
        let (size, width) = match strategy {
            Strategy::Single => (1, self.max_degree_of_parallelism_single),
            Strategy::Batch => (self.max_batch_size, self.max_degree_of_parallelism_batch),
        };
        let calls: Vec<_> = numbers
            .chunks(size)
            .map(|chunk| self.ask(chunk.into(), strategy, context))
            .collect();
        let mut calls = stream::iter(calls).buffer_unordered(width);
        let mut lookups = HashMap::with_capacity(numbers.len());
        while let Ok(Some(answered)) = timeout_at(context.deadline, calls.next()).await {
            lookups.extend(answered);
        }
        for number in numbers {
            lookups
                .entry(number.clone())
                .or_insert(Lookup::Unavailable(Failure::lasting(Cause::Timeout)));
        }
        lookups
    }

    /// What the guard is doing, in words for people.
    pub fn state(&self) -> String {
        let (single, batch) = self.bulkheads.free();
        let (singles, batches) = (
            self.max_degree_of_parallelism_single,
            self.max_degree_of_parallelism_batch,
        );
        format!(
            "{} of {singles} single calls and {} of {batches} batch calls in flight",
            singles - single,
            batches - batch
        )
    }

    async fn ask(
        &self,
        numbers: Arc<[RegistrationNumber]>,
        strategy: Strategy,
        context: &CallContext,
    ) -> Vec<(RegistrationNumber, Lookup)> {
        if Instant::now() >= context.deadline {
            return Vec::new();
        }
        let call = Call {
            numbers: numbers.clone(),
            strategy,
            context: context.clone(),
            attempt: 0,
        };
        match self.guard.clone().oneshot(call).await {
            Ok(answer) => answer
                .into_iter()
                .map(|(number, found)| (number, Lookup::new(found, strategy.source())))
                .collect(),
            Err(failure) => numbers
                .iter()
                .map(|number| (number.clone(), Lookup::Unavailable(failure)))
                .collect(),
        }
    }
}

impl Lookup {
    fn new(found: Found, source: Source) -> Self {
        match found {
            Found::Vehicle(vehicle) => Self::Found {
                vehicle,
                source,
                age: Duration::ZERO,
            },
            Found::Nothing => Self::NotFound { source },
            Found::Failure(failure) => Self::Unavailable(failure),
        }
    }
}
