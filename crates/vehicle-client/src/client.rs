use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use access_tokens::ClientToken;
use contracts::RegistrationNumber;
use opentelemetry::metrics::Meter;

use crate::{
    BuildError, CallContext, GuardState, IsolationOrder, Lookup, Options, Strategy,
    guard::Guard,
    lookup::Lookups,
    observe::Instruments,
    rng::Rng,
    wire::{HttpTransport, Transport},
};

/// Looks up vehicles. Clones share one guard; a process has one.
#[derive(Clone)]
pub struct VehicleClient {
    pub(crate) lookups: Lookups,
    pub(crate) guard: Guard,
    token: Option<ClientToken>,
}

impl VehicleClient {
    /// A client with a guard of its own, which Vehicle's logs know by this user agent. Connects when
    /// it is first needed.
    pub fn new(
        options: &Options,
        user_agent: &'static str,
        meter: &Meter,
    ) -> Result<Self, BuildError> {
        let instruments = Instruments::new(meter);
        let token = ClientToken::new(&options.token, meter)?;
        let transport =
            HttpTransport::new(options, token.clone(), user_agent, instruments.clone())?;
        let client = Self::over(transport, options, &Rng::default(), instruments);
        Ok(Self { token, ..client })
    }

    /// What Vehicle knows us by, where it is no key, for [`Feed`](crate::Feed): both have the same.
    pub fn token(&self) -> Option<ClientToken> {
        self.token.clone()
    }

    /// From now on asks before each call, retries included, whether calls may be sent; while not,
    /// they are `switched_off`. What is in flight ends by itself. The first question stays.
    pub fn ask_whether_on(&self, is_on: impl Fn() -> bool + Send + Sync + 'static) {
        self.guard.admission().ask_whether_on(is_on);
    }

    /// A client whose calls are sent by this transport.
    pub(crate) fn over(
        transport: impl Transport,
        options: &Options,
        rng: &Rng,
        instruments: Instruments,
    ) -> Self {
        let guard = Guard::new(transport, options, rng, &instruments);
        Self {
            lookups: Lookups::new(options, guard.clone(), rng.clone(), instruments),
            guard,
            token: None,
        }
    }

    /// Looks up distinct numbers and answers for every one of them by the deadline.
    ///
    /// Dropping the future ends the calls that nobody else waits for and that are not in flight.
    pub async fn look_up(
        &self,
        numbers: &[RegistrationNumber],
        strategy: Strategy,
        context: &CallContext,
    ) -> HashMap<RegistrationNumber, Lookup> {
        self.lookups.look_up(numbers, strategy, context).await
    }

    /// Looks a number up for somebody who relies on it: what is kept counts only while it is fresh
    /// and says that there is a vehicle, and a failure is told whatever is kept.
    pub async fn confirm(&self, number: &RegistrationNumber, context: &CallContext) -> Lookup {
        self.lookups.confirm(number, context).await
    }

    /// Forgets what is known of a number, at once: what is kept, and what is on its way.
    pub fn erase(&self, number: &RegistrationNumber) {
        self.lookups.erase(number);
    }

    /// Stops all calls to Vehicle for this long, in place of whatever order there is. Answers
    /// that are kept are still given. Calls in flight end by their attempt timeout.
    ///
    /// Returns when it ends by itself, by the clock on the wall. To be called within a runtime: a
    /// task waits for the end and logs it.
    pub fn isolate(&self, order: IsolationOrder, lasts: Duration) -> SystemTime {
        self.guard.admission().isolate(order, lasts)
    }

    /// Lets calls to Vehicle through again, as far as the breaker does.
    pub fn release(&self) {
        self.guard.admission().release();
    }

    /// What the guard is doing.
    pub fn guard_state(&self) -> GuardState {
        let state = self.guard.state();
        GuardState {
            isolated: state.admission.isolated,
            breaker: state.admission.breaker,
            retry_after: state.admission.wait,
            retries_left: state.retries_left,
            single: state.single,
            batch: state.batch,
            cache: self.lookups.cache_state(),
        }
    }
}
