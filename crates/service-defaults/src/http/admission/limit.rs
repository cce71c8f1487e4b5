use tokio::time::Instant;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was served.
    Served,
    /// It did not get what it needed in time, because too many others wanted the same.
    Overloaded,
    /// It says nothing about the load: its caller went away or gave it too little time, or it
    /// failed.
    Unknown,
}

/// How much of the places is left when requests were overloaded.
const DECREASE: f64 = 0.8;
/// Places won for each request that was served while all were taken: an eighth more when as many
/// as there are were served, so that a limit that fell far is back after a few times that long.
const INCREASE: f64 = 0.125;
/// The least share of the places.
const FLOOR: f64 = 1.0 / 32.0;

/// The number of places. One that adapts: less when requests were overloaded, more when they were
/// served.
///
/// As with TCP (RFC 5681, 3.1) what was under way before a decrease causes no other one.
#[derive(Debug)]
pub(crate) struct Limit {
    places: f64,
    most: f64,
    least: f64,
    decreased: Option<Instant>,
    /// Places that were given up while requests were on them.
    surplus: usize,
}

impl Limit {
    /// So many places, or down to a share of them.
    #[allow(clippy::cast_precision_loss, reason = "a limit is at most 100,000")]
    pub(crate) fn adaptive(most: usize) -> Self {
        let most = most as f64;
        Self {
            places: most,
            most,
            least: (most * FLOOR).max(1.0),
            decreased: None,
            surplus: 0,
        }
    }

    /// Always so many places: where requests wait long, places that were lost would come back too
    /// slowly.
    pub(crate) fn fixed(places: usize) -> Self {
        let adaptive = Self::adaptive(places);
        Self {
            least: adaptive.most,
            ..adaptive
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a limit is between 1 and 100,000"
    )]
    pub(super) fn whole(&self) -> usize {
        self.places as usize
    }

    /// A request has ended that had a place since `taken`, while all places were taken or not: how
    /// many places are free now.
    pub(super) fn ended(
        &mut self,
        how: Ended,
        all_taken: bool,
        taken: Instant,
        now: Instant,
    ) -> usize {
        let before = self.whole();
        match how {
            Ended::Served if all_taken => {
                self.places = (self.places + INCREASE).min(self.most);
            }
            Ended::Overloaded if self.decreased.is_none_or(|at| at <= taken) => {
                self.places = (self.places * DECREASE).max(self.least);
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
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, time::Duration};

    use tokio::time::Instant;

    use super::{Ended, Limit};

    /// A service whose places are taken again as soon as they are free.
    struct Flooded {
        limit: Limit,
        /// When each place was taken, the first one first.
        taken: VecDeque<Instant>,
        now: Instant,
    }

    impl Flooded {
        fn new(most: usize) -> Self {
            let now = Instant::now();
            Self {
                limit: Limit::adaptive(most),
                taken: VecDeque::from(vec![now; most]),
                now,
            }
        }

        /// So many requests end, each a moment after the one before. How many are in progress then?
        fn end(&mut self, requests: usize, how: Ended) -> usize {
            for _ in 0..requests {
                self.now += Duration::from_micros(1);
                let taken = self.taken.pop_front().unwrap();
                let free = self.limit.ended(how, true, taken, self.now);
                self.taken.extend(vec![self.now; free]);
            }
            self.taken.len()
        }

        /// As many requests end as are in progress.
        fn end_all(&mut self, how: Ended) -> usize {
            self.end(self.taken.len(), how)
        }
    }

    #[test]
    fn the_places_fall_by_a_fifth_once_for_all_who_were_in_progress_and_not_under_the_floor() {
        let mut service = Flooded::new(320);
        assert_eq!(service.end_all(Ended::Overloaded), 256);
        // The first of those who came after the decrease.
        assert_eq!(service.end_all(Ended::Overloaded), 204);
        for _ in 0..50 {
            service.end_all(Ended::Overloaded);
        }
        assert_eq!(service.taken.len(), 10);
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
    fn the_places_rise_by_an_eighth_when_as_many_were_served_and_not_over_the_setting() {
        let mut service = Flooded::new(320);
        service.end(64, Ended::Overloaded);
        assert_eq!(service.end(7, Ended::Served), 256);
        assert_eq!(service.end(1, Ended::Served), 257);
        assert_eq!(service.end(248, Ended::Served), 288);
        assert_eq!(service.end(1_000, Ended::Served), 320);
    }

    #[test]
    fn from_the_floor_all_places_are_back_when_each_was_served_thirty_times() {
        let mut service = Flooded::new(1_024);
        for _ in 0..50 {
            service.end_all(Ended::Overloaded);
        }
        assert_eq!(service.taken.len(), 32);
        let rounds = (0..100).take_while(|_| service.end_all(Ended::Served) < 1_024);
        assert_eq!(rounds.count(), 29);
    }

    #[test]
    fn what_says_nothing_about_the_load_changes_nothing() {
        let mut service = Flooded::new(320);
        service.end(64, Ended::Overloaded);
        assert_eq!(service.end(10_000, Ended::Unknown), 256);
        // Nobody waited: that these were served does not say that more would be.
        for _ in 0..10_000 {
            let (taken, now) = (service.now, service.now);
            let free = service.limit.ended(Ended::Served, false, taken, now);
            assert_eq!(free, 1);
        }
        assert_eq!(service.taken.len(), 256);
    }

    #[test]
    fn there_is_always_a_place() {
        let mut service = Flooded::new(1);
        for _ in 0..100 {
            assert_eq!(service.end(1, Ended::Overloaded), 1);
        }
    }
}
