//! The callers of a simulation: they come, ask, wait, and some go away before they are answered.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{plan::Crowd, rules::Asked, world::World};
use crate::{CallContext, VehicleClient};

/// Most time that a caller has.
pub(super) const LONGEST: Duration = Duration::from_secs(3);

/// Asks once. How many numbers were asked for.
pub(super) async fn call(
    client: VehicleClient,
    world: World,
    crowd: Crowd,
    begin: Duration,
) -> u64 {
    let random = world.random.clone();
    let (numbers, strategy) = (random.numbers(), random.strategy());
    let time = if random.percent(crowd.hurried) {
        random.millis(1, 400)
    } else {
        random.millis(100, 3_000)
    };
    let patience = if random.percent(crowd.vanishing) {
        random.millis(0, 400)
    } else {
        Duration::MAX
    };
    sleep(begin).await;

    let started = Instant::now();
    let context = CallContext {
        deadline: started + time,
        request_id: "simulation".into(),
        traceparent: "".into(),
    };
    let answered = tokio::select! {
        biased;
        answers = client.look_up(&numbers, strategy, &context) => Some(answers),
        () = sleep(patience.min(LONGEST * 2)) => None,
    };
    let asked = numbers.len() as u64;
    let Some(answers) = answered else {
        world.state().saw("cancelled");
        return asked;
    };
    assert_eq!(answers.len(), numbers.len(), "one answer for each number");
    for number in &numbers {
        let lookup = &answers[number];
        let deadline = context.deadline;
        world.judge(
            &Asked {
                number,
                strategy,
                started,
                deadline,
            },
            lookup,
        );
        world.state().journal(&(number, lookup.label()));
    }
    asked
}
