//! How many calls a Vehicle has at work at once that does not notice that we gave up, counted
//! there, whoever asks: callers who wait, callers in a hurry, callers who hang up.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::Value;
use test_support::{Binary, FakeVehicle, Reply};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

use super::{
    load::closely,
    service::{Service, WITHOUT_BREAKER, WITHOUT_CACHE, binary},
};

const PERSONS: usize = 200;
const CARS_EACH: usize = 2;
/// Services that run at once: a busy machine has calls time out before they come to Vehicle.
static PLACES: Semaphore = Semaphore::const_new(4);
/// Longer than any test.
const FOR_EVER: Duration = Duration::from_hours(1);

/// A fifth of the documented times, so that the breaker soon has its twenty calls.
const QUICK: [(&str, &str); 4] = [
    ("VEHICLE_CLIENT__ATTEMPT_TIMEOUT", "100ms"),
    ("VEHICLE_CLIENT__CONNECT_TIMEOUT", "100ms"),
    ("VEHICLE_CLIENT__BREAKER__OPEN_FOR", "1s"),
    ("SERVER__REQUEST_DEADLINE", "30s"),
];
const WITH_CACHE: [(&str, &str); 1] = [("VEHICLE_CLIENT__CACHE__ENABLED", "true")];
/// Each strategy with all the places but one, so that what is computed for both is close to what
/// one of them can do, and with a call for each number.
const BATCH: [(&str, &str); 4] = [
    ("FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL", "true"),
    ("VEHICLE_CLIENT__MAX_BATCH_SIZE", "1"),
    ("VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_BATCH", "5"),
    ("VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_SINGLE", "1"),
];
const SINGLE: [(&str, &str); 3] = [
    ("FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL", "false"),
    ("VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_BATCH", "1"),
    ("VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_SINGLE", "5"),
];
/// The places of the strategy that is used.
const PLACES_IN_USE: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Patient,
    /// Says that it has 1 to 80 ms, a fifth of 400.
    Hurried,
    /// Hangs up after as long.
    Vanishing,
}

use Caller::{Hurried, Patient, Vanishing};

#[tokio::test]
async fn of_patient_callers_a_silent_vehicle_has_no_more_calls_at_work_than_computed() {
    a_silent_vehicle(&[Patient; 8]).await;
}

#[tokio::test]
async fn of_impatient_callers_a_silent_vehicle_has_no_more_calls_at_work_than_computed() {
    a_silent_vehicle(&[[Hurried; 4], [Vanishing; 4]].concat()).await;
}

/// With both strategies, with and without a cache.
async fn a_silent_vehicle(callers: &[Caller]) {
    join_all(configurations().map(async |settings| {
        let vehicle = FakeVehicle::start(|request| Reply::healthy(request).worked_on(FOR_EVER));
        let (vehicle, _place) = (vehicle.await, PLACES.acquire().await);
        let settings = [&settings[..], &QUICK].concat();
        let service = Service::with_cars(&vehicle, PERSONS, CARS_EACH, &settings).await;
        let opened = async {
            service.opens().await;
            // For long enough that there are probes.
            sleep(Duration::from_secs(2)).await;
        };
        ask_until(opened, &service, callers).await;
        some_were_abandoned(&service, callers).await;
        let most = service.computed("most_calls_at_work_when_silent").await;
        let probes = service.breaker_became("half_open").await;
        let at_work = i64::try_from(vehicle.most_at_work()).unwrap();
        let most = i64::try_from(whole(most)).unwrap() + probes;
        assert!(at_work <= most, "{at_work} over {most} with {settings:?}");
        // More than are in flight: they pile up.
        assert!(at_work > 6, "{at_work} with {settings:?}");
    }))
    .await;
}

#[tokio::test]
async fn of_patient_callers_a_slow_vehicle_has_no_more_calls_at_work_than_computed() {
    a_slow_vehicle(&[Patient; 12]).await;
}

#[tokio::test]
async fn of_impatient_callers_a_slow_vehicle_has_no_more_calls_at_work_than_computed() {
    a_slow_vehicle(&[[Hurried; 6], [Vanishing; 6]].concat()).await;
}

/// One that works for long on four of five calls and answers the others: with both strategies, with
/// and without a cache.
async fn a_slow_vehicle(callers: &[Caller]) {
    // Timers are late on a busy machine; the figure is the same for all of its last 100 ms.
    const WORK: Duration = Duration::from_millis(1_020);
    join_all(configurations().map(async |settings| {
        let vehicle = FakeVehicle::start(|request| match request.number % 5 {
            0 => Reply::healthy(request),
            _ => Reply::healthy(request).worked_on(WORK),
        })
        .await;
        let settings = [&settings[..], &WITHOUT_BREAKER, &QUICK[..2]].concat();
        let _place = PLACES.acquire().await;
        let binary = binary(&vehicle.url(), PERSONS, CARS_EACH).await;
        let binary = binary.with_all(&settings);
        let most = when_slow(&binary, "1100ms").await;
        let service = Service::serve(&binary, CARS_EACH).await;
        ask_until(sleep(Duration::from_secs(3)), &service, callers).await;
        some_were_abandoned(&service, callers).await;
        let at_work = vehicle.most_at_work();
        assert!(at_work <= most, "{at_work} over {most} with {settings:?}");
        // More than are in flight: they pile up.
        assert!(at_work > PLACES_IN_USE, "{at_work} with {settings:?}");
    }))
    .await;
}

/// That callers in a hurry and those who hang up left calls behind. Of patient ones nothing is asked.
async fn some_were_abandoned(service: &Service, callers: &[Caller]) {
    let abandoned = [("awaited", "false")];
    let attempts = "vehicle_client_attempts_total";
    let abandoned = service.metric(attempts, &abandoned).await;
    assert!(abandoned > 0 || callers[0] == Patient);
}

#[tokio::test]
async fn hurried_and_vanishing_callers_do_not_flood_a_hung_vehicle_under_the_documented_settings() {
    let vehicle =
        FakeVehicle::start(|request| Reply::healthy(request).worked_on(Duration::from_secs(5)))
            .await;
    let service = Service::with_cars(&vehicle, PERSONS, 1, &WITHOUT_CACHE).await;
    let opened = async {
        service.opens().await;
        sleep(Duration::from_secs(1)).await;
    };
    let person = AtomicUsize::new(0);
    let hurried = async || loop {
        let turn = person.fetch_add(1, Ordering::SeqCst);
        let person = turn % PERSONS;
        let time = Duration::from_millis([1, 40, 80, 120, 180, 250, 300, 350, 400][turn % 9]);
        if turn.is_multiple_of(2) {
            service.hurried_answer(person, time).await;
        } else {
            drop(timeout(time, service.answer(person)).await);
        }
    };
    let begun = Instant::now();
    tokio::select! {
        _ = join_all((0..8).map(|_| hurried())) => unreachable!(),
        () = opened => {}
    }
    let most = whole(service.computed("most_calls_at_work_when_silent").await);
    let (calls, at_work) = (vehicle.calls(), vehicle.most_at_work());
    assert!(at_work <= most, "{at_work} over {most}");
    assert!(calls <= most, "{calls} calls in {:?}", begun.elapsed());
    some_were_abandoned(&service, &[Hurried, Vanishing]).await;
}

#[tokio::test]
async fn twenty_failures_in_a_row_open_the_breaker_though_each_caller_is_gone_before() {
    let vehicle = FakeVehicle::healthy().await;
    let settings = [
        ("VEHICLE_CLIENT__ATTEMPT_TIMEOUT", "200ms"),
        ("VEHICLE_CLIENT__CONNECT_TIMEOUT", "200ms"),
        // One after the other, so that the count is exact.
        ("VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_SINGLE", "1"),
    ];
    let settings = [&settings[..], &WITHOUT_CACHE].concat();
    let service = Service::start(&vehicle, PERSONS, &settings).await;
    // Under half of all calls fail when the twentieth in a row does.
    closely(1, 0..100, async |person| service.policy(person).await).await;
    let attempts = "vehicle_client_attempts_total";
    let good = service.metric(attempts, &[]).await;
    vehicle.script(|request| Reply::healthy(request).worked_on(FOR_EVER));
    ask_until(service.opens(), &service, &[Hurried, Vanishing]).await;
    assert_eq!(service.metric(attempts, &[]).await, good + 20);
    some_were_abandoned(&service, &[Hurried, Vanishing]).await;
}

#[tokio::test]
async fn callers_with_next_to_no_time_reach_vehicle_not_at_all() {
    let vehicle = FakeVehicle::start(|_| Reply::Hang).await;
    let service = Service::with_cars(&vehicle, PERSONS, 1, &WITHOUT_CACHE).await;
    for person in 0..100 {
        // 20 ms of it are kept back for the answer.
        let time = Duration::from_millis(1 + u64::try_from(person).unwrap() % 29);
        service.hurried_answer(person, time).await;
    }
    assert_eq!(vehicle.calls(), 0);
}

impl Service {
    async fn opens(&self) {
        let opened = async {
            while self.breaker_became("open").await == 0 {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let opened = timeout(Duration::from_mins(1), opened).await;
        opened.expect("the breaker opens");
    }
}

fn configurations() -> impl Iterator<Item = Vec<(&'static str, &'static str)>> {
    let strategies = [&SINGLE[..], &BATCH].into_iter();
    strategies
        .flat_map(|strategy| [WITH_CACHE, WITHOUT_CACHE].map(|cache| [strategy, &cache].concat()))
}

/// Lets all of them ask again and again, each time for another person.
async fn ask_until(end: impl Future<Output = ()>, service: &Service, callers: &[Caller]) {
    let next = AtomicUsize::new(0);
    let next = &next;
    let asking = callers.iter().map(|caller| async move {
        loop {
            let turn = next.fetch_add(1, Ordering::SeqCst);
            let person = turn % PERSONS;
            let time = Duration::from_millis([1, 15, 30, 40, 50, 60, 70, 80][turn % 8]);
            match caller {
                Patient => drop(service.answer(person).await),
                Hurried => drop(service.hurried_answer(person, time).await),
                Vanishing => drop(timeout(time, service.answer(person)).await),
            }
            // Whoever is refused at once does not ask again at once.
            sleep(Duration::from_millis(20)).await;
        }
    });
    tokio::select! {
        _ = join_all(asking) => unreachable!("they ask for ever"),
        () = end => {}
    }
}

/// What `check` computes for a Vehicle that works for this long.
async fn when_slow(binary: &Binary, work: &str) -> usize {
    let check = ["check", "--output", "json", "--work", work];
    let output = binary.run_with(&check).await;
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let figures = said["worstCase"].as_array().unwrap();
    let named = |figure: &&Value| figure["name"] == "most_calls_at_work_when_slow";
    let figure = figures.iter().find(named).unwrap();
    usize::try_from(figure["value"].as_u64().unwrap()).unwrap()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of calls"
)]
fn whole(figure: f64) -> usize {
    figure as usize
}
