use std::time::Duration;

use proptest::prelude::*;
use service_defaults::{
    service::Service as _,
    settings::{Checked, Settings},
};
use settings::{Arguments, Figure, Quantity};

use crate::{InsuranceService, InsuranceSettings};

const NOTHING: [(&str, &str); 0] = [];

/// The settings with these on top of the documented defaults, if they are good.
fn settings<V: ToString>(changes: &[(&str, V)]) -> Option<Settings<InsuranceSettings>> {
    let key = "test-key-0123456789".to_owned();
    let keys = ["API_KEYS__TEST__KEY", "VEHICLE_CLIENT__API_KEY"].map(|name| (name, key.clone()));
    let changes = changes
        .iter()
        .map(|(name, value)| (*name, value.to_string()));
    let variables = keys.into_iter().chain(changes);
    let variables = variables.map(|(name, value)| (format!("INSURANCE__{name}"), value));
    InsuranceService::sources(Arguments::default())
        .with_environment(variables)
        .load()
        .ok()
}

fn figure<V: ToString>(name: &str, changes: &[(&str, V)]) -> Figure {
    let figures = settings(changes).unwrap().service.worst_case();
    let figure = figures.into_iter().find(|figure| figure.name == name);
    figure.unwrap_or_else(|| panic!("there is no {name}"))
}

fn millis(millis: u64) -> Quantity {
    Quantity::Duration(Duration::from_millis(millis))
}

#[test]
fn each_figure_follows_from_the_documented_defaults() {
    let hour = 3_600_000;
    for (name, quantity) in [
        // 250 + 500 + 250 for the database, 2000 for the lookups
        ("longest_answer", millis(3_000)),
        ("longest_enrichment", millis(2_000)),
        // 2 x (250 + 500) + (50 + 100)
        ("longest_lookup", millis(1_650)),
        ("calls_per_lookup", Quantity::Count(2)),
        ("calls_for_8_cars", Quantity::Count(16)),
        ("calls_for_8_cars_single", Quantity::Count(16)),
        ("calls_for_8_cars_batch", Quantity::Count(2)),
        // 1 + 0.1 + 0.5 / 10
        ("retry_amplification", Quantity::Ratio(1.15)),
        ("most_retries_at_once", Quantity::Count(3)),
        ("most_calls_in_flight", Quantity::Count(6)),
        // 20 - 1 + 6
        ("most_calls_at_work_when_silent", Quantity::Count(25)),
        ("longest_queue", Quantity::Count(2_048)),
        ("answer_memory", Quantity::Bytes(6 << 20)),
        ("longest_retry_after", millis(60_000)),
        // 20 calls, 5 at a time, 500 each
        ("breaker_opens_after", millis(2_000)),
        ("longest_breaker_open", millis(66_000)),
        ("oldest_enriched_answer", millis(600_000)),
        ("oldest_stale_answer", millis(24 * hour + 2_000)),
        ("oldest_not_found_answer", millis(33_000)),
        ("cache_memory", Quantity::Bytes(64 << 20)),
        ("oldest_enriched_copy", millis(0)),
        ("oldest_stale_copy", millis(0)),
        // 1,000 pages of 15 s
        ("replay_duration_at_worst", millis(15_000_000)),
        ("most_database_connections", Quantity::Count(8)),
        ("longest_query", millis(1_000)),
        ("longest_feed_page", millis(40_000)),
        ("most_feed_readers", Quantity::Count(2_048)),
        ("longest_audit_answer", millis(10_000)),
        ("most_audit_questions", Quantity::Count(16)),
    ] {
        assert_eq!(figure(name, &NOTHING).quantity, quantity, "{name}");
    }
    let known = settings(&NOTHING).unwrap().service.worst_case().len();
    assert_eq!(known, 29, "a new figure belongs into this test");
}

#[test]
fn calls_pile_up_in_a_slow_vehicle_by_how_long_it_works_on_each() {
    let settings = settings(&NOTHING).unwrap().service;
    // 6 x (1 + work / 500, rounded up)
    for (work, most) in [(0, 6), (1, 12), (500, 12), (501, 18), (5_000, 66)] {
        let figure = settings
            .vehicle_client
            .at_work_when_slow(Duration::from_millis(work));
        assert_eq!(figure.quantity, Quantity::Count(most), "{work}");
    }
}

#[test]
fn an_idle_connection_to_vehicle_is_given_up_before_vehicle_closes_it() {
    let settings = settings(&NOTHING).unwrap();
    // Vehicle's default is the same.
    let kept_by_vehicle = settings.common.server.header_read_timeout;
    let kept = settings.service.vehicle_client.idle_connection_timeout;
    assert!(
        kept + Duration::from_millis(500) <= kept_by_vehicle,
        "{kept:?}"
    );
}

#[test]
fn the_sum_is_told_with_its_settings() {
    assert_eq!(
        figure("longest_answer", &NOTHING).because,
        "database.acquire_timeout 250ms + database.statement_timeout 500ms + 250ms of grace \
         + enrichment.deadline 2s"
    );
}

#[test]
fn pauses_double_with_each_retry_and_each_look_up_to_their_end() {
    let changes = [
        ("ENRICHMENT__DEADLINE", "8s"),
        ("VEHICLE_CLIENT__MAX_RETRIES", "3"),
        ("VEHICLE_CLIENT__QUEUE_WAIT", "0s"),
    ];
    // 4 x 500 + (50 + 100) + (100 + 200) + (200 + 250)
    assert_eq!(figure("longest_lookup", &changes).quantity, millis(2_900));
}

#[test]
fn no_lookup_is_longer_than_the_deadline() {
    let changes = [("VEHICLE_CLIENT__QUEUE_WAIT", "1500ms")];
    assert_eq!(figure("longest_lookup", &changes).quantity, millis(2_000));
}

#[test]
fn the_toggles_decide_which_calls_a_request_makes() {
    for (toggle, value, expected) in [
        ("ENABLE_VEHICLE_ENRICHMENT", "false", 0),
        ("ENABLE_BATCH_VEHICLE_CALL", "true", 2),
        ("ENABLE_BATCH_VEHICLE_CALL", "false", 16),
    ] {
        let toggle = format!("FEATURE_TOGGLES__{toggle}");
        let calls = figure("calls_for_8_cars", &[(toggle.as_str(), value)]);
        assert_eq!(
            calls.quantity,
            Quantity::Count(expected),
            "{toggle} {value}"
        );
    }
}

#[test]
fn the_strategy_decides_before_the_toggle_and_the_kill_switch_before_both() {
    let copy = ("REPLICA__ENABLED", "true");
    for (strategy, calls, age) in [
        ("single", 16, 0),
        ("batch", 2, 0),
        ("replica", 0, 60_000),
        ("replica_then_single", 16, 60_000),
        ("replica_then_batch", 2, 60_000),
    ] {
        let set = ("ENRICHMENT__STRATEGY", strategy);
        let of = |name, changes: &[(&str, &str)]| figure(name, changes).quantity;
        let changes = [copy, set];
        let count = Quantity::Count(calls);
        assert_eq!(of("calls_for_8_cars", &changes), count, "{strategy}");
        assert_eq!(of("oldest_enriched_copy", &changes), millis(age));
        assert_eq!(of("oldest_stale_copy", &changes), millis(age * 24 * 60));
        let off = ("FEATURE_TOGGLES__ENABLE_VEHICLE_ENRICHMENT", "false");
        let killed = [copy, set, off];
        assert_eq!(of("calls_for_8_cars", &killed), Quantity::Count(0));
        assert_eq!(of("oldest_enriched_copy", &killed), millis(0));
    }
}

#[test]
fn the_breaker_takes_longer_over_fewer_places() {
    let batch = [("FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL", "true")];
    let after = figure("breaker_opens_after", &batch);
    assert_eq!(after.quantity, millis(10_000));
}

#[test]
fn what_is_never_done_is_nothing_at_worst() {
    let no_retries = [("VEHICLE_CLIENT__MAX_RETRIES", "0")];
    for (name, quantity) in [
        ("calls_per_lookup", Quantity::Count(1)),
        ("retry_amplification", Quantity::Ratio(1.0)),
        ("most_retries_at_once", Quantity::Count(0)),
        ("longest_lookup", millis(750)),
    ] {
        assert_eq!(figure(name, &no_retries).quantity, quantity, "{name}");
    }
    let no_cache = [("VEHICLE_CLIENT__CACHE__ENABLED", "false")];
    for (name, quantity) in [
        ("cache_memory", Quantity::Bytes(0)),
        ("oldest_enriched_answer", millis(0)),
        ("oldest_stale_answer", millis(0)),
        ("oldest_not_found_answer", millis(0)),
    ] {
        assert_eq!(figure(name, &no_cache).quantity, quantity, "{name}");
    }
}

#[test]
fn answers_that_stay_fresh_beyond_their_stale_time_are_as_old() {
    let changes = [("VEHICLE_CLIENT__CACHE__FRESH", "10m")];
    let oldest = figure("oldest_enriched_answer", &changes);
    assert_eq!(oldest.quantity, millis(660_000));
}

/// A figure as a number, to compare it.
fn size(figure: &Figure) -> f64 {
    match figure.quantity {
        Quantity::Duration(value) => value.as_secs_f64(),
        Quantity::Ratio(value) => value,
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        Quantity::Count(value) | Quantity::Bytes(value) => value as f64,
    }
}

type Change = (&'static str, String);

/// Some value within the bounds of each setting that decides how long something takes or how much
/// of it there is. Most of them are good, some contradict each other.
fn changes() -> impl Strategy<Value = Vec<Change>> {
    let times = [
        ("SERVER__REQUEST_DEADLINE", 5_000, 20_000),
        ("DATABASE__ACQUIRE_TIMEOUT", 10, 2_000),
        ("DATABASE__STATEMENT_TIMEOUT", 10, 2_000),
        ("ENRICHMENT__DEADLINE", 2_000, 12_000),
        ("VEHICLE_CLIENT__QUEUE_WAIT", 0, 1_000),
        ("VEHICLE_CLIENT__ATTEMPT_TIMEOUT", 410, 1_500),
    ];
    let counts = [
        ("VEHICLE_CLIENT__MAX_RETRIES", 0, 5),
        ("VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_SINGLE", 1, 50),
        ("VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_BATCH", 1, 50),
        ("VEHICLE_CLIENT__MAX_BATCH_SIZE", 1, 500),
        ("VEHICLE_CLIENT__QUEUE_LENGTH", 0, 10_000),
    ];
    let of = |(name, low, high): (&'static str, u64, u64), unit: &'static str| {
        (low..=high).prop_map(move |value| (name, format!("{value}{unit}")))
    };
    let times = times.map(|time| of(time, "ms")).to_vec();
    let counts = counts.map(|count| of(count, "")).to_vec();
    (times, counts).prop_map(|(mut times, counts)| {
        times.extend(counts);
        times
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn settings_that_are_good_leave_no_answer_past_the_deadline(changes in changes()) {
        let good = settings(&changes);
        prop_assume!(good.is_some());
        let settings = good.unwrap();
        let worst = settings.worst_case();
        let of = |name| size(worst.iter().find(|figure| figure.name == name).unwrap());
        prop_assert!(of("longest_answer") <= of("longest_request"));
        prop_assert!(of("longest_lookup") <= of("longest_enrichment"));
        prop_assert!(of("longest_query") + of("longest_enrichment") <= of("longest_request"));
        prop_assert!(of("retry_amplification") <= of("calls_per_lookup"));
        prop_assert!(of("calls_for_8_cars_batch") <= of("calls_for_8_cars_single"));
    }

    /// More patience, more retries and more places never make a worst case better.
    #[test]
    fn figures_grow_with_what_they_are_made_of(changes in changes(), index in 3_usize..10) {
        let (name, value) = &changes[index];
        let grown = match value.strip_suffix("ms") {
            Some(millis) => format!("{}ms", millis.parse::<u64>().unwrap() + 1),
            None => (value.parse::<u64>().unwrap() + 1).to_string(),
        };
        let mut more = changes.clone();
        more[index].1 = grown;
        let (less, more) = (settings(&changes), settings(&more));
        prop_assume!(less.is_some() && more.is_some());
        let (less, more) = (less.unwrap(), more.unwrap());
        // A larger batch is fewer calls, and more places open the breaker earlier.
        let shrinks = ["calls_for_8_cars_batch", "breaker_opens_after"];
        for (less, more) in less.worst_case().iter().zip(more.worst_case()) {
            if !shrinks.contains(&less.name) {
                prop_assert!(size(less) <= size(&more), "{} with more {name}", less.name);
            }
        }
    }
}
