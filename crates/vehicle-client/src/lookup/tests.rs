use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use contracts::{RegistrationNumber, Vehicle};
use futures_util::FutureExt;
use opentelemetry::metrics::{MeterProvider, noop::NoopMeterProvider};
use tokio::time::{Instant, sleep};

use crate::{
    Answer, Attempt, BreakerPhase, CacheOptions, CallContext, Failure, FailureKind, Found, Lookup,
    Options, Strategy, VehicleClient, observe::Instruments, rng::Rng, simulation, wire::Transport,
};

fn broken() -> Result<Answer, Failure> {
    panic!("a fault of ours")
}

fn client(options: &Options, transport: impl Transport) -> VehicleClient {
    let instruments = Instruments::new(&NoopMeterProvider::new().meter("test"));
    VehicleClient::over(transport, options, &Rng::default(), instruments)
}

fn within(time: Duration) -> CallContext {
    CallContext {
        deadline: Instant::now() + time,
        request_id: "".into(),
        traceparent: "".into(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_frees_the_permit_counts_as_failed_and_answers_all_who_wait() {
    let mut options = simulation::options();
    options.breaker.minimum_calls = 1;
    options.attempt_timeout = Duration::from_secs(1);
    let transport = |_: Attempt| async {
        sleep(Duration::from_millis(500)).await;
        broken()
    };
    let client = client(&options, transport);
    let numbers = ["ABC123".parse().unwrap()];
    let context = within(Duration::from_secs(9));
    let ask = || client.look_up(&numbers, Strategy::Single, &context);
    let (first, joined) = tokio::join!(ask(), ask());
    let failure = Failure::lasting(FailureKind::ContractViolation);
    for lookups in [first, joined] {
        assert_eq!(lookups[&numbers[0]], Lookup::Unavailable(failure));
    }
    let state = client.guard_state();
    assert_eq!(state.single.in_flight, 0);
    assert_eq!(state.breaker.phase, BreakerPhase::Open);
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_when_nothing_is_in_flight() {
    let client = client(&simulation::options(), |attempt: Attempt| async move {
        let nothing = |number: &RegistrationNumber| (number.clone(), Found::Nothing);
        Ok::<Answer, Failure>(attempt.numbers.iter().map(nothing).collect())
    });
    let (start, numbers) = (
        Instant::now(),
        ["ABC123", "DEF456"].map(|it| it.parse().unwrap()),
    );
    for strategy in [Strategy::Single, Strategy::Batch] {
        let context = within(Duration::from_secs(9));
        let lookups = client.look_up(&numbers, strategy, &context).await;
        let is_answered = |it: &Lookup| matches!(it, Lookup::NotFound { .. });
        assert!(lookups.values().all(is_answered), "{lookups:?}");
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_was_refreshed_meanwhile_is_not_refreshed_again() {
    let mut options = simulation::options();
    options.max_retries = 0;
    options.attempt_timeout = Duration::from_secs(5);
    options.cache = CacheOptions {
        enabled: true,
        fresh: Duration::from_secs(10),
        soft_stale: Duration::from_mins(10),
        hard_stale: Duration::from_hours(24),
        negative: Duration::from_secs(10),
        jitter: 0.0,
        max_bytes: 1 << 20,
    };
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let client = client(&options, move |attempt: Attempt| {
        counted.fetch_add(1, Ordering::SeqCst);
        let number = attempt.numbers[0].clone();
        async move {
            if number.as_str() == "DEF456" {
                sleep(Duration::from_secs(1)).await;
            }
            let vehicle = Vehicle {
                registration_number: number.clone(),
                make: None,
                model: None,
                model_year: None,
            };
            Ok::<Answer, Failure>([(number, Found::Vehicle(vehicle.into()))].into())
        }
    });
    let numbers = ["ABC123", "DEF456"].map(|it| it.parse().unwrap());
    let context = within(Duration::from_mins(1));
    let ask = |numbers| client.look_up(numbers, Strategy::Single, &context);
    ask(&numbers[..1]).await;
    sleep(Duration::from_secs(11)).await;
    // The second has the number refreshed while the first waits for the other one.
    tokio::join!(ask(&numbers), ask(&numbers[..1]));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(sent.load(Ordering::SeqCst), 3);
}

#[test]
fn a_panic_before_a_call_is_made_leaves_none_that_others_wait_for() {
    let client = client(&simulation::options(), |_: Attempt| async {
        Err::<Answer, _>(Failure::refusal(FailureKind::Unauthorized))
    });
    let numbers = ["ABC123".parse().unwrap()];
    for strategy in [Strategy::Single, Strategy::Batch] {
        let context = within(Duration::from_secs(5));
        let ask = || client.look_up(&numbers, strategy, &context);
        // Without a runtime there are no timers, which panics.
        let lost = ask().now_or_never().unwrap();
        let fault = Failure::lasting(FailureKind::ContractViolation);
        assert_eq!(lost[&numbers[0]], Lookup::Unavailable(fault));
        assert!(client.lookups.is_idle());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let asked = Failure::refusal(FailureKind::Unauthorized);
        let lookups = runtime.block_on(ask());
        assert_eq!(lookups[&numbers[0]], Lookup::Unavailable(asked));
    }
}
