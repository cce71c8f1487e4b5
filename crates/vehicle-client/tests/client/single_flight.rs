//! Single-flight and batches: how many calls many callers are.

use std::time::Duration;

use contracts::{RegistrationNumber, Source};
use test_support::{FakeVehicle, Gate, Reply, Request};
use tokio::task::JoinSet;
use vehicle_client::{FailureKind, Lookup, Strategy};

use crate::setup::{Client, client, found, kind, many, patient, unhurried, within};

/// This many callers that each ask for all of these numbers.
fn callers(
    client: &Client,
    count: usize,
    numbers: &[RegistrationNumber],
    strategy: Strategy,
) -> JoinSet<Vec<Lookup>> {
    let mut callers = JoinSet::new();
    for _ in 0..count {
        let (client, numbers) = (client.clone(), numbers.to_vec());
        callers.spawn(async move {
            let lookups = client
                .vehicles
                .look_up(&numbers, strategy, &unhurried())
                .await;
            lookups.into_values().collect()
        });
    }
    callers
}

#[tokio::test]
async fn a_hundred_callers_of_one_number_are_one_call() {
    for strategy in [Strategy::Single, Strategy::Batch] {
        let gate = Gate::closed();
        let waiting = gate.clone();
        let fake = FakeVehicle::start(move |request| Reply::healthy(request).held(&waiting)).await;
        let client = client(&patient(&fake));
        let callers = callers(&client, 100, &many("AB", 1), strategy);
        client.asked(100).await;
        gate.open();
        let lookups: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
        assert_eq!(fake.calls(), 1);
        let shared = lookups
            .iter()
            .filter(|lookup| found(lookup) == Source::Shared)
            .count();
        assert_eq!((lookups.len(), shared), (100, 99));
    }
}

#[tokio::test]
async fn a_failure_is_shared_too_and_the_next_caller_asks_anew() {
    let gate = Gate::closed();
    let waiting = gate.clone();
    let fake = FakeVehicle::start(move |_| Reply::status(500).held(&waiting)).await;
    let client = client(&patient(&fake));
    let callers = callers(&client, 10, &many("AB", 1), Strategy::Single);
    client.asked(10).await;
    gate.open();
    for lookup in callers.join_all().await.into_iter().flatten() {
        assert_eq!(kind(&lookup), FailureKind::ServerError);
    }
    assert_eq!(fake.calls(), 1);
    fake.script(Reply::healthy);
    assert_eq!(found(&client.one("AB00", &unhurried()).await), Source::Live);
}

#[tokio::test]
async fn nobody_is_harmed_when_the_first_caller_goes_away() {
    for strategy in [Strategy::Single, Strategy::Batch] {
        let gate = Gate::closed();
        let waiting = gate.clone();
        let fake = FakeVehicle::start(move |request| Reply::healthy(request).held(&waiting)).await;
        let client = client(&patient(&fake));
        let mut first = callers(&client, 1, &many("AB", 1), strategy);
        fake.reached(1).await;
        let others = callers(&client, 5, &many("AB", 1), strategy);
        client.asked(6).await;
        first.shutdown().await;
        gate.open();
        let lookups: Vec<_> = others.join_all().await.into_iter().flatten().collect();
        assert!(lookups.iter().all(|lookup| found(lookup) == Source::Shared));
        assert_eq!((lookups.len(), fake.calls()), (5, 1));
    }
}

#[tokio::test]
async fn a_call_that_everybody_left_is_joined_by_whoever_asks_next() {
    for strategy in [Strategy::Single, Strategy::Batch] {
        let gate = Gate::closed();
        let waiting = gate.clone();
        let fake = FakeVehicle::start(move |request| Reply::healthy(request).held(&waiting)).await;
        let client = client(&patient(&fake));
        let mut all = callers(&client, 10, &many("AB", 1), strategy);
        client.asked(10).await;
        fake.reached(1).await;
        all.shutdown().await;
        assert_eq!(client.metric("vehicle_client_in_flight", &[]), 1);
        let later = callers(&client, 1, &many("AB", 1), strategy);
        client.asked(11).await;
        gate.open();
        let lookups = later.join_all().await.concat();
        assert_eq!((found(&lookups[0]), fake.calls()), (Source::Shared, 1));
        // And then the number is free for the next one.
        let lookup = client.one("AB00", &unhurried()).await;
        assert_eq!((found(&lookup), fake.calls()), (Source::Live, 2));
    }
}

#[tokio::test]
async fn the_deadline_of_the_first_caller_binds_nobody_else() {
    for strategy in [Strategy::Single, Strategy::Batch] {
        let gate = Gate::closed();
        let waiting = gate.clone();
        let fake = FakeVehicle::start(move |request| Reply::healthy(request).held(&waiting)).await;
        let mut options = patient(&fake);
        (
            options.max_degree_of_parallelism_single,
            options.max_degree_of_parallelism_batch,
        ) = (1, 1);
        let client = client(&options);
        // One that keeps the place, so that the next waits for its turn and not for an answer.
        let holding = callers(&client, 1, &many("XX", 1), strategy);
        fake.reached(1).await;
        let hasty = client.clone();
        let first = tokio::spawn(async move {
            let context = within(Duration::from_millis(150));
            hasty.all(&["AB00"], strategy, &context).await
        });
        client.queued(1).await;
        let second = callers(&client, 1, &many("AB", 1), strategy);
        assert_eq!(kind(&first.await.unwrap()["AB00"]), FailureKind::Timeout);
        gate.open();
        let second = second.join_all().await.concat();
        assert_eq!((found(&second[0]), fake.calls()), (Source::Shared, 2));
        holding.join_all().await;
    }
}

#[tokio::test]
async fn a_caller_with_more_time_than_the_first_waits_where_the_first_could_not() {
    let (gate, fake) = (Gate::closed(), FakeVehicle::healthy().await);
    let held = gate.clone();
    fake.script(move |request| match request.number {
        0 => Reply::with_header(503, "retry-after", "2").held(&held),
        _ => Reply::healthy(request),
    });
    let client = client(&patient(&fake));
    let (hasty, unhasty) = (client.clone(), client.clone());
    let first = tokio::spawn(async move {
        hasty
            .one("AB00", &within(Duration::from_millis(1_500)))
            .await
    });
    fake.reached(1).await;
    let second = tokio::spawn(async move { unhasty.one("AB00", &unhurried()).await });
    client.asked(2).await;
    gate.open();
    assert_eq!(kind(&first.await.unwrap()), FailureKind::ServerError);
    assert_eq!(found(&second.await.unwrap()), Source::Shared);
}

/// A client whose only place for batches is taken until the gate is open, and who has it.
async fn with_a_batch_in_flight() -> (FakeVehicle, Gate, Client, JoinSet<Vec<Lookup>>) {
    let gate = Gate::closed();
    let held = gate.clone();
    let fake = FakeVehicle::start(move |request| Reply::healthy(request).held(&held)).await;
    let client = client(&patient(&fake));
    let first = callers(&client, 1, &many("XX", 1), Strategy::Batch);
    fake.reached(1).await;
    (fake, gate, client, first)
}

#[tokio::test]
async fn numbers_that_are_asked_for_while_a_batch_is_in_flight_share_the_next() {
    let (fake, gate, client, first) = with_a_batch_in_flight().await;
    let mut others = JoinSet::new();
    for number in many("AB", 20) {
        let client = client.clone();
        others.spawn(async move {
            client
                .all(&[number.as_str()], Strategy::Batch, &unhurried())
                .await
        });
    }
    client.asked(21).await;
    gate.open();
    first.join_all().await;
    for lookups in others.join_all().await {
        assert!(
            lookups
                .values()
                .all(|lookup| found(lookup) == Source::Batch)
        );
    }
    assert_eq!(fake.calls(), 2);
    assert_eq!(client.metric("vehicle_client_batch_size_sum", &[]), 21);
    assert_eq!(client.metric("vehicle_client_batch_size_count", &[]), 2);
}

#[tokio::test]
async fn a_number_that_is_erased_while_its_batch_waits_for_its_turn_is_in_it_once() {
    let (fake, gate, client, first) = with_a_batch_in_flight().await;
    let numbers = many("AB", 2);
    let before = callers(&client, 1, &numbers[..1], Strategy::Batch);
    client.asked(2).await;
    client.vehicles.erase(&numbers[0]);
    let after = callers(&client, 1, &numbers, Strategy::Batch);
    client.asked(4).await;
    gate.open();
    first.join_all().await;
    for lookup in [before.join_all().await, after.join_all().await].concat() {
        assert!(lookup.iter().all(|lookup| found(lookup) == Source::Batch));
    }
    let sent: Vec<_> = fake.requests()[1..].iter().map(Request::numbers).collect();
    assert_eq!(sent, [vec!["AB00", "AB01"]]);
}

#[tokio::test]
async fn lookups_add_up() {
    let gate = Gate::closed();
    let held = gate.clone();
    let fake = FakeVehicle::start(move |request| match request.path.rsplit('/').next() {
        Some("AB00") => Reply::status(500),
        Some("AB01") => Reply::healthy(request).held(&held),
        _ => Reply::healthy(request),
    })
    .await;
    let mut options = patient(&fake);
    options.queue_length = 0;
    options.max_degree_of_parallelism_single = 1;
    let client = client(&options);
    let mut hanging = callers(&client, 1, &many("AB", 2)[1..], Strategy::Single);
    fake.reached(1).await;
    client.one("AB05", &unhurried()).await;
    hanging.shutdown().await;
    gate.open();
    while client.metric("vehicle_client_in_flight", &[]) > 0 {
        tokio::task::yield_now().await;
    }
    client.one("AB00", &unhurried()).await;
    client.one("AB05", &unhurried()).await;
    client.one("ZZZ999", &unhurried()).await;
    let ended = |result| client.metric("vehicle_client_lookups_total", &[("result", result)]);
    assert_eq!(
        ["answered", "shed", "failed", "cancelled"].map(ended),
        [2, 1, 1, 1]
    );
    assert_eq!(client.metric("vehicle_client_lookups_asked_total", &[]), 5);
}

#[tokio::test]
async fn a_batch_is_not_given_up_for_want_of_its_first_callers_time() {
    let fake = FakeVehicle::start(|_| Reply::with_header(503, "retry-after", "1")).await;
    let mut options = patient(&fake);
    options.max_retries = 0;
    let client = client(&options);
    client.one("AB99", &unhurried()).await;
    fake.script(Reply::healthy);
    let hasty = within(Duration::from_millis(500));
    let unhurried = unhurried();
    let (first, second) = tokio::join!(
        client.all(&["AB00"], Strategy::Batch, &hasty),
        client.all(&["AB01"], Strategy::Batch, &unhurried)
    );
    assert_eq!(kind(&first["AB00"]), FailureKind::ServerError);
    assert_eq!(found(&second["AB01"]), Source::Batch);
}
