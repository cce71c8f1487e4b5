//! Whether a call may be sent now: one state behind one lock.
//!
//! Nothing that is in flight is taken back: it ends by its attempt timeout. The breaker sees no
//! call that was not sent, so it is in the same state after an isolation as before.

mod isolation;
mod machine;

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

pub use isolation::{Isolated, IsolationOrder};
use machine::{Decision, Machine};

use super::{
    Phase,
    breaker::{BreakerState, Outcome, Permit, Transition},
};
use crate::{
    Answer, Call, Failure, FailureKind, Options, failure::NotSent, observe::Instruments, rng::Rng,
};

/// Asked twice for each attempt: before the queue, so that nobody waits for a permit to be
/// refused, and with the permit, so that nothing that was queued is sent after it has closed.
/// Clones are the same.
#[derive(Clone)]
pub(crate) struct Admission(Arc<Shared>);

struct Shared {
    control: Mutex<Control>,
    /// The kill switch; calls may be sent where none is set.
    switch: OnceLock<Switch>,
    rng: Rng,
    instruments: Instruments,
}

type Switch = Box<dyn Fn() -> bool + Send + Sync>;

struct Control {
    machine: Machine,
    /// Waits for the end of the isolation in force; aborted when it is dropped.
    expiry: JoinSet<()>,
}

/// What the admission is doing.
pub(crate) struct State {
    pub(crate) isolated: Option<Isolated>,
    pub(crate) breaker: BreakerState,
    /// For how long Vehicle asked not to be called.
    pub(crate) wait: Option<Duration>,
}

impl Admission {
    pub(super) fn new(options: &Options, rng: Rng, instruments: Instruments) -> Self {
        instruments.breaker_is(Phase::Closed.label());
        instruments.isolated(false);
        Self(Arc::new(Shared {
            control: Mutex::new(Control {
                machine: Machine::new(options.breaker, options.slow_after(), Instant::now()),
                expiry: JoinSet::new(),
            }),
            switch: OnceLock::new(),
            rng,
            instruments,
        }))
    }

    /// Sets the kill switch, once; a later one is not asked.
    pub(crate) fn ask_whether_on(&self, is_on: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = self.0.switch.set(Box::new(is_on));
    }

    /// Waits until the call could be sent, or returns why it is not.
    pub(super) async fn ready(&self, call: &Call) -> Result<(), NotSent> {
        loop {
            let is_on = self.is_on();
            let decision = self.0.control().machine.check(is_on, Instant::now());
            match decision {
                Decision::Open => return Ok(()),
                Decision::Refused(refused) => return Err(log(call, refused)),
                Decision::Wait(until, failure) => {
                    if !call.group.hold(until, failure) {
                        call.log()
                            .add(format_args!("Retry-After leaves no time for the call"));
                        return Err(NotSent(failure));
                    }
                    let wait = until - Instant::now();
                    call.log()
                        .add(format_args!("waits {wait:?} for Retry-After"));
                    sleep_until(until).await;
                }
            }
        }
    }

    /// Why no call may be sent now, if that is so for longer than a pause.
    pub(super) fn refusal(&self, call: &Call) -> Option<NotSent> {
        let is_on = self.is_on();
        match self.0.control().machine.check(is_on, Instant::now()) {
            Decision::Refused(refused) => Some(log(call, refused)),
            Decision::Open | Decision::Wait(..) => None,
        }
    }

    /// Admits one attempt that is sent now; nothing while it is to be [`ready`](Self::ready) first
    /// once more.
    pub(super) fn enter(&self, call: &Call) -> Result<Option<Admitted<'_>>, NotSent> {
        let (is_on, random) = (self.is_on(), self.0.rng.sample());
        let mut control = self.0.control();
        let (entered, transition) = control.machine.enter(is_on, Instant::now(), random);
        let phase = control.machine.breaker.phase();
        drop(control);
        // Before anything else, so that a panic gives the permit back.
        let entered = entered.map(|permit| Admitted {
            admission: self,
            permit,
            outcome: Outcome::Failed,
            retry_after: None,
        });
        self.0.report(transition);
        call.log().add(format_args!("breaker {}", phase.label()));
        match entered {
            Ok(admitted) => Ok(Some(admitted)),
            Err(Decision::Refused(refused)) => Err(log(call, refused)),
            Err(Decision::Wait(..) | Decision::Open) => {
                call.log().add(format_args!("Retry-After came meanwhile"));
                Ok(None)
            }
        }
    }

    /// Isolates Vehicle, in place of whatever isolation there is. Returns when it ends by itself,
    /// by the clock on the wall.
    pub(crate) fn isolate(&self, order: IsolationOrder, lasts: Duration) -> SystemTime {
        let (now, wall_clock) = (Instant::now(), SystemTime::now());
        let mut control = self.0.control();
        let until = control
            .machine
            .isolation
            .begin(order, lasts, now, wall_clock);
        control.expiry = JoinSet::new();
        let shared = Arc::downgrade(&self.0);
        control.expiry.spawn(expire_at(now + lasts, shared));
        self.0.instruments.isolated(true);
        until
    }

    /// Ends the isolation.
    pub(crate) fn release(&self) {
        let mut control = self.0.control();
        control.machine.isolation.release();
        control.expiry = JoinSet::new();
        self.0.instruments.isolated(false);
    }

    pub(crate) fn state(&self) -> State {
        let now = Instant::now();
        let control = self.0.control();
        State {
            isolated: control.machine.isolation.isolated(now),
            breaker: control.machine.breaker.state(now),
            wait: control.machine.wait(now),
        }
    }

    fn is_on(&self) -> bool {
        self.0.switch.get().is_none_or(|is_on| is_on())
    }
}

fn log(call: &Call, refused: NotSent) -> NotSent {
    let NotSent(failure) = refused;
    call.log()
        .add(format_args!("not sent: {}", failure.kind.label()));
    refused
}

impl Shared {
    fn control(&self) -> MutexGuard<'_, Control> {
        // The machine's methods leave it whole even if one of them panics.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, transition: Option<Transition>) {
        let phase = match transition {
            None => return,
            Some(Transition::Opened { duration, rule }) => {
                tracing::warn!(
                    ?duration,
                    rule = rule.name,
                    failures = rule.failures,
                    slow = rule.slow,
                    calls = rule.calls,
                    "breaker opened: Vehicle is not called"
                );
                Phase::Open
            }
            Some(Transition::HalfOpened) => {
                tracing::info!("breaker half-open: Vehicle is probed with one call at a time");
                Phase::HalfOpen
            }
            Some(Transition::Closed { probes }) => {
                tracing::info!(probes, "breaker closed: Vehicle works again");
                Phase::Closed
            }
        };
        self.instruments.breaker_became(phase.label());
    }
}

/// Says that an isolation is over, though nobody may ask. The target is that of the lines which
/// say who changed what by hand: this one closes the account.
async fn expire_at(end: Instant, shared: Weak<Shared>) {
    sleep_until(end).await;
    let Some(shared) = shared.upgrade() else {
        return;
    };
    let mut control = shared.control();
    let expired = control.machine.isolation.expire(Instant::now());
    if expired.is_some() {
        shared.instruments.isolated(false);
    }
    drop(control);
    if let Some(order) = expired {
        tracing::warn!(
            target: "audit",
            action = "isolation_expired",
            key_id = order.key_id,
            owner = order.owner,
            reason = order.reason,
            "the isolation is over by itself: Vehicle is called again"
        );
    }
}

/// An attempt that was admitted. It ends when this is dropped: as failed if nothing else was said,
/// as after a panic.
pub(crate) struct Admitted<'a> {
    admission: &'a Admission,
    permit: Permit,
    outcome: Outcome,
    retry_after: Option<(FailureKind, Duration)>,
}

impl Admitted<'_> {
    /// What became of it.
    pub(super) fn ended(mut self, result: &Result<Answer, Failure>) {
        self.outcome = match result {
            // A refusal of our key or of our question is loud by other means and shows a Vehicle
            // that works.
            Err(failure) if failure.shows_vehicle_well() => Outcome::Good,
            Err(_) => Outcome::Failed,
            Ok(_) => Outcome::Good,
        };
        let failure = result.as_ref().err();
        self.retry_after = failure.and_then(|it| Some((it.kind, it.retry_after?)));
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        let Admission(shared) = self.admission;
        let random = shared.rng.sample();
        let mut control = shared.control();
        let now = Instant::now();
        if let Some((kind, pause)) = self.retry_after {
            control.machine.wait_until(now + pause, kind);
        }
        let transition = control
            .machine
            .breaker
            .report(self.permit, self.outcome, now, random);
        drop(control);
        shared.report(transition);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry::metrics::{MeterProvider, noop::NoopMeterProvider};
    use tokio::time::Instant;

    use super::Admission;
    use crate::{Call, FailureKind, failure::NotSent, observe::Instruments, rng::Rng, simulation};

    const PAUSE: Duration = Duration::from_secs(7);

    /// Of a Vehicle that asked not to be called for a while.
    fn waiting() -> Admission {
        let instruments = Instruments::new(&NoopMeterProvider::new().meter("test"));
        let admission = Admission::new(&simulation::options(), Rng::default(), instruments);
        let until = Instant::now() + PAUSE;
        let mut control = admission.0.control();
        control.machine.wait_until(until, FailureKind::RateLimited);
        drop(control);
        admission
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_waits_no_longer_and_no_shorter_than_it_must() {
        let (start, admission) = (Instant::now(), waiting());
        let call = |millis| Call::awaited(start + PAUSE + Duration::from_millis(millis));
        let (hurried, _waiter) = call(9);
        let NotSent(failure) = admission.ready(&hurried).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::RateLimited);
        assert_eq!(failure.retry_after, Some(PAUSE));
        assert_eq!(start.elapsed(), Duration::ZERO);
        let (patient, _waiter) = call(10);
        assert_eq!(admission.ready(&patient).await, Ok(()));
        assert_eq!(start.elapsed().as_secs(), PAUSE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_queued_when_vehicle_asked_to_wait_is_not_sent() {
        let (start, admission) = (Instant::now(), waiting());
        let (call, _waiter) = Call::awaited(start + 2 * PAUSE);
        assert!(admission.enter(&call).unwrap().is_none());
        assert_eq!(admission.ready(&call).await, Ok(()));
        assert!(admission.enter(&call).unwrap().is_some());
    }
}
