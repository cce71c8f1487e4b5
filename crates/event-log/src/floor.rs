//! From which sequence on events may still be waiting for a place.
//!
//! Rows that were deleted stay in the index until a vacuum removes them, which an old snapshot
//! prevents. Without a floor each look reads all of them.
//!
//! The floor must not pass a writer that is still at work. A writer has a transaction id before it
//! draws its sequence (`take_a_sequence`). So the sequencer first reads the last sequence that was
//! drawn, and then draws a transaction id of its own: whoever has drawn one up to that sequence has
//! a lower id. Once no transaction up to that id is running, the floor may rise to the sequence.
//! The `xmax` of a snapshot does not serve as that id: it is the latest *completed* id + 1, which
//! can be the id of a writer at work.

/// No event below it waits for a place, and no writer below it is at work.
#[derive(Debug, Default)]
pub(crate) struct Floor {
    at: i64,
    candidate: Option<Candidate>,
}

/// A sequence to which the floor may rise later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// The last one drawn, read before `transaction` was.
    pub(crate) sequence: i64,
    /// A transaction id.
    pub(crate) transaction: i64,
}

impl Floor {
    /// The first sequence that has to be looked at.
    pub(crate) fn at(&self) -> i64 {
        self.at
    }

    /// Whether the floor stays where it is until somebody proposes a candidate.
    pub(crate) fn lags_behind(&self, last_drawn: i64) -> bool {
        self.candidate.is_none() && self.at < last_drawn
    }

    /// Takes a candidate where it has none.
    pub(crate) fn propose(&mut self, candidate: Candidate) {
        self.candidate.get_or_insert(candidate);
    }

    /// Rises, where that is safe.
    ///
    /// `oldest_running` is the lowest transaction id that was running in a snapshot. `placed_below`
    /// says that nothing from the floor up to this sequence waited, or waits any more, that the same
    /// snapshot or a later one has seen.
    pub(crate) fn settle(&mut self, oldest_running: i64, placed_below: i64) {
        if let Some(candidate) = self.candidate
            && candidate.transaction < oldest_running
        {
            self.at = self.at.max(candidate.sequence.min(placed_below));
            self.candidate = self.candidate.filter(|it| it.sequence > placed_below);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: i64 = i64::MAX;

    fn floor(sequence: i64, transaction: i64) -> Floor {
        let mut floor = Floor::default();
        floor.propose(Candidate {
            sequence,
            transaction,
        });
        floor
    }

    #[test]
    fn it_waits_for_the_transactions_that_may_have_drawn_a_lower_sequence() {
        let mut floor = floor(40, 1_000);
        for oldest_running in [999, 1_000] {
            floor.settle(oldest_running, ALL);
            assert_eq!(floor.at(), 0);
        }
        floor.settle(1_001, ALL);
        assert_eq!(floor.at(), 40);
    }

    #[test]
    fn it_passes_nothing_that_still_waits() {
        let mut floor = floor(40, 1_000);
        floor.settle(1_001, 25);
        assert_eq!(floor.at(), 25);
        floor.settle(1_001, ALL);
        assert_eq!(floor.at(), 40);
    }

    #[test]
    fn it_keeps_its_candidate_until_that_is_reached() {
        let mut floor = floor(40, 1_000);
        let later = Candidate {
            sequence: 90,
            transaction: 2_000,
        };
        floor.propose(later);
        floor.settle(1_001, ALL);
        assert_eq!(floor.at(), 40);
        floor.propose(later);
        floor.settle(2_001, ALL);
        assert_eq!(floor.at(), 90);
    }

    #[test]
    fn it_never_falls() {
        let mut floor = floor(40, 1_000);
        floor.settle(1_001, ALL);
        floor.propose(Candidate {
            sequence: 30,
            transaction: 2_000,
        });
        floor.settle(2_001, 10);
        assert_eq!(floor.at(), 40);
    }

    #[test]
    fn it_asks_for_a_candidate_where_sequences_were_drawn_since() {
        let mut floor = floor(40, 1_000);
        assert!(!floor.lags_behind(50));
        floor.settle(1_001, ALL);
        assert!(floor.lags_behind(41));
        assert!(!floor.lags_behind(40));
    }
}
