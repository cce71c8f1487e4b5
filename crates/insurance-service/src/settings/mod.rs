mod breaker;
mod cache;
mod client;
mod retry_budget;

use std::time::Duration;

use contracts::PersonalIdentityNumberCheck;
use serde::Deserialize;
use service_database::DatabaseSettings;
use service_defaults::{
    settings::{Checked, CommonSettings, Violations, duration},
    worst_case::Figure,
};

pub(crate) use breaker::BreakerSettings;
pub(crate) use cache::CacheSettings;
pub(crate) use client::VehicleClientSettings;
pub(crate) use retry_budget::RetryBudgetSettings;

use crate::{contradiction, worst_case};

/// What the Insurance service has beside the common settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InsuranceSettings {
    /// Where the schema is.
    pub database: DatabaseSettings,
    /// What can be switched while the service runs.
    pub feature_toggles: FeatureToggles,
    /// How strictly personal identity numbers are checked.
    pub personal_identity_number: PersonalIdentityNumberSettings,
    /// How long enriching may take.
    pub enrichment: EnrichmentSettings,
    /// How Vehicle is called.
    pub vehicle_client: VehicleClientSettings,
}

/// The section `[feature_toggles]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureToggles {
    /// Kill switch: false means not one call to Vehicle.
    pub enable_vehicle_enrichment: bool,
    /// Batch calls instead of single ones.
    pub enable_batch_vehicle_call: bool,
}

/// The section `[personal_identity_number]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonalIdentityNumberSettings {
    /// How strictly numbers are checked.
    pub check: PersonalIdentityNumberCheck,
}

/// The section `[enrichment]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrichmentSettings {
    /// Time for all lookups of one request.
    #[serde(with = "duration")]
    pub deadline: Duration,
}

impl Checked for InsuranceSettings {
    const LIVE: &'static [&'static str] = &["feature_toggles", "personal_identity_number"];

    fn check(&self, common: &CommonSettings, violations: &mut Violations) {
        let (seconds, millis) = (Duration::from_secs, Duration::from_millis);
        self.database.check(violations);
        self.vehicle_client.check(violations);
        let deadline = self.enrichment.deadline;
        violations.duration("enrichment.deadline", deadline, millis(10)..=seconds(60));
        contradiction::check(self, common, violations);
    }

    fn worst_case(&self, _: &CommonSettings) -> Vec<Figure> {
        worst_case::figures(self)
    }

    fn worst_case_at_work(&self, work: Duration) -> Vec<Figure> {
        vec![worst_case::at_work_when_slow(&self.vehicle_client, work)]
    }
}
