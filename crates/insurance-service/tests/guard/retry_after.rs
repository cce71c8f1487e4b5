//! Vehicle names the time of the next call, and none comes before.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use test_support::{FakeVehicle, Gate, Reply};
use tokio::time::Instant;

use super::{
    load::steadily,
    service::{PATIENT, Service},
};

/// When a call came, and from when on calls may come.
type Times = Arc<Mutex<Vec<(SystemTime, SystemTime)>>>;

#[tokio::test]
async fn no_call_is_made_before_the_seconds_that_vehicle_asks_for_are_over() {
    no_call_is_early(|| (SystemTime::now() + Duration::from_secs(1), "1".into())).await;
}

#[tokio::test]
async fn no_call_is_made_before_the_date_that_vehicle_names() {
    no_call_is_early(|| {
        // A date has whole seconds, so this one is one to two seconds away.
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
        (httpdate::parse_http_date(&date).unwrap(), date)
    })
    .await;
}

/// Vehicle refuses every call with a time, while people ask and ask.
async fn no_call_is_early(next: impl Fn() -> (SystemTime, String) + Send + 'static) {
    let times = Times::default();
    let noted = times.clone();
    let vehicle = FakeVehicle::start(move |_| {
        let came = SystemTime::now();
        let (until, named) = next();
        noted.lock().unwrap().push((came, until));
        Reply::with_header(429, "retry-after", &named)
    })
    .await;
    // Patient, because an answer that comes too late to be read names no time.
    let one = [("VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_SINGLE", "1")];
    let service = Service::start(&vehicle, 75, &[&PATIENT[..], &one].concat()).await;
    steadily(25, 0..75, async |person| service.policy(person).await).await;
    let times = times.lock().unwrap();
    assert!(times.len() >= 2, "it was asked again when it might be");
    for pair in times.windows(2) {
        assert!(pair[1].0 >= pair[0].1, "{pair:?}");
    }
}

#[tokio::test]
async fn callers_who_are_queued_when_vehicle_names_a_time_wait_for_it_as_well() {
    const CAP: usize = 5;
    let gate = Gate::closed();
    let held = gate.clone();
    let vehicle = FakeVehicle::start(move |request| match request.number {
        0..CAP => Reply::with_header(429, "retry-after", "1").held(&held),
        _ => Reply::healthy(request),
    })
    .await;
    let service = Service::start(&vehicle, 100, &PATIENT).await;
    let (policies, opened) = tokio::join!(
        join_all((0..100).map(|person| service.policy(person))),
        async {
            vehicle.reached(CAP).await;
            service.measures("vehicle_client_queue_length", 95).await;
            let opened = Instant::now();
            gate.open();
            opened
        }
    );
    let early = opened + Duration::from_secs(1);
    let early = vehicle.requests()[CAP..]
        .iter()
        .filter(|call| call.at < early)
        .count();
    assert_eq!(early, 0);
    let enriched = policies
        .iter()
        .filter(|policy| policy.is_enriched())
        .count();
    assert!(enriched >= 95, "{enriched}");
}
