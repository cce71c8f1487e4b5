use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Why Vehicle is not to be called, and by whose word. It is logged: no personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsolationOrder {
    /// Why, for those who wonder.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// Id of the API key that it came with, or `token/<subject>`.
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

/// Manual control, as a pure state machine: an operator stops all calls to Vehicle for a while.
/// Time comes from outside.
#[derive(Debug, Default)]
pub(super) struct Isolation(Option<InForce>);

#[derive(Debug)]
struct InForce {
    order: IsolationOrder,
    since: SystemTime,
    until: SystemTime,
    end: Instant,
}

impl Isolation {
    /// Isolates from now on, in place of whatever isolation there is. Returns when it ends by
    /// itself, by the clock on the wall.
    pub(super) fn begin(
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

    pub(super) fn release(&mut self) {
        self.0 = None;
    }

    /// What is left of the isolation, if there is one.
    pub(super) fn remaining(&self, now: Instant) -> Option<Duration> {
        let end = self.0.as_ref()?.end;
        (now < end).then(|| end - now)
    }

    pub(super) fn isolated(&self, now: Instant) -> Option<Isolated> {
        let remaining = self.remaining(now)?;
        self.0.as_ref().map(|it| Isolated {
            order: it.order.clone(),
            since: it.since,
            until: it.until,
            remaining,
        })
    }

    /// The order of an isolation whose time is over; once.
    pub(super) fn expire(&mut self, now: Instant) -> Option<IsolationOrder> {
        self.0.take_if(|it| now >= it.end).map(|it| it.order)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tokio::time::Instant;

    use super::{Isolation, IsolationOrder};

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
        let (mut isolation, now, wall) = (Isolation::default(), Instant::now(), SystemTime::now());
        assert_eq!(isolation.remaining(now), None);
        isolation.begin(order("a"), MINUTE, now, wall);
        assert_eq!(isolation.remaining(now), Some(MINUTE));
        let last = now + MINUTE - SECOND;
        let isolated = isolation.isolated(last).unwrap();
        assert_eq!(isolated.order, order("a"));
        assert_eq!(isolated.remaining, SECOND);
        assert_eq!((isolated.since, isolated.until), (wall, wall + MINUTE));
        assert_eq!(isolation.expire(last), None);
        assert_eq!(isolation.remaining(now + MINUTE), None);
        assert_eq!(isolation.isolated(now + MINUTE), None);
        assert_eq!(isolation.expire(now + MINUTE), Some(order("a")));
        assert_eq!(isolation.expire(now + MINUTE), None);
    }

    #[test]
    fn another_order_takes_its_place_and_keeps_since_when_it_is() {
        let (mut isolation, now, wall) = (Isolation::default(), Instant::now(), SystemTime::now());
        isolation.begin(order("a"), MINUTE, now, wall);
        let (later, later_wall) = (now + SECOND, wall + SECOND);
        isolation.begin(order("b"), 2 * MINUTE, later, later_wall);
        assert_eq!(isolation.expire(now + MINUTE), None);
        let isolated = isolation.isolated(now + MINUTE).unwrap();
        assert_eq!(isolated.order, order("b"));
        assert_eq!(isolated.since, wall);
        assert_eq!(isolated.until, later_wall + 2 * MINUTE);
        // A shorter one ends earlier.
        isolation.begin(order("c"), SECOND, later, later_wall);
        assert_eq!(isolation.expire(later + SECOND), Some(order("c")));
    }

    #[test]
    fn an_isolation_after_the_end_of_another_begins_anew() {
        let (mut isolation, now, wall) = (Isolation::default(), Instant::now(), SystemTime::now());
        isolation.begin(order("a"), SECOND, now, wall);
        let (later, later_wall) = (now + SECOND, wall + SECOND);
        isolation.begin(order("b"), SECOND, later, later_wall);
        assert_eq!(isolation.isolated(later).unwrap().since, later_wall);
    }

    #[test]
    fn a_release_ends_it_at_once_and_nothing_expires_after() {
        let (mut isolation, now, wall) = (Isolation::default(), Instant::now(), SystemTime::now());
        isolation.release();
        isolation.begin(order("a"), MINUTE, now, wall);
        isolation.release();
        assert_eq!(isolation.remaining(now), None);
        assert_eq!(isolation.expire(now + MINUTE), None);
    }

    #[test]
    fn a_wall_clock_that_is_set_changes_nothing() {
        let (mut isolation, now, wall) = (Isolation::default(), Instant::now(), SystemTime::now());
        isolation.begin(order("a"), MINUTE, now, wall);
        isolation.begin(order("b"), MINUTE, now, wall - 60 * MINUTE);
        assert_eq!(isolation.remaining(now), Some(MINUTE));
        assert_eq!(isolation.isolated(now).unwrap().since, wall);
    }
}
