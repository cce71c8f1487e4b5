//! Manual control: an operator keeps every call from Vehicle for a while.
//!
//! It takes back nothing that is out already: a call in flight ends by its attempt timeout. The
//! breaker below sees no call meanwhile and is afterwards in the state that it was in.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use contracts::Cause;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    Answer, Call, Failure,
    instruments::Instruments,
    step::{Inner, Step, ask},
};

/// Why Vehicle is not to be called, and by whose word. It is logged: no personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsolationOrder {
    /// Why, for those who wonder.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// Id of the API key that it came with.
    pub key_id: String,
}

/// An isolation in force, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolated {
    /// Why, and by whose word.
    pub order: IsolationOrder,
    /// Since when no call goes out, replaced orders included.
    pub since: SystemTime,
    /// When it ends by itself, by the clock on the wall as it was when the order came.
    pub until: SystemTime,
    /// What is left of it, by a clock that nobody sets.
    pub remaining: Duration,
}

/// The isolation as a pure state machine: time comes from outside.
#[derive(Debug, Default)]
struct Machine(Option<InForce>);

#[derive(Debug)]
struct InForce {
    order: IsolationOrder,
    since: SystemTime,
    until: SystemTime,
    end: Instant,
}

impl Machine {
    /// Isolates from now on, in place of whatever isolation there is. Returns when it ends by
    /// itself, by the clock on the wall.
    fn isolate(
        &mut self,
        order: IsolationOrder,
        lasts: Duration,
        now: Instant,
        wall_clock: SystemTime,
    ) -> SystemTime {
        let until = wall_clock + lasts;
        let since = self.isolated(now).map_or(wall_clock, |it| it.since);
        self.0 = Some(InForce {
            order,
            since,
            until,
            end: now + lasts,
        });
        until
    }

    fn release(&mut self) {
        self.0 = None;
    }

    /// What is left of the isolation, if there is one.
    fn remaining(&self, now: Instant) -> Option<Duration> {
        let end = self.0.as_ref()?.end;
        (now < end).then(|| end - now)
    }

    fn isolated(&self, now: Instant) -> Option<Isolated> {
        let remaining = self.remaining(now)?;
        self.0.as_ref().map(|it| Isolated {
            order: it.order.clone(),
            since: it.since,
            until: it.until,
            remaining,
        })
    }

    /// The order of an isolation whose time is over; once.
    fn expire(&mut self, now: Instant) -> Option<IsolationOrder> {
        self.0.take_if(|it| now >= it.end).map(|it| it.order)
    }
}

/// Stands above the breaker, below the bulkhead: what waits for its turn when an isolation begins
/// does not go out either.
#[derive(Clone)]
pub(crate) struct Isolation(Arc<Shared>);

struct Shared {
    control: Mutex<Control>,
    instruments: Instruments,
}

#[derive(Default)]
struct Control {
    machine: Machine,
    /// Waits for the end of the isolation in force; aborted when it is dropped.
    expiry: JoinSet<()>,
}

impl Isolation {
    pub(crate) fn new(instruments: Instruments) -> Self {
        instruments.isolated(false);
        Self(Arc::new(Shared {
            control: Mutex::default(),
            instruments,
        }))
    }

    pub(crate) fn isolate(&self, order: IsolationOrder, lasts: Duration) -> SystemTime {
        let now = Instant::now();
        let mut control = self.0.control();
        let wall_clock = SystemTime::now();
        let until = control.machine.isolate(order, lasts, now, wall_clock);
        control.expiry = JoinSet::new();
        control
            .expiry
            .spawn(expire_at(now + lasts, Arc::downgrade(&self.0)));
        self.0.instruments.isolated(true);
        until
    }

    pub(crate) fn release(&self) {
        let mut control = self.0.control();
        control.machine.release();
        control.expiry = JoinSet::new();
        self.0.instruments.isolated(false);
    }

    pub(crate) fn isolated(&self) -> Option<Isolated> {
        self.0.control().machine.isolated(Instant::now())
    }
}

impl Shared {
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells that an isolation is over, though nobody may ask. The target is that of the lines which
/// say who changed what by hand: this one closes the account.
async fn expire_at(end: Instant, shared: Weak<Shared>) {
    sleep_until(end).await;
    let Some(shared) = shared.upgrade() else {
        return;
    };
    let mut control = shared.control();
    if let Some(order) = control.machine.expire(Instant::now()) {
        shared.instruments.isolated(false);
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

impl Step for Isolation {
    async fn pass(self, call: Call, inner: impl Inner) -> Result<Answer, Failure> {
        let remaining = self.0.control().machine.remaining(Instant::now());
        if remaining.is_some() {
            return Err(Failure::lasting(Cause::BreakerOpen).with_retry_after(remaining));
        }
        ask(&inner, call).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tokio::time::Instant;

    use super::{IsolationOrder, Machine};

    fn order(reason: &str) -> IsolationOrder {
        IsolationOrder {
            reason: reason.to_owned(),
            owner: "on-call".to_owned(),
            key_id: "operations".to_owned(),
        }
    }

    const MINUTE: Duration = Duration::from_mins(1);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_lasts_until_its_end_and_no_longer() {
        let (mut machine, now, wall) = (Machine::default(), Instant::now(), SystemTime::now());
        assert_eq!(machine.remaining(now), None);
        machine.isolate(order("a"), MINUTE, now, wall);
        assert_eq!(machine.remaining(now), Some(MINUTE));
        let last = now + MINUTE - SECOND;
        let isolated = machine.isolated(last).unwrap();
        assert_eq!(isolated.order, order("a"));
        assert_eq!(isolated.remaining, SECOND);
        assert_eq!((isolated.since, isolated.until), (wall, wall + MINUTE));
        assert_eq!(machine.expire(last), None);
        assert_eq!(machine.remaining(now + MINUTE), None);
        assert_eq!(machine.isolated(now + MINUTE), None);
        assert_eq!(machine.expire(now + MINUTE), Some(order("a")));
        assert_eq!(machine.expire(now + MINUTE), None);
    }

    #[test]
    fn another_order_takes_its_place_and_keeps_since_when_it_is() {
        let (mut machine, now, wall) = (Machine::default(), Instant::now(), SystemTime::now());
        machine.isolate(order("a"), MINUTE, now, wall);
        let (later, later_wall) = (now + SECOND, wall + SECOND);
        machine.isolate(order("b"), 2 * MINUTE, later, later_wall);
        assert_eq!(machine.expire(now + MINUTE), None);
        let isolated = machine.isolated(now + MINUTE).unwrap();
        assert_eq!(isolated.order, order("b"));
        assert_eq!(isolated.since, wall);
        assert_eq!(isolated.until, later_wall + 2 * MINUTE);
        // A shorter one ends earlier.
        machine.isolate(order("c"), SECOND, later, later_wall);
        assert_eq!(machine.expire(later + SECOND), Some(order("c")));
    }

    #[test]
    fn an_isolation_after_the_end_of_another_begins_anew() {
        let (mut machine, now, wall) = (Machine::default(), Instant::now(), SystemTime::now());
        machine.isolate(order("a"), SECOND, now, wall);
        let (later, later_wall) = (now + SECOND, wall + SECOND);
        machine.isolate(order("b"), SECOND, later, later_wall);
        assert_eq!(machine.isolated(later).unwrap().since, later_wall);
    }

    #[test]
    fn a_release_ends_it_at_once_and_nothing_expires_after() {
        let (mut machine, now, wall) = (Machine::default(), Instant::now(), SystemTime::now());
        machine.release();
        machine.isolate(order("a"), MINUTE, now, wall);
        machine.release();
        assert_eq!(machine.remaining(now), None);
        assert_eq!(machine.expire(now + MINUTE), None);
    }

    #[test]
    fn a_wall_clock_that_is_set_changes_nothing() {
        let (mut machine, now, wall) = (Machine::default(), Instant::now(), SystemTime::now());
        machine.isolate(order("a"), MINUTE, now, wall);
        machine.isolate(order("b"), MINUTE, now, wall - 60 * MINUTE);
        assert_eq!(machine.remaining(now), Some(MINUTE));
        assert_eq!(machine.isolated(now).unwrap().since, wall);
    }
}
