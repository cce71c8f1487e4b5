//! Which way a request goes for its cars.

use serde::Deserialize;
use vehicle_client::Strategy as Calls;

use super::copy::Bounds;
use crate::settings::{FeatureToggles, InsuranceSettings};

/// How cars are looked up: the setting `enrichment.strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnrichmentStrategy {
    /// Not set: `feature_toggles.enable_batch_vehicle_call` decides.
    #[serde(rename = "")]
    Unset,
    /// Single calls to Vehicle, side by side.
    Single,
    /// Batch calls to Vehicle.
    Batch,
    /// The copy of Vehicle's register alone.
    Replica,
    /// The copy, and single calls where it has no answer.
    ReplicaThenSingle,
    /// The copy, and batch calls where it has no answer.
    ReplicaThenBatch,
}

impl EnrichmentStrategy {
    /// The name in settings and metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Unset => "",
            Self::Single => "single",
            Self::Batch => "batch",
            Self::Replica => "replica",
            Self::ReplicaThenSingle => "replica_then_single",
            Self::ReplicaThenBatch => "replica_then_batch",
        }
    }

    pub(crate) fn reads_copy(self) -> bool {
        matches!(
            self,
            Self::Replica | Self::ReplicaThenSingle | Self::ReplicaThenBatch
        )
    }

    /// The calls that it names, if it does.
    pub(crate) fn calls(self) -> Option<Calls> {
        match self {
            Self::Unset | Self::Replica => None,
            Self::Single | Self::ReplicaThenSingle => Some(Calls::Single),
            Self::Batch | Self::ReplicaThenBatch => Some(Calls::Batch),
        }
    }
}

/// What a request does for its cars, from one snapshot of the settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(super) toggles: FeatureToggles,
    /// The one in force.
    pub(crate) strategy: EnrichmentStrategy,
    /// Calls for cars of which the copy says nothing.
    pub(crate) calls: Option<Calls>,
    /// Where the copy is asked, for how long it is good.
    pub(super) copy: Option<Bounds>,
}

impl Plan {
    pub(crate) fn of(settings: &InsuranceSettings) -> Self {
        let (toggles, replica) = (settings.feature_toggles, &settings.replica);
        let strategy = match settings.enrichment.strategy {
            // Both were switched on together, and `replica.enabled` waits for the next start.
            set if set.reads_copy() && !replica.enabled => EnrichmentStrategy::Unset,
            set => set,
        };
        let by_toggle = if toggles.enable_batch_vehicle_call {
            Calls::Batch
        } else {
            Calls::Single
        };
        let calls = match strategy {
            EnrichmentStrategy::Unset => Some(by_toggle),
            strategy => strategy.calls(),
        };
        let is_on = toggles.enable_vehicle_enrichment;
        Self {
            toggles,
            strategy,
            calls,
            copy: (is_on && strategy.reads_copy()).then_some(Bounds {
                max_age: replica.max_age,
                unusable_after: replica.unusable_after,
            }),
        }
    }

    /// Whether the policies are to be read with what the copy says of their cars.
    pub(crate) fn reads_copy(&self) -> bool {
        self.copy.is_some()
    }
}
