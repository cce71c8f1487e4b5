//! One run of a seed from the first caller to the last, and what must be so at its end.

use std::{collections::BTreeMap, time::Duration};

use service_defaults::metrics::Metrics;
use test_support::metric;
use tokio::{
    runtime::Builder,
    time::{Instant, advance, sleep},
};

use super::{
    caller,
    plan::{Mode, Random},
    world::World,
};
use crate::{
    BreakerPhase as Phase, CallContext, IsolationOrder, Lookup, Strategy, VehicleClient,
    observe::Instruments,
};

/// What a run came to; two runs of a seed come to the same.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    digest: u64,
    pub(super) seen: BTreeMap<&'static str, u64>,
}

pub(super) fn run(seed: u64) -> Outcome {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(simulate(Random::new(seed)))
}

async fn simulate(random: Random) -> Outcome {
    let options = random.options();
    let metrics = Metrics::new("simulation").unwrap();
    let world = World::new(random.clone(), options.clone());
    let instruments = Instruments::new(metrics.meter());
    let client = VehicleClient::over(world.clone(), &options, &random.rng(), instruments);
    let admission = client.guard.admission().clone();
    assert!(world.admission.set(admission).is_ok());

    let end = random.millis(2_000, 20_000);
    let crowd = random.crowd();
    let callers: Vec<_> = (0..crowd.callers)
        .map(|_| {
            let begin = random.millis(0, u64::try_from(end.as_millis()).unwrap());
            tokio::spawn(caller::call(client.clone(), world.clone(), crowd, begin))
        })
        .collect();
    let disturbing = tokio::spawn(disturb(client.clone(), world.clone(), Instant::now() + end));
    let mut asked = 0;
    for caller in callers {
        asked += caller.await.unwrap();
    }
    disturbing.await.unwrap();
    asked += recover(&client, &world).await;
    world.keeps_its_rules();
    at_rest(&client, &world, &metrics, asked);
    let state = world.state();
    Outcome {
        digest: state.digest(),
        seen: state.seen.clone(),
    }
}

/// Changes Vehicle's mode, erases numbers, isolates Vehicle and lets the clock jump until the end.
async fn disturb(client: VehicleClient, world: World, end: Instant) {
    let random = world.random.clone();
    while Instant::now() < end {
        let mode = random.mode();
        world.state().mode = mode;
        sleep(random.millis(10, 2_000)).await;
        if random.percent(20) {
            let number = random.numbers().swap_remove(0);
            client.erase(&number);
            let mut state = world.state();
            state.erased.insert(number, Instant::now());
            state.saw("erased");
        }
        if random.percent(10) {
            isolate(&client, &world);
        }
        if random.percent(5) {
            client.release();
            world.state().isolated_until = Instant::now();
        }
        if random.percent(3) {
            let from = Instant::now();
            let leap = random.millis(100, 7_200_000);
            world.state().jumped(from, from + leap);
            advance(leap).await;
        }
    }
}

fn isolate(client: &VehicleClient, world: &World) {
    let lasts = world.random.millis(10, 3_000);
    let order = IsolationOrder {
        reason: "simulated".into(),
        owner: "simulation".into(),
        key_id: "simulation".into(),
    };
    client.isolate(order, lasts);
    let mut state = world.state();
    state.isolated_until = Instant::now() + lasts;
    state.saw("isolation");
}

/// However bad it was: once Vehicle is well again, so are the answers. How many were asked for.
async fn recover(client: &VehicleClient, world: &World) -> u64 {
    world.state().mode = Mode::Healthy;
    let options = world.options.clone();
    let longest_open = options.breaker.max_open_for.mul_f64(1.1);
    sleep(longest_open.max(Duration::from_mins(1))).await;
    let (probes, mut asked) = (options.breaker.probes_to_close, 0);
    for strategy in [Strategy::Single, Strategy::Batch] {
        for probe in 0..=probes {
            let number = format!("{}{probe}", strategy.label()).parse().unwrap();
            let context = CallContext {
                deadline: Instant::now() + Duration::from_secs(1),
                request_id: "recovery".into(),
                traceparent: "".into(),
            };
            let answers = client
                .look_up(std::slice::from_ref(&number), strategy, &context)
                .await;
            asked += 1;
            // A healthy answer may still be over what a seed calls slow, and opens it again.
            if options.slow_after() > Duration::from_millis(25) {
                let Lookup::Found { source, .. } = &answers[&number] else {
                    panic!("stuck: {:?}", answers[&number]);
                };
                assert_eq!(*source, strategy.source());
            }
        }
    }
    if options.slow_after() > Duration::from_millis(25) {
        assert_eq!(world.look_at_breaker(), Phase::Closed, "stuck");
    }
    asked
}

/// Nothing is left over when nobody asks any more, and every lookup was counted once.
fn at_rest(client: &VehicleClient, world: &World, metrics: &Metrics, asked: u64) {
    assert!(world.idle(), "calls without a caller");
    let state = client.guard_state();
    for calls in [state.single, state.batch] {
        assert_eq!(
            (calls.in_flight, calls.waiting),
            (0, 0),
            "permits were lost"
        );
    }
    assert!(
        client.lookups.is_idle(),
        "a call that has ended can be joined"
    );
    let text = metrics.render().unwrap();
    let count = |name, labels: &[_]| metric(&text, name, labels);
    for level in ["vehicle_client_in_flight", "vehicle_client_queue_length"] {
        assert_eq!(count(level, &[]), 0, "{level}");
    }
    let total = count("vehicle_client_lookups_asked_total", &[]);
    assert_eq!(total, i64::try_from(asked).unwrap());
    let results: i64 = ["answered", "shed", "failed", "cancelled"]
        .iter()
        .map(|result| count("vehicle_client_lookups_total", &[("result", result)]))
        .sum();
    assert_eq!(total, results);
}
