use std::time::Duration;

use contracts::PersonalIdentityNumberCheck;
use event_log::EventLogSettings;
use event_relay::RelaySettings;
use service_database::DatabaseSettings;
use service_defaults::settings::{Checked, CommonSettings};
use settings::{Figure, Quantity, Violations, format_duration, millis, seconds, section};
use vehicle_client::Options;

use crate::{NAME, policy::IdempotencySettings};

/// Where the defaults differ from the common ones.
pub(crate) const DEFAULTS: &[(&str, &str)] = &[
    ("server.port", "5082"),
    ("database.user", r#""insurance_service""#),
];

section! {
    /// What the Insurance service has beside the common settings.
    pub struct InsuranceSettings {
        /// Where the schema is.
        pub database: DatabaseSettings;
        /// How the log of events is proven.
        pub event_log: EventLogSettings;
        /// Where the events are published beside the feed.
        pub relay: RelaySettings;
        /// What can be switched.
        pub feature_toggles: FeatureToggles;
        /// How strictly personal identity numbers are checked.
        pub personal_identity_number: PersonalIdentityNumberSettings;
        /// How long enriching may take.
        pub enrichment: EnrichmentSettings;
        /// How second tries of a request are known.
        pub idempotency: IdempotencySettings;
        /// How Vehicle is called.
        pub vehicle_client: Options;
    }
    live { feature_toggles, personal_identity_number }
}

section! {
    /// The section `[feature_toggles]`.
    #[derive(Copy)]
    pub struct FeatureToggles {
        /// Kill switch: false means not one call to Vehicle.
        pub enable_vehicle_enrichment: bool = true;
        /// How several cars are looked up: false = single calls side by side, true = batch calls.
        pub enable_batch_vehicle_call: bool = false;
    }
}

section! {
    /// The section `[personal_identity_number]`.
    #[derive(Copy)]
    pub struct PersonalIdentityNumberSettings {
        /// "format" = 12 digits, "date" = also a real date (coordination numbers too), "checksum" =
        /// also the Luhn digit. The default is "format", because the three published sample persons
        /// fail Luhn.
        pub check: PersonalIdentityNumberCheck = "format";
    }
}

section! {
    /// The section `[enrichment]`.
    #[derive(Copy)]
    pub struct EnrichmentSettings {
        /// Time for all lookups of one request, and with the database's time within
        /// server.request_deadline; what is not there by then is unavailable.
        pub deadline: Duration = "2s", in millis(10)..=seconds(60);
    }
}

impl InsuranceSettings {
    /// The policies of a person out of the database, then all their lookups.
    fn longest_answer(&self) -> Duration {
        let database = self.database.longest_query();
        database.saturating_add(self.enrichment.deadline)
    }

    /// The calls that a request makes by itself, with the toggles as they are.
    fn calls_for_8_cars(&self, client: &[Figure]) -> Figure {
        let toggles = self.feature_toggles;
        let name = "calls_for_8_cars";
        if !toggles.enable_vehicle_enrichment {
            let because = "feature_toggles.enable_vehicle_enrichment false";
            return Figure::count(name, 0, because);
        }
        let of = if toggles.enable_batch_vehicle_call {
            "calls_for_8_cars_batch"
        } else {
            "calls_for_8_cars_single"
        };
        let because = format!(
            "{of}, as feature_toggles.enable_batch_vehicle_call is {}",
            toggles.enable_batch_vehicle_call
        );
        let calls = client.iter().find(|figure| figure.name == of);
        Figure {
            name,
            quantity: calls.map_or(Quantity::Count(0), |figure| figure.quantity),
            because,
        }
    }
}

impl Checked for InsuranceSettings {
    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![self.event_log.public_key(NAME), self.relay.nats.facts(NAME)]
    }

    fn check(&self, common: &CommonSettings, violations: &mut Violations) {
        let (request_deadline, deadline) =
            (common.server.request_deadline, self.enrichment.deadline);
        self.database.check_within(request_deadline, violations);
        let longest = self.longest_answer();
        if longest > request_deadline {
            let rule = format_args!(
                "{} + {} for the database ({}) = {}, over server.request_deadline = {}",
                format_duration(deadline),
                format_duration(self.database.longest_query()),
                self.database.longest_query_because(),
                format_duration(longest),
                format_duration(request_deadline)
            );
            violations.report("enrichment.deadline", rule);
        }
        self.vehicle_client
            .check_within(deadline, "vehicle_client", violations);
    }

    fn worst_case(&self) -> Vec<Figure> {
        let deadline = self.enrichment.deadline;
        let batch = self.feature_toggles.enable_batch_vehicle_call;
        let client = self.vehicle_client.worst_case(deadline, batch);
        let database = self.database.longest_query_because();
        let mut figures = vec![
            Figure::duration(
                "longest_answer",
                self.longest_answer(),
                format_args!(
                    "{database} + enrichment.deadline {}",
                    format_duration(deadline)
                ),
            ),
            Figure::duration(
                "longest_enrichment",
                deadline,
                format_args!("enrichment.deadline {}", format_duration(deadline)),
            ),
            self.calls_for_8_cars(&client),
        ];
        figures.extend(client);
        figures.extend(self.database.worst_case());
        figures.extend(event_log::worst_case());
        figures
    }

    fn worst_case_at_work(&self, work: Duration) -> Vec<Figure> {
        vec![self.vehicle_client.at_work_when_slow(work)]
    }
}

#[cfg(test)]
mod tests;
