use std::time::Duration;

use tokio::time::Instant;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was served.
    Served,
    /// It did not get what it needed in time, because too many others wanted the same.
    Overloaded,
    /// It says nothing about the load: its caller went away, or its time was up.
    Unknown,
}

/// How much of the places is left when requests were overloaded.
const DECREASE: f64 = 0.8;
/// Least time between two decreases: those that were admitted before the first one end first.
const PAUSE: Duration = Duration::from_millis(100);
/// The least share of the places.
const FLOOR: f64 = 1.0 / 32.0;

/// The number of places: additive increase, multiplicative decrease, as TCP does (RFC 5681, 3.1).
#[derive(Debug)]
pub(super) struct Limit {
    places: f64,
    most: f64,
    decreased: Option<Instant>,
    /// Places that were given up while requests were on them.
    surplus: usize,
}

impl Limit {
    #[allow(clippy::cast_precision_loss, reason = "a limit is at most 100,000")]
    pub(super) fn new(most: usize) -> Self {
        let most = most as f64;
        Self {
            places: most,
            most,
            decreased: None,
            surplus: 0,
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a limit is between 1 and 100,000"
    )]
    fn whole(&self) -> usize {
        self.places as usize
    }

    /// A request has ended, while all places were taken or not: how many places are free now.
    pub(super) fn ended(&mut self, how: Ended, all_taken: bool, now: Instant) -> usize {
        let before = self.whole();
        match how {
            Ended::Served if all_taken => {
                self.places = (self.places + 1.0 / self.places).min(self.most);
            }
            Ended::Overloaded if self.may_decrease(now) => {
                let floor = (self.most * FLOOR).max(1.0);
                self.places = (self.places * DECREASE).max(floor);
                self.decreased = Some(now);
            }
            Ended::Served | Ended::Overloaded | Ended::Unknown => {}
        }
        let after = self.whole();
        self.surplus += before.saturating_sub(after);
        let free = 1 + after.saturating_sub(before);
        let given_up = free.min(self.surplus);
        self.surplus -= given_up;
        free - given_up
    }

    fn may_decrease(&self, now: Instant) -> bool {
        self.decreased.is_none_or(|at| now - at >= PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Ended, Limit, PAUSE};

    /// A service whose places are taken again as soon as they are free.
    struct Flooded {
        limit: Limit,
        in_progress: usize,
        now: Instant,
    }

    impl Flooded {
        fn new(most: usize) -> Self {
            let (limit, now) = (Limit::new(most), Instant::now());
            let in_progress = most;
            Self {
                limit,
                in_progress,
                now,
            }
        }

        /// So many requests end.
        fn end(&mut self, requests: usize, how: Ended) -> usize {
            for _ in 0..requests {
                self.in_progress += self.limit.ended(how, true, self.now);
                self.in_progress -= 1;
            }
            self.in_progress
        }

        fn wait(&mut self, time: Duration) {
            self.now += time;
        }
    }

    #[test]
    fn the_places_fall_by_a_fifth_once_a_pause_and_not_under_the_floor() {
        let mut service = Flooded::new(320);
        assert_eq!(service.end(1_000, Ended::Overloaded), 256);
        service.wait(Duration::from_millis(99));
        assert_eq!(service.end(1_000, Ended::Overloaded), 256);
        service.wait(Duration::from_millis(1));
        assert_eq!(service.end(1_000, Ended::Overloaded), 204);
        for _ in 0..50 {
            service.wait(PAUSE);
            service.end(1_000, Ended::Overloaded);
        }
        assert_eq!(service.in_progress, 10);
    }

    #[test]
    fn those_in_progress_keep_their_places_when_there_are_fewer() {
        let mut service = Flooded::new(320);
        // Each that ends gives its place up, until there are as many as may be.
        for in_progress in (256..320).rev() {
            assert_eq!(service.end(1, Ended::Overloaded), in_progress);
        }
        assert_eq!(service.end(1, Ended::Overloaded), 256);
    }

    #[test]
    fn the_places_rise_by_one_when_as_many_were_served_and_not_over_the_setting() {
        let mut service = Flooded::new(320);
        service.end(64, Ended::Overloaded);
        assert_eq!(service.end(255, Ended::Served), 256);
        assert_eq!(service.end(2, Ended::Served), 257);
        assert_eq!(service.end(1_000_000, Ended::Served), 320);
    }

    #[test]
    fn what_says_nothing_about_the_load_changes_nothing() {
        let mut service = Flooded::new(320);
        service.end(64, Ended::Overloaded);
        assert_eq!(service.end(10_000, Ended::Unknown), 256);
        // Nobody waited: that these were served does not say that more would be.
        for _ in 0..10_000 {
            assert_eq!(service.limit.ended(Ended::Served, false, service.now), 1);
        }
        assert_eq!(service.in_progress, 256);
    }

    #[test]
    fn there_is_always_a_place() {
        let mut service = Flooded::new(1);
        for _ in 0..100 {
            service.wait(PAUSE);
            assert_eq!(service.end(1, Ended::Overloaded), 1);
        }
    }
}
