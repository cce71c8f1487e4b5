use std::time::Duration;

use serde::Deserialize;
use service_database::DatabaseSettings;
use service_defaults::{
    settings::{Checked, CommonSettings, Violations, duration},
    worst_case::Figure,
};

/// What the Vehicle service has beside the common settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VehicleSettings {
    /// Where the schema is.
    pub database: DatabaseSettings,
    /// How vehicles are answered.
    pub vehicles: VehiclesSettings,
}

/// The section `[vehicles]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VehiclesSettings {
    /// How long a caller may reuse a vehicle without asking again.
    #[serde(with = "duration")]
    pub max_age: Duration,
}

impl Checked for VehicleSettings {
    fn check(&self, common: &CommonSettings, violations: &mut Violations) {
        self.database.check(violations);
        let deadline = common.server.request_deadline;
        self.database.check_within(deadline, violations);
        let day = Duration::from_hours(24);
        violations.duration(
            "vehicles.max_age",
            self.vehicles.max_age,
            Duration::ZERO..=day,
        );
    }

    fn worst_case(&self, _: &CommonSettings) -> Vec<Figure> {
        self.database.worst_case().into()
    }
}
