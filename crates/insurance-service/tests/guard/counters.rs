//! What the service counts is what it did: as its callers and Vehicle saw it.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex},
};

use serde_json::json;
use test_support::{FakeVehicle, Gate, Reply, Request, metric};

use super::{
    load::closely,
    service::{Policy, Service},
};

const CARS_EACH: usize = 5;
/// Persons who meet all kinds of failure, then those who hang up, then those who meet an outage.
const MIXED: Range<usize> = 0..50;
const GONE: Range<usize> = 50..53;
const OUTAGE: Range<usize> = 53..83;

/// How often each thing happened.
type Counts<T> = BTreeMap<T, i64>;

#[tokio::test]
async fn the_counters_add_up_after_all_kinds_of_failure_of_single_calls() {
    let settings = [("FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL", "false")];
    counters_add_up(&settings, CARS_EACH).await;
}

#[tokio::test]
async fn the_counters_add_up_after_all_kinds_of_failure_of_batch_calls() {
    let settings = [
        ("FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL", "true"),
        ("VEHICLE_CLIENT__MAX_BATCH_SIZE", "5"),
        ("VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_BATCH", "5"),
    ];
    counters_add_up(&settings, 1).await;
}

/// With so many calls in flight for a person who hangs up.
async fn counters_add_up(settings: &[(&str, &str)], calls_each: usize) {
    let outcomes = Arc::new(Mutex::new(Counts::<&str>::new()));
    let vehicle = FakeVehicle::healthy().await;
    let script = |reply: fn(&Request) -> (Reply, &'static str)| {
        let outcomes = outcomes.clone();
        vehicle.script(move |request| {
            let (reply, outcome) = reply(request);
            *outcomes.lock().unwrap().entry(outcome).or_default() += 1;
            reply
        });
    };
    let slow = [
        // Good answers come in time, however busy the machine.
        ("VEHICLE_CLIENT__ATTEMPT_TIMEOUT", "4s"),
        ("ENRICHMENT__DEADLINE", "9s"),
    ];
    let settings = [settings, &slow].concat();
    let service = Service::with_cars(&vehicle, OUTAGE.end, CARS_EACH, &settings).await;

    // Each person twice, so that there is something to share and to keep.
    script(all_kinds);
    let twice = MIXED.start..2 * MIXED.end;
    let mut policies = closely(20, twice, async |it| service.policies(it / 2).await)
        .await
        .concat();
    vehicle.idle().await;
    for (round, person) in (1..).zip(GONE) {
        let (gate, outcomes) = (Gate::closed(), outcomes.clone());
        let held = gate.clone();
        vehicle.script(move |request| {
            *outcomes.lock().unwrap().entry("answered").or_default() += 1;
            Reply::healthy(request).held(&held)
        });
        let before = vehicle.calls();
        tokio::select! {
            policies = service.policies(person) => panic!("{policies:?}"),
            () = vehicle.reached(before + calls_each) => {}
        }
        // A caller who sends no more is not gone at once.
        service.gave_up(round * CARS_EACH).await;
        gate.open();
        vehicle.idle().await;
    }
    script(|_| (Reply::status(503), "server_error"));
    let outage = closely(20, OUTAGE, async |it| service.policies(it).await).await;
    policies.extend(outage.concat());

    let metrics = service.metrics().await;
    let count = |name: &str, labels: &[(&str, &str)]| metric(&metrics, name, labels);
    for level in ["vehicle_client_in_flight", "vehicle_client_queue_length"] {
        assert_eq!(count(level, &[]), 0, "{level}");
    }
    let calls = i64::try_from(vehicle.calls()).unwrap();
    assert_eq!(count("vehicle_client_attempts_total", &[]), calls);
    let outcomes = outcomes.lock().unwrap().clone();
    for (outcome, calls) in &outcomes {
        let counted = count("vehicle_client_attempts_total", &[("outcome", outcome)]);
        assert_eq!(counted, *calls, "{outcome}");
    }
    assert_lookups_add_up(&count, &policies);
    assert_policies_add_up(&count, &policies);
}

/// Every kind of answer that Vehicle may give, and how an attempt with it is counted.
fn all_kinds(request: &Request) -> (Reply, &'static str) {
    let single = request.method == "GET";
    match request.number % 20 {
        0 => (Reply::status(400), "contract_violation"),
        1 => (Reply::status(401), "unauthorized"),
        2 => (Reply::status(503), "server_error"),
        3 => (Reply::status(500), "server_error"),
        4 => (Reply::Close, "connection"),
        5 => (Reply::with_header(429, "retry-after", "0"), "rate_limited"),
        6 => (Reply::json(200, &json!({})), "contract_violation"),
        7 => (
            Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".into()),
            "contract_violation",
        ),
        8 if single => {
            let missing = json!({ "code": "vehicle_not_found" });
            (Reply::json(404, &missing), "answered")
        }
        9 if request.number < 40 => (Reply::Hang, "timeout"),
        _ => (Reply::healthy(request), "answered"),
    }
}

/// Asked = answered + shed + failed + cancelled.
fn assert_lookups_add_up(count: &impl Fn(&str, &[(&str, &str)]) -> i64, policies: &[Policy]) {
    let asked = count("vehicle_client_lookups_asked_total", &[]);
    assert_eq!(count("vehicle_client_lookups_total", &[]), asked);
    let ended = |result| count("vehicle_client_lookups_total", &[("result", result)]);
    let seen = |wanted: &dyn Fn(&Policy) -> bool| {
        i64::try_from(policies.iter().filter(|it| wanted(it)).count()).unwrap()
    };
    let shed = |it: &Policy| matches!(it.cause(), "breaker_open" | "overloaded");
    assert!(
        seen(&Policy::met_an_open_breaker) > 0,
        "the breaker did not open"
    );
    assert_eq!(ended("answered"), seen(&|it| it.cause().is_empty()));
    assert_eq!(ended("shed"), seen(&shed));
    assert_eq!(
        ended("failed"),
        seen(&|it| !it.cause().is_empty() && !shed(it))
    );
    assert_eq!(
        ended("cancelled"),
        i64::try_from(GONE.len() * CARS_EACH).unwrap()
    );
}

/// Each policy that was answered is counted as what it was answered as.
fn assert_policies_add_up(count: &impl Fn(&str, &[(&str, &str)]) -> i64, policies: &[Policy]) {
    let mut seen = Counts::new();
    for policy in policies {
        let answered = (policy.status(), policy.cause(), policy.source());
        *seen.entry(answered).or_default() += 1;
    }
    for ((status, cause, source), policies) in &seen {
        let labels = [("status", *status), ("cause", *cause), ("source", *source)];
        let counted = count("enrichment_outcomes_total", &labels);
        assert_eq!(counted, *policies, "{labels:?}");
    }
    let all = i64::try_from(policies.len()).unwrap();
    assert_eq!(count("enrichment_outcomes_total", &[]), all);
}
