use std::{collections::HashMap, time::Duration};

use contracts::{RegistrationNumber, Source, Vehicle};
use futures_util::{StreamExt, stream};
use opentelemetry::metrics::Meter;

use crate::{
    BuildError, CallContext, Failure, Options, Strategy, breaker::Breaker, bulkhead::Bulkheads,
    chance::Chance, dispatch::Dispatch, guard, instruments::Instruments, step::Inner,
    transport::Transport,
};

/// Looks up vehicles. Clones share one guard; a process has one.
#[derive(Clone)]
pub struct VehicleClient {
    pub(crate) dispatch: Dispatch,
    pub(crate) bulkheads: Bulkheads,
    pub(crate) breaker: Breaker,
    instruments: Instruments,
    max_degree_of_parallelism_single: usize,
    max_degree_of_parallelism_batch: usize,
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

impl Lookup {
    /// What became of it, in one word.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Found { .. } => "found",
            Self::NotFound { .. } => "not_found",
            Self::Unavailable(failure) => failure.label(),
        }
    }
}

impl VehicleClient {
    /// A client with a guard of its own. Connects when it is first needed.
    pub fn new(options: &Options, meter: &Meter) -> Result<Self, BuildError> {
        let instruments = Instruments::new(meter);
        let transport = Transport::new(options, instruments.clone())?;
        Ok(Self::over(
            transport,
            options,
            &Chance::default(),
            instruments,
        ))
    }

    /// A client whose calls go out by this transport.
    pub(crate) fn over(
        transport: impl Inner,
        options: &Options,
        chance: &Chance,
        instruments: Instruments,
    ) -> Self {
        let (guard, bulkheads, breaker) = guard::build(transport, options, chance, &instruments);
        Self {
            dispatch: Dispatch::new(options, guard, chance.clone(), instruments.clone()),
            bulkheads,
            breaker,
            instruments,
            max_degree_of_parallelism_single: options.max_degree_of_parallelism_single,
            max_degree_of_parallelism_batch: options.max_degree_of_parallelism_batch,
        }
    }

    /// Looks up distinct numbers and answers for every one of them by the deadline.
    ///
    /// Dropping the future ends the calls that nobody else waits for.
    pub async fn look_up(
        &self,
        numbers: &[RegistrationNumber],
        strategy: Strategy,
        context: &CallContext,
    ) -> HashMap<RegistrationNumber, Lookup> {
        let width = match strategy {
            Strategy::Single => self.max_degree_of_parallelism_single,
            // All board at once; the batches are what is bounded.
            Strategy::Batch => numbers.len().max(1),
        };
        let lookups: Vec<_> = numbers
            .iter()
            .map(|number| {
                // Counted also when its turn never comes, because the caller goes away.
                let mut asked = self.instruments.asked();
                async move {
                    let lookup = self.dispatch.look_up(number, strategy, context).await;
                    asked.ended(&lookup);
                    (number.clone(), lookup)
                }
            })
            .collect();
        stream::iter(lookups)
            .buffer_unordered(width)
            .collect()
            .await
    }

    /// Forgets what is known of a number, at once: what is kept, and what is on its way.
    pub fn erase(&self, number: &RegistrationNumber) {
        self.dispatch.erase(number);
    }

    /// What the guard is doing, in words for people.
    pub fn state(&self) -> String {
        let (single, batch) = self.bulkheads.free();
        let (singles, batches) = (
            self.max_degree_of_parallelism_single,
            self.max_degree_of_parallelism_batch,
        );
        format!(
            "breaker {}, {} of {singles} single calls and {} of {batches} batch calls in flight",
            self.breaker.phase().label(),
            singles - single,
            batches - batch
        )
    }
}
