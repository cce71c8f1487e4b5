//! How much a page has: as much as a transaction applies in good time.

use std::time::Duration;

/// A page that takes less makes the next one larger, if it was full.
const QUICK: Duration = Duration::from_millis(100);
/// A page that takes longer makes the next one smaller.
const SLOW: Duration = Duration::from_millis(400);

/// Grows and shrinks between bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageSize {
    size: u16,
    most: u16,
}

impl PageSize {
    const LEAST: u16 = 25;
    pub(super) const MOST_EVENTS: u16 = 500;
    const MOST_VEHICLES: u16 = 1_000;

    pub(super) fn of_events() -> Self {
        Self::new(Self::MOST_EVENTS)
    }

    pub(super) fn of_register() -> Self {
        Self::new(Self::MOST_VEHICLES)
    }

    fn new(most: u16) -> Self {
        Self { size: most, most }
    }

    pub(super) fn get(self) -> u16 {
        self.size
    }

    /// A transaction with so many rows took so long, and perhaps failed.
    pub(super) fn took(&mut self, time: Duration, rows: usize, failed: bool) {
        let full = rows >= self.size.into();
        if time > SLOW || failed {
            self.size = (self.size / 2).max(Self::LEAST);
        } else if time < QUICK && full {
            self.size = (self.size * 2).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::PageSize;

    #[test]
    fn pages_shrink_while_they_are_slow_or_fail_and_grow_again_between_bounds() {
        for (mut size, most) in [
            (PageSize::of_events(), 500),
            (PageSize::of_register(), 1_000),
        ] {
            let ms = Duration::from_millis;
            for (time, failed, expected) in [(401, false, 2), (1, true, 4), (200, false, 4)] {
                size.took(ms(time), 1_000, failed);
                assert_eq!(size.get(), most / expected);
            }
            for _ in 0..9 {
                size.took(ms(500), 1_000, false);
            }
            assert_eq!(size.get(), PageSize::LEAST);
            // Not because of pages that were not full.
            size.took(ms(1), 3, false);
            assert_eq!(size.get(), PageSize::LEAST);
            for _ in 0..9 {
                size.took(ms(1), 1_000, false);
            }
            assert_eq!(size.get(), most);
        }
    }
}
