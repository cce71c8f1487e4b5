//! The routes of policies: what they need, and who may use them.

use std::time::Duration;

use axum::extract::FromRef;
use event_log::EventLog;
use opentelemetry::metrics::{Counter, Meter};
use service_database::Database;
use service_defaults::{scope::Scope, settings::Live, surface::Surface};
use utoipa_axum::{router::OpenApiRouter, routes};
use vehicle_client::VehicleClient;

use super::{Clock, erasure, idempotency::FingerprintKey, prices, read, write};
use crate::{settings::InsuranceSettings, unreadable::UnreadableCounter};

/// What the routes need.
#[derive(Clone, FromRef)]
pub(crate) struct Policies {
    pub(super) database: Database,
    pub(super) vehicles: VehicleClient,
    pub(super) log: EventLog,
    pub(super) fingerprints: FingerprintKey,
    pub(super) settings: Live<InsuranceSettings>,
    /// Time for the question to Vehicle.
    pub(super) time: Duration,
    pub(super) clock: Clock,
    pub(super) unreadable: UnreadableCounter,
    pub(super) replays: Counter<u64>,
}

impl Policies {
    pub(crate) fn new(
        database: Database,
        vehicles: VehicleClient,
        log: EventLog,
        settings: Live<InsuranceSettings>,
        clock: Clock,
        unreadable: UnreadableCounter,
        meter: &Meter,
    ) -> Self {
        let now = settings.snapshot();
        let replays = meter
            .u64_counter("idempotency.replays")
            .with_unit("{request}")
            .with_description("Requests that were given the answer to an earlier try")
            .build();
        replays.add(0, &[]);
        Self {
            database,
            vehicles,
            log,
            fingerprints: FingerprintKey::of(&now.service),
            time: now.service.enrichment.deadline,
            settings,
            clock,
            unreadable,
            replays,
        }
    }
}

/// The routes with their surfaces.
pub(crate) fn surfaces(policies: &Policies) -> [(Surface, OpenApiRouter); 3] {
    let read = OpenApiRouter::new()
        .routes(routes!(read::get_policy))
        .routes(routes!(read::list_policies))
        .routes(routes!(prices::list_prices))
        .with_state(policies.clone());
    let write = OpenApiRouter::new()
        .routes(routes!(write::draft_policy))
        .routes(routes!(write::patch_policy))
        .routes(routes!(write::move_policy))
        .routes(routes!(write::change_policy))
        .with_state(policies.clone());
    let administer = OpenApiRouter::new()
        .routes(routes!(prices::set_price))
        .routes(routes!(erasure::erase_person))
        .with_state(policies.clone());
    // The surface of the paths that several have comes last: it answers the methods they lack.
    [
        (Surface::keyed(&[Scope::Admin]), administer),
        (Surface::keyed(&[Scope::Write]), write),
        (Surface::keyed(&[Scope::Read]), read),
    ]
}

/// A number of a policy.
#[derive(Clone, Copy, Debug)]
pub(super) struct InsuranceId(pub(super) i64);

#[derive(Debug, thiserror::Error)]
#[error("the number of a policy is a whole number above zero")]
pub(super) struct NoInsuranceId;

impl std::str::FromStr for InsuranceId {
    type Err = NoInsuranceId;

    fn from_str(text: &str) -> Result<Self, NoInsuranceId> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| plain && *number > 0);
        number.map(Self).ok_or(NoInsuranceId)
    }
}
