use std::time::Duration;

use tokio::time::Instant;

use crate::BudgetOptions;

/// A retry budget as a pure state machine: time comes from outside. Its balance is never negative.
///
/// Good calls pay in, not all calls: while Vehicle is down nothing is earned but the floor, so
/// that retries die out when they cannot help. It starts empty.
#[derive(Debug)]
pub(crate) struct Budget {
    options: BudgetOptions,
    balance: f64,
    paid: Instant,
    failed_in_row: u32,
}

impl Budget {
    pub(crate) fn new(options: BudgetOptions, now: Instant) -> Self {
        Self {
            options,
            balance: 0.0,
            paid: now,
            failed_in_row: 0,
        }
    }

    /// Pays in for a good call.
    pub(crate) fn earn(&mut self, now: Instant) {
        self.failed_in_row = 0;
        self.pay_for_time(now);
        self.pay(self.options.retries_per_good_call);
    }

    /// Takes out one retry, if there is one.
    pub(crate) fn spend(&mut self, now: Instant) -> bool {
        self.pay_for_time(now);
        let enough = self.balance >= 1.0;
        if enough {
            self.balance -= 1.0;
        }
        enough
    }

    /// Notes down a call that failed for a passing reason.
    pub(crate) fn failed(&mut self) {
        self.failed_in_row = self.failed_in_row.saturating_add(1);
    }

    /// Whether call after call fails, and not only this many of the caller's own: then a retry
    /// would not replace the single bad answer that it is for, but add to an outage.
    pub(crate) fn in_outage(&self, own: u32) -> bool {
        self.failed_in_row > own
    }

    /// Puts back a retry that was taken out and not made.
    pub(crate) fn put_back(&mut self) {
        self.pay(1.0);
    }

    /// Retries that could be made at once, with what time has paid in by now.
    pub(crate) fn left(&mut self, now: Instant) -> f64 {
        self.pay_for_time(now);
        self.balance
    }

    /// Retries that could be made when something was last paid in or taken out.
    pub(crate) fn balance(&self) -> f64 {
        self.balance
    }

    fn pay_for_time(&mut self, now: Instant) {
        let passed: Duration = now.saturating_duration_since(self.paid);
        self.paid = self.paid.max(now);
        self.pay(self.options.retries_per_second * passed.as_secs_f64());
    }

    fn pay(&mut self, amount: f64) {
        self.balance = (self.balance + amount).min(self.options.max_saved);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Budget;
    use crate::BudgetOptions;

    const OPTIONS: BudgetOptions = BudgetOptions {
        retries_per_good_call: 0.1,
        retries_per_second: 0.5,
        max_saved: 3.0,
    };

    #[test]
    fn ten_good_calls_earn_a_retry() {
        let now = Instant::now();
        let mut budget = Budget::new(OPTIONS, now);
        assert!(!budget.spend(now));
        // Eleven, because ten times 0.1 is a hair under 1 in binary.
        (0..11).for_each(|_| budget.earn(now));
        assert!(budget.spend(now));
        assert!(!budget.spend(now));
    }

    #[test]
    fn two_seconds_earn_a_retry() {
        let start = Instant::now();
        let mut budget = Budget::new(OPTIONS, start);
        assert!(!budget.spend(start + Duration::from_millis(1_999)));
        assert!(budget.spend(start + Duration::from_secs(2)));
        assert!(!budget.spend(start + Duration::from_secs(3)));
        assert!(budget.spend(start + Duration::from_secs(4)));
    }

    #[test]
    fn what_is_left_can_be_read() {
        let start = Instant::now();
        let mut budget = Budget::new(OPTIONS, start);
        budget.earn(start + Duration::from_secs(4));
        assert!((budget.balance() - 2.1).abs() < 1e-9);
        let later = start + Duration::from_millis(4_500);
        assert!((budget.left(later) - 2.35).abs() < 1e-9);
        assert!(budget.spend(later));
        assert!((budget.balance() - 1.35).abs() < 1e-9);
    }

    #[test]
    fn no_more_is_saved_than_may_be() {
        let start = Instant::now();
        let mut budget = Budget::new(OPTIONS, start);
        let later = start + Duration::from_hours(1);
        (0..1_000).for_each(|_| budget.earn(later));
        assert_eq!((0..10).filter(|_| budget.spend(later)).count(), 3);
        assert!(budget.balance() >= 0.0);
    }

    #[test]
    fn calls_that_fail_in_a_row_are_an_outage_until_one_is_good() {
        let now = Instant::now();
        let mut budget = Budget::new(OPTIONS, now);
        budget.failed();
        assert!(!budget.in_outage(1));
        budget.failed();
        assert!(budget.in_outage(1));
        assert!(!budget.in_outage(2));
        budget.earn(now);
        budget.failed();
        assert!(!budget.in_outage(1));
    }

    #[test]
    fn a_retry_that_was_not_made_can_be_made_later() {
        let start = Instant::now();
        let mut budget = Budget::new(OPTIONS, start);
        let later = start + Duration::from_secs(2);
        assert!(budget.spend(later));
        budget.put_back();
        assert!((budget.balance() - 1.0).abs() < 1e-9);
        assert!(budget.spend(later));
    }

    #[test]
    fn a_clock_that_steps_back_earns_nothing_twice() {
        let start = Instant::now();
        let mut budget = Budget::new(OPTIONS, start);
        let later = start + Duration::from_secs(2);
        assert!(budget.spend(later));
        assert!(!budget.spend(start));
        assert!(!budget.spend(later));
    }
}
