use std::time::Duration;

use service_defaults::worst_case::{Figure, Shown};

use crate::{InsuranceSettings, settings::VehicleClientSettings};

/// Times that a retry pauses and looks whether Vehicle still fails call after call, at most.
const LOOKS: u32 = 2;

pub(super) fn figures(settings: &InsuranceSettings) -> Vec<Figure> {
    let client = &settings.vehicle_client;
    let (deadline, gathering) = (settings.enrichment.deadline, client.gather_for);
    vec![
        Figure::duration(
            "longest_answer",
            longest_answer(settings),
            format_args!(
                "{} + enrichment.deadline {}",
                settings.database.longest_query_because(),
                Shown(deadline)
            ),
        ),
        Figure::duration(
            "longest_enrichment",
            deadline,
            format_args!("enrichment.deadline {}", Shown(deadline)),
        ),
        longest_lookup(settings),
        Figure::duration(
            "longest_gathering",
            gathering,
            format_args!("vehicle_client.gather_for {}", Shown(gathering)),
        ),
    ]
}

/// The policies of a person out of the database, then all their lookups.
pub(crate) fn longest_answer(settings: &InsuranceSettings) -> Duration {
    let database = settings.database.longest_query();
    database.saturating_add(settings.enrichment.deadline)
}

/// A number that no other request asks for, from when its call begins.
fn longest_lookup(settings: &InsuranceSettings) -> Figure {
    let client = &settings.vehicle_client;
    let deadline = settings.enrichment.deadline;
    let attempts = 1 + client.max_retries;
    let path = longest_attempts(client)
        .saturating_add(client.queue_wait.saturating_mul(attempts))
        .saturating_add(client.gather_for);
    let because = format_args!(
        "gather_for {} + {attempts} x (queue_wait {} + attempt_timeout {}) + pauses {} of \
         vehicle_client, or enrichment.deadline {} if that is less or Vehicle names a Retry-After",
        Shown(client.gather_for),
        Shown(client.queue_wait),
        Shown(client.attempt_timeout),
        Shown(longest_pauses(client)),
        Shown(deadline)
    );
    Figure::duration("longest_lookup", path.min(deadline), because)
}

/// All attempts and the pauses between them.
pub(crate) fn longest_attempts(client: &VehicleClientSettings) -> Duration {
    let attempts = client.max_retries.saturating_add(1);
    client
        .attempt_timeout
        .saturating_mul(attempts)
        .saturating_add(longest_pauses(client))
}

/// More are refused; a figure is also computed for settings that are, to tell all their faults.
const MOST_RETRIES: u32 = 5;

/// The upper ends of all pauses. A pause's doubles with each retry and with each look.
fn longest_pauses(client: &VehicleClientSettings) -> Duration {
    let doublings = (0..client.max_retries.min(MOST_RETRIES))
        .flat_map(|retry| (0..LOOKS).map(move |look| retry + look));
    doublings.fold(Duration::ZERO, |sum, doublings| {
        let pause = client.retry_pause.saturating_mul(1 << doublings.min(16));
        sum.saturating_add(pause.min(client.max_retry_pause))
    })
}
