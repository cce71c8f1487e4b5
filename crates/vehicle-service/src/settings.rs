use std::time::Duration;

use event_log::EventLogSettings;
use event_relay::RelaySettings;
use service_database::DatabaseSettings;
use service_defaults::settings::{Checked, CommonSettings};
use settings::{Figure, Violations, seconds, section};

use crate::NAME;

/// Where the defaults differ from the common ones.
pub(crate) const DEFAULTS: &[(&str, &str)] = &[
    ("server.port", "5081"),
    ("database.user", r#""vehicle_service""#),
];

section! {
    /// What the Vehicle service has beside the common settings.
    pub struct VehicleSettings {
        /// Where the schema is.
        pub database: DatabaseSettings;
        /// How the log of events is proven.
        pub event_log: EventLogSettings;
        /// Where the events are published beside the feed.
        pub relay: RelaySettings;
        /// How vehicles are answered.
        pub vehicles: VehiclesSettings;
    }
}

section! {
    /// The section `[vehicles]`.
    pub struct VehiclesSettings {
        /// How long a caller may reuse a vehicle without asking again (Cache-Control: max-age).
        pub max_age: Duration = "60s", in Duration::ZERO..=seconds(86_400);
    }
}

impl Checked for VehicleSettings {
    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![self.event_log.public_key(NAME), self.relay.facts(NAME)]
    }

    fn check(&self, common: &CommonSettings, violations: &mut Violations) {
        let deadline = common.server.request_deadline;
        self.database.check_within(deadline, violations);
    }

    fn worst_case(&self) -> Vec<Figure> {
        let database = self.database.worst_case();
        database
            .into_iter()
            .chain(event_log::worst_case())
            .collect()
    }
}
