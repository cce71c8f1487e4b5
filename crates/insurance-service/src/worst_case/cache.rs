use std::time::Duration;

use service_defaults::worst_case::{Figure, Shown};

use crate::InsuranceSettings;

/// How old what callers are told can be, and what keeping it takes.
pub(super) fn figures(settings: &InsuranceSettings) -> Vec<Figure> {
    let cache = &settings.vehicle_client.cache;
    let deadline = settings.enrichment.deadline;
    let age = |name, age: Duration, because: String| {
        if cache.enabled {
            Figure::duration(name, age, because)
        } else {
            Figure::duration(name, Duration::ZERO, "vehicle_client.cache.enabled false")
        }
    };
    let spread = |time: Duration| time.mul_f64(1.0 + cache.jitter);
    vec![
        age(
            "oldest_enriched_answer",
            spread(cache.fresh).max(cache.soft_stale),
            format!(
                "vehicle_client.cache.soft_stale {}, or fresh {} + jitter {} of it",
                Shown(cache.soft_stale),
                Shown(cache.fresh),
                cache.jitter
            ),
        ),
        age(
            "oldest_stale_answer",
            cache.hard_stale.saturating_add(deadline),
            format!(
                "vehicle_client.cache.hard_stale {} + enrichment.deadline {}",
                Shown(cache.hard_stale),
                Shown(deadline)
            ),
        ),
        age(
            "oldest_not_found_answer",
            spread(cache.negative),
            format!(
                "vehicle_client.cache.negative {} + jitter {} of it",
                Shown(cache.negative),
                cache.jitter
            ),
        ),
        if cache.enabled {
            let because = format_args!("vehicle_client.cache.max_bytes {}", cache.max_bytes);
            Figure::bytes("cache_memory", cache.max_bytes, because)
        } else {
            Figure::bytes("cache_memory", 0, "vehicle_client.cache.enabled false")
        },
    ]
}
