use std::time::Duration;

use service_defaults::worst_case::{Figure, Shown};

use crate::{InsuranceSettings, settings::VehicleClientSettings};

/// Share by which every open time varies.
const JITTER: f64 = 0.1;

pub(super) fn figures(settings: &InsuranceSettings) -> Vec<Figure> {
    let client = &settings.vehicle_client;
    let longest = client.breaker.max_open_for;
    vec![
        opens_after(settings),
        Figure::duration(
            "longest_breaker_open",
            longest.mul_f64(1.0 + JITTER),
            format_args!(
                "vehicle_client.breaker.max_open_for {} + {JITTER} of it",
                Shown(longest)
            ),
        ),
    ]
}

/// From when Vehicle stops answering while calls take every place that becomes free.
fn opens_after(settings: &InsuranceSettings) -> Figure {
    let client = &settings.vehicle_client;
    let (places, name) = if settings.feature_toggles.enable_batch_vehicle_call {
        (client.max_degree_of_parallelism_batch, "batch")
    } else {
        (client.max_degree_of_parallelism_single, "single")
    };
    let minimum = client.breaker.minimum_calls;
    let rounds = minimum.div_ceil(places.max(1) as u64);
    let because = format_args!(
        "breaker.minimum_calls {minimum} / max_degree_of_parallelism_{name} {places}, rounded up = \
         {rounds}, x attempt_timeout {} of vehicle_client, while calls take every free place",
        Shown(client.attempt_timeout)
    );
    let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
    let time = client.attempt_timeout.saturating_mul(rounds);
    Figure::duration("breaker_opens_after", time, because)
}

/// The slow calls that the breaker can see at once, by the strategy that has fewer places: each is
/// held for `slow_after` or longer.
pub(crate) fn most_slow_calls_in_window(client: &VehicleClientSettings) -> u64 {
    let (window, slow) = (client.breaker.window, client.breaker.slow_after);
    let places = client
        .max_degree_of_parallelism_single
        .min(client.max_degree_of_parallelism_batch);
    let each = window.as_nanos() / slow.max(Duration::from_nanos(1)).as_nanos() + 1;
    u64::try_from(each.saturating_mul(places as u128)).unwrap_or(u64::MAX)
}
