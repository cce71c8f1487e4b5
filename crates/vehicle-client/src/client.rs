use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use contracts::{RegistrationNumber, Source, Vehicle};
use futures_util::{StreamExt, stream};
use opentelemetry::metrics::Meter;

use crate::{
    BuildError, CallContext, Failure, GuardState, IsolationOrder, Options, Strategy,
    chance::Chance, dispatch::Dispatch, guard, instruments::Instruments, state::Controls,
    step::Inner, transport::Transport,
};

/// Looks up vehicles. Clones share one guard; a process has one.
#[derive(Clone)]
pub struct VehicleClient {
    pub(crate) dispatch: Dispatch,
    pub(crate) controls: Controls,
    instruments: Instruments,
    max_degree_of_parallelism_single: usize,
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

    /// From now on asks before each call, retries included, whether calls may go out; while not,
    /// they are `breaker_open`. What is out already ends by itself. The first question stays.
    pub fn ask_whether_on(&self, is_on: impl Fn() -> bool + Send + Sync + 'static) {
        self.controls.switch.ask_whether_on(is_on);
    }

    /// A client whose calls go out by this transport.
    pub(crate) fn over(
        transport: impl Inner,
        options: &Options,
        chance: &Chance,
        instruments: Instruments,
    ) -> Self {
        let (guard, controls) = guard::build(transport, options, chance, &instruments);
        Self {
            dispatch: Dispatch::new(options, guard, chance.clone(), instruments.clone()),
            controls,
            instruments,
            max_degree_of_parallelism_single: options.max_degree_of_parallelism_single,
        }
    }

    /// Looks up distinct numbers and answers for every one of them by the deadline.
    ///
    /// Dropping the future ends the calls that nobody else waits for and that are not out yet.
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

    /// Keeps every call from Vehicle for this long, in place of whatever order there is. Answers
    /// that are kept are still given. Calls in flight end by their attempt timeout.
    ///
    /// Returns when it ends by itself, by the clock on the wall. To be called within a runtime: a
    /// task waits for the end and tells it.
    pub fn isolate(&self, order: IsolationOrder, lasts: Duration) -> SystemTime {
        self.controls.isolation.isolate(order, lasts)
    }

    /// Lets calls to Vehicle through again, as far as the breaker does.
    pub fn release(&self) {
        self.controls.isolation.release();
    }

    /// What the guard is doing.
    pub fn guard_state(&self) -> GuardState {
        self.controls.state(self.dispatch.cache_state())
    }
}
