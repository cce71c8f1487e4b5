//! Callers in a hurry, or who hang up, take nothing from one who waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use opentelemetry::metrics::{MeterProvider, noop::NoopMeterProvider};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    Answer, Attempt, CallContext, Failure, Found, Lookup, Options, Strategy, VehicleClient,
    group::LEAST_TIME, observe::Instruments, rng::Rng,
};

/// How long Vehicle works on each call.
const WORK: Duration = Duration::from_millis(300);
const PLACES: u32 = 5;
/// How little time those have who are in a hurry, and how soon they hang up who do.
const LITTLE: Duration = Duration::from_millis(100);
const ENOUGH: Duration = Duration::from_secs(2);
/// How long they ask.
const WHILE: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug)]
enum Caller {
    Patient,
    Hurried,
    Vanishing,
}

#[tokio::test(start_paused = true)]
async fn a_patient_caller_gets_no_less_beside_hurried_ones_than_beside_patient_ones() {
    let usual = answers_beside(Caller::Patient).await;
    // One of ten who share five places: a call of 300 ms in about 600.
    assert!((90..=120).contains(&usual), "{usual}");
    for others in [Caller::Hurried, Caller::Vanishing] {
        let answers = answers_beside(others).await;
        assert!(
            answers >= usual,
            "{answers} beside {others:?}, {usual} beside patient ones"
        );
    }
}

/// The answers that a patient caller gets in a while beside nine of these.
async fn answers_beside(others: Caller) -> usize {
    let wasted = Arc::new(AtomicUsize::new(0));
    let client = client(wasted.clone());
    let mut beside = JoinSet::new();
    for caller in 1..10 {
        beside.spawn(ask_again_and_again(client.clone(), others, caller));
    }
    let patient = tokio::spawn(ask_again_and_again(client, Caller::Patient, 0));
    let answers = patient.await.unwrap();
    beside.shutdown().await;
    let wasted = wasted.load(Ordering::SeqCst);
    assert_eq!(wasted, 0, "places for {others:?} who were gone at once");
    answers
}

/// Asks for one car after the other, each anew; how many it got.
async fn ask_again_and_again(client: VehicleClient, caller: Caller, place: u32) -> usize {
    // They come evenly, and so do the places that become free.
    sleep(WORK / PLACES * place).await;
    let (begun, mut got, mut asked) = (Instant::now(), 0, 0);
    while begun.elapsed() < WHILE {
        asked += 1;
        let number = [format!("{place}{asked}").parse().unwrap()];
        let (time, patience) = match caller {
            Caller::Patient => (ENOUGH, ENOUGH),
            Caller::Hurried => (LITTLE, ENOUGH),
            Caller::Vanishing => (ENOUGH, LITTLE),
        };
        let context = CallContext {
            deadline: Instant::now() + time,
            request_id: "".into(),
            traceparent: "".into(),
        };
        let lookups = client.look_up(&number, Strategy::Single, &context);
        if let Ok(lookups) = timeout(patience, lookups).await {
            got += usize::from(matches!(lookups[&number[0]], Lookup::Found { .. }));
        }
        sleep(Duration::from_millis(1)).await;
    }
    got
}

/// With the documented settings, in front of a Vehicle that is well and slow, which counts the
/// calls for which nobody had time.
fn client(wasted: Arc<AtomicUsize>) -> VehicleClient {
    let mut options = Options {
        max_degree_of_parallelism_single: PLACES as usize,
        queue_wait: Duration::from_millis(250),
        queue_length: 1024,
        attempt_timeout: Duration::from_millis(500),
        ..super::options()
    };
    options.cache.enabled = false;
    options.breaker.minimum_calls = u64::MAX;
    let vehicle = move |attempt: Attempt| {
        let latest = attempt.call.group.latest_deadline();
        let in_time = latest.is_some_and(|latest| latest >= Instant::now() + LEAST_TIME);
        wasted.fetch_add(usize::from(!in_time), Ordering::SeqCst);
        async move {
            sleep(WORK).await;
            let numbers = attempt.numbers.iter().cloned();
            Ok::<_, Failure>(
                numbers
                    .map(|it| (it.clone(), found(it)))
                    .collect::<Answer>(),
            )
        }
    };
    let instruments = Instruments::new(&NoopMeterProvider::new().meter("test"));
    VehicleClient::over(vehicle, &options, &Rng::default(), instruments)
}

fn found(number: contracts::RegistrationNumber) -> Found {
    Found::Vehicle(Arc::new(contracts::Vehicle {
        registration_number: number,
        make: None,
        model: None,
        model_year: None,
    }))
}
