//! How many events a page has: as many as a transaction applies in good time.

use std::time::Duration;

/// A page that takes less makes the next one larger, if it was full.
const QUICK: Duration = Duration::from_millis(100);
/// A page that takes longer makes the next one smaller.
const SLOW: Duration = Duration::from_millis(400);

/// Grows and shrinks between bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageSize(u16);

impl Default for PageSize {
    fn default() -> Self {
        Self(Self::MOST)
    }
}

impl PageSize {
    pub(super) const LEAST: u16 = 25;
    pub(super) const MOST: u16 = 500;

    pub(super) fn get(self) -> u16 {
        self.0
    }

    /// A transaction with so many events took so long, and perhaps failed.
    pub(super) fn took(&mut self, time: Duration, events: usize, failed: bool) {
        let full = events >= self.0.into();
        if time > SLOW || failed {
            self.0 = (self.0 / 2).max(Self::LEAST);
        } else if time < QUICK && full {
            self.0 = (self.0 * 2).min(Self::MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::PageSize;

    #[test]
    fn pages_shrink_while_they_are_slow_or_fail_and_grow_again_between_bounds() {
        let mut size = PageSize::default();
        let ms = Duration::from_millis;
        for (time, failed, expected) in [(401, false, 250), (1, true, 125), (200, false, 125)] {
            size.took(ms(time), 500, failed);
            assert_eq!(size.get(), expected);
        }
        for _ in 0..9 {
            size.took(ms(500), 500, false);
        }
        assert_eq!(size.get(), PageSize::LEAST);
        // Not because of pages that were not full.
        size.took(ms(1), 3, false);
        assert_eq!(size.get(), PageSize::LEAST);
        for _ in 0..9 {
            size.took(ms(1), 500, false);
        }
        assert_eq!(size.get(), PageSize::MOST);
    }
}
