use serde::Deserialize;
use service_defaults::settings::Violations;
use vehicle_client::BudgetOptions;

/// The section `[vehicle_client.retry_budget]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryBudgetSettings {
    /// Retries earned by each good call.
    pub retries_per_good_call: f64,
    /// Retries earned by each second.
    pub retries_per_second: f64,
    /// Most retries that can be saved up.
    pub max_saved: f64,
}

impl RetryBudgetSettings {
    pub(super) fn check(&self, violations: &mut Violations) {
        for (key, value, bounds) in [
            (
                "retries_per_good_call",
                self.retries_per_good_call,
                0.0..=1.0,
            ),
            ("retries_per_second", self.retries_per_second, 0.0..=1_000.0),
            ("max_saved", self.max_saved, 1.0..=10_000.0),
        ] {
            violations.range(
                &format!("vehicle_client.retry_budget.{key}"),
                &value,
                bounds,
            );
        }
    }

    pub(super) fn options(&self) -> BudgetOptions {
        BudgetOptions {
            retries_per_good_call: self.retries_per_good_call,
            retries_per_second: self.retries_per_second,
            max_saved: self.max_saved,
        }
    }
}
