use std::time::Duration;

use contracts::PersonalIdentityNumberCheck;
use event_log::EventLogSettings;
use event_relay::{NatsSettings, RelaySettings};
use service_database::DatabaseSettings;
use service_defaults::settings::{Checked, CommonSettings};
use settings::{Figure, Quantity, Shown, Violations, format_duration, millis, seconds, section};
use vehicle_client::{Options, Strategy as Calls};

use crate::{
    NAME,
    enrichment::{EnrichmentStrategy, Plan},
    policy::IdempotencySettings,
    replay,
};

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
        /// How cars are looked up, and how long that may take.
        pub enrichment: EnrichmentSettings;
        /// The copy of Vehicle's register.
        pub replica: ReplicaSettings;
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
        /// Kill switch: false means not one lookup at Vehicle, whatever enrichment.strategy says.
        pub enable_vehicle_enrichment: bool = true;
        /// How several cars are looked up where enrichment.strategy does not say it: false = single
        /// calls side by side, true = batch calls.
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
        /// "single" or "batch" = calls to Vehicle; "replica" = the copy of its register alone, without
        /// one call; "replica_then_single" or "replica_then_batch" = the copy, and calls for cars of
        /// which it says nothing. Empty = feature_toggles.enable_batch_vehicle_call decides, which
        /// may not say otherwise.
        pub strategy: EnrichmentStrategy = "";
        /// Time for all lookups of one request, and with the database's time within
        /// server.request_deadline; what is not there by then is unavailable.
        pub deadline: Duration = "2s", in millis(10)..=seconds(60);
    }
    live { strategy }
}

section! {
    /// The section `[replica]`.
    pub struct ReplicaSettings checked by ReplicaSettings::in_order {
        /// Follows Vehicle's feed and keeps a copy of its cars. The key or token of `vehicle_client`
        /// needs the scopes "read" and "feed".
        pub enabled: bool = false;
        /// Vehicles of a copy that has not been up to date for so long are `stale`; it says of none
        /// that there is none.
        pub max_age: Duration = "60s", in seconds(5)..=DAY;
        /// A copy that has not been up to date for so long says nothing; over max_age.
        pub unusable_after: Duration = "24h", in seconds(1)..=seconds(30 * 86_400);
        /// How long it is remembered that a vehicle is gone, and what was put aside and closed.
        pub tombstones_kept_for: Duration = "30d", in seconds(30 * 86_400)..=seconds(366 * 86_400);
        /// NATS JetStream, from which the events are read that Vehicle's relay publishes there; without
        /// a URL, for the first copy and where the stream is of no use, from Vehicle's feed.
        pub nats: NatsSettings;
    }
}

const DAY: Duration = Duration::from_hours(24);

impl ReplicaSettings {
    fn in_order(&self, at: &str, violations: &mut Violations) {
        if self.max_age >= self.unusable_after {
            let (age, unusable) = (Shown(self.max_age), Shown(self.unusable_after));
            let rule = format_args!("{age} is not under {at}.unusable_after = {unusable}");
            violations.report(&Violations::path(at, "max_age"), rule);
        }
        if self.nats.is_set() && !self.enabled {
            let rule = format_args!("is set, and {at}.enabled = false");
            violations.report(&Violations::path(at, "nats.url"), rule);
        }
    }
}

impl InsuranceSettings {
    /// The policies of a person out of the database, then all their lookups.
    fn longest_answer(&self) -> Duration {
        let database = self.database.longest_query();
        database.saturating_add(self.enrichment.deadline)
    }

    /// The calls that a request makes by itself, with the strategy and the toggles as they are.
    fn calls_for_8_cars(&self, client: &[Figure]) -> Figure {
        let (plan, toggles) = (Plan::of(self), self.feature_toggles);
        let name = "calls_for_8_cars";
        if !toggles.enable_vehicle_enrichment {
            let because = "feature_toggles.enable_vehicle_enrichment false";
            return Figure::count(name, 0, because);
        }
        let Some(calls) = plan.calls else {
            return Figure::count(name, 0, "enrichment.strategy is replica");
        };
        let of = match calls {
            Calls::Batch => "calls_for_8_cars_batch",
            Calls::Single => "calls_for_8_cars_single",
        };
        let because = match plan.strategy {
            EnrichmentStrategy::Unset => format!(
                "{of}, as feature_toggles.enable_batch_vehicle_call is {}",
                toggles.enable_batch_vehicle_call
            ),
            strategy => format!("{of}, as enrichment.strategy is {}", strategy.label()),
        };
        let calls = client.iter().find(|figure| figure.name == of);
        Figure {
            name,
            quantity: calls.map_or(Quantity::Count(0), |figure| figure.quantity),
            because,
        }
    }

    /// How old the copy is at most when it is told as new, and when it is told at all.
    fn oldest_copies(&self) -> [Figure; 2] {
        let (plan, replica) = (Plan::of(self), &self.replica);
        let of = |name, age, setting| {
            if plan.reads_copy() {
                Figure::duration(name, age, format_args!("{setting} {}", Shown(age)))
            } else {
                let because = "the copy is not read";
                Figure::duration(name, Duration::ZERO, because)
            }
        };
        [
            of("oldest_enriched_copy", replica.max_age, "replica.max_age"),
            of(
                "oldest_stale_copy",
                replica.unusable_after,
                "replica.unusable_after",
            ),
        ]
    }

    /// A strategy has what it needs, and nothing that was set says otherwise.
    fn check_strategy(&self, violations: &mut Violations) {
        let strategy = self.enrichment.strategy;
        let label = strategy.label();
        if strategy.reads_copy() && !self.replica.enabled {
            let rule = format_args!("{label} needs a copy, and replica.enabled = false");
            violations.report("enrichment.strategy", rule);
        }
        let is_batch = self.feature_toggles.enable_batch_vehicle_call;
        let contradicts = |calls| (calls == Calls::Batch) != is_batch;
        if strategy.calls().is_some_and(contradicts) {
            let rule = format_args!("{is_batch}, and enrichment.strategy = {label}");
            violations.report_where_set("feature_toggles.enable_batch_vehicle_call", rule);
        }
    }
}

impl Checked for InsuranceSettings {
    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![self.event_log.public_key(NAME), self.relay.facts(NAME)]
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
        self.check_strategy(violations);
    }

    fn worst_case(&self) -> Vec<Figure> {
        let deadline = self.enrichment.deadline;
        let batch = Plan::of(self).calls == Some(Calls::Batch);
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
        figures.extend(self.oldest_copies());
        figures.push(replay::longest());
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
