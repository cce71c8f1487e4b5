//! The copy that is read, and the one that is filled beside it.

use std::time::Duration;

use insurance_service::Turn;
use test_support::{FakeVehicle, Gate};
use tokio_util::sync::CancellationToken;

use super::{
    Pair,
    rests::pass,
    texts,
    told::{answer, events, is_of_register, later, next_car, telling},
    within,
};

#[tokio::test]
async fn an_older_version_never_wins_and_events_that_come_again_have_no_effect() {
    let pair = Pair::new().await;
    let mut consumer = pair.consumer();
    pair.caught_up(&mut consumer).await;
    let change = "update vehicle.vehicles set model = 'new' where registration_number = 'ABC123'";
    pair.vehicle.execute(change).await;
    pair.vehicle
        .execute("delete from vehicle.vehicles where registration_number = 'DEF456'")
        .await;
    pair.caught_up(&mut consumer).await;
    pair.assert_equal().await;
    // It reads the log from its beginning, as if it had forgotten all.
    let forget = "update insurance_replica.consumers set event_id = null, position = 0";
    pair.insurance.execute(forget).await;
    let newer = "update insurance_replica.vehicles set version = version + 1000, make = 'kept'
        where registration_number = 'ABC123'";
    pair.insurance.execute(newer).await;
    pair.end_lease().await;
    pair.caught_up(&mut pair.consumer()).await;
    let rows = "select registration_number || coalesce(make, '') || (deleted_at is null)
        from insurance_replica.vehicles where registration_number in ('ABC123', 'DEF456') order by 1";
    assert_eq!(
        texts(&pair.insurance, rows).await,
        ["ABC123kepttrue", "DEF456false"]
    );
}

#[tokio::test]
async fn one_consumes_at_a_time_and_one_that_was_overtaken_has_no_effect() {
    let pair = Pair::new().await;
    let (mut first, mut second) = (pair.consumer(), pair.consumer());
    pair.caught_up(&mut first).await;
    let told = CancellationToken::new();
    assert_eq!(second.turn(&told).await.unwrap(), Turn::Leased);
    pair.end_lease().await;
    let before = pair.state("position").await;
    let overtake =
        "update insurance.workers set fence = fence + 1 where worker = 'vehicle_replica'";
    pair.insurance.execute(overtake).await;
    pair.vehicle
        .execute("delete from vehicle.vehicles where registration_number = 'ABC123'")
        .await;
    assert_eq!(first.turn(&told).await.unwrap(), Turn::Leased);
    assert_eq!(pair.state("position").await, before);
    pair.caught_up(&mut second).await;
    pair.assert_equal().await;
    assert_eq!(first.turn(&told).await.unwrap(), Turn::Leased);
}

#[tokio::test]
async fn another_log_is_copied_beside_the_old_copy_which_is_swept_afterwards() {
    let pair = Pair::new().await;
    let mut consumer = pair.consumer();
    pair.caught_up(&mut consumer).await;
    assert_eq!(pair.state("generation").await, "1");
    let age = pair.state("caught_up_at").await;
    let told = CancellationToken::new();
    for (generation, lost) in [
        // Restored, and `new-log`.
        (2, "vehicle_events.head set log_id = gen_random_uuid()"),
        // Failed over: the event that was read last is not there.
        (
            3,
            "insurance_replica.consumers set event_id = gen_random_uuid()",
        ),
    ] {
        let database = if generation == 2 {
            &pair.vehicle
        } else {
            &pair.insurance
        };
        database.execute(&format!("update {lost}")).await;
        let change = format!("update vehicle.vehicles set model = 'L{generation}'");
        pair.vehicle.execute(&change).await;
        pair.end_lease().await;
        let mut consumer = pair.consumer();
        within(async {
            while pair.state("filling is null").await == "true" {
                consumer.turn(&told).await.unwrap();
            }
        })
        .await;
        // Read as it was, and as old as it is.
        assert_eq!(pair.state("generation").await, (generation - 1).to_string());
        let read = format!(
            "select (count(*) > 2)::text from insurance_replica.vehicles where generation = {generation} - 1"
        );
        assert_eq!(texts(&pair.insurance, &read).await, ["true"]);
        if generation == 2 {
            assert_eq!(pair.state("caught_up_at").await, age);
        }
        pair.caught_up(&mut consumer).await;
        assert_eq!(
            pair.state("generation || mode").await,
            format!("{generation}follow")
        );
        pair.assert_equal().await;
        pair.end_lease().await;
        let mut consumer = pair.consumer();
        pair.vehicle
            .execute("update vehicle.vehicles set model = 'swept'")
            .await;
        pair.caught_up(&mut consumer).await;
        let old = format!(
            "select count(*)::text from insurance_replica.vehicles where generation < {generation}"
        );
        assert_eq!(texts(&pair.insurance, &old).await, ["0"]);
    }
}

#[tokio::test]
async fn a_new_snapshot_is_filled_while_the_copy_that_is_read_is_followed() {
    let pair = Pair::new().await;
    let mut consumer = pair.consumer();
    pair.caught_up(&mut consumer).await;
    let load = "insert into vehicle.vehicles (registration_number)
        select 'T' || n from generate_series(10000, 11499) n";
    pair.vehicle.execute(load).await;
    pair.caught_up(&mut consumer).await;
    let order = "update insurance_replica.consumers set mode = 'snapshot'";
    pair.insurance.execute(order).await;
    pair.end_lease().await;
    let (mut consumer, told) = (pair.consumer(), CancellationToken::new());
    // The first page of two is there; then cars of both pages change.
    within(async {
        while pair.state("filled").await != "1000" {
            consumer.turn(&told).await.unwrap();
        }
    })
    .await;
    let change = "update vehicle.vehicles set model = 'new';
        delete from vehicle.vehicles where registration_number in ('ABC123', 'T11499')";
    pair.vehicle.execute(change).await;
    let read = "select count(*)::text from insurance_replica.vehicles
        where generation = 1 and model = 'new'";
    within(async {
        while texts(&pair.insurance, read).await == ["0"] {
            consumer.turn(&told).await.unwrap();
        }
    })
    .await;
    pair.caught_up(&mut consumer).await;
    assert_eq!(pair.state("generation").await, "2");
    pair.assert_equal().await;
}

#[tokio::test]
async fn a_tombstone_is_swept_when_no_older_event_can_come_any_more() {
    let pair = Pair::new().await;
    pair.caught_up(&mut pair.consumer()).await;
    let tombstones = "insert into insurance_replica.vehicles
            (generation, registration_number, version, deleted_at)
        values (1, 'OLD123', 1, now() - interval '31 days'),
            (1, 'NEW123', 1, now() - interval '29 days');
        update insurance_replica.changes set changed_at = now() - interval '31 days'";
    pair.insurance.execute(tombstones).await;
    pair.end_lease().await;
    let change = "update vehicle.vehicles set model = 'new'";
    pair.vehicle.execute(change).await;
    pair.caught_up(&mut pair.consumer()).await;
    let kept = "select registration_number from insurance_replica.vehicles
        where deleted_at is not null";
    assert_eq!(texts(&pair.insurance, kept).await, ["NEW123"]);
    // Nor is its number kept by what was told of it, or by its end.
    let told = "select change::text from insurance_replica.changes
        where 'OLD123' = any(registration_numbers)";
    assert!(texts(&pair.insurance, told).await.is_empty());
}

#[tokio::test]
async fn what_was_given_up_is_swept_while_another_copy_is_filled() {
    let pair = Pair::new().await;
    let given_up = "update insurance_replica.consumers set generations = 7;
        insert into insurance_replica.vehicles (generation, registration_number, version)
        values (3, 'OLD123', 1)";
    pair.insurance.execute(given_up).await;
    let (mut consumer, told) = (pair.consumer(), CancellationToken::new());
    assert_eq!(consumer.turn(&told).await.unwrap(), Turn::Copied);
    let rows = "select count(*)::text from insurance_replica.vehicles where generation = 3";
    assert_eq!(texts(&pair.insurance, rows).await, ["0"]);
    assert_eq!(pair.state("filling || ' ' || filled").await, "8 0");
}

#[tokio::test]
async fn a_pause_is_obeyed_by_the_page_in_hand() {
    let vehicle = FakeVehicle::start(telling(events(&[1]), 1)).await;
    let pair = Pair::on(&vehicle).await;
    let (mut consumer, told) = (pair.consumer(), CancellationToken::new());
    let state = "concat_ws(' ', position, generation)";
    pair.until(&mut consumer, state, "1 1").await;
    // The page is asked for, and the pause comes before its effect.
    let (gate, asked) = (Gate::closed(), vehicle.calls());
    let (held, page) = (gate.clone(), events(&[1, 2]));
    vehicle.script(move |request| answer(request, &page, 2).held(&held));
    let pause = async {
        vehicle.reached(asked + 1).await;
        let pause = "update insurance_replica.consumers set mode = 'paused'";
        pair.insurance.execute(pause).await;
        gate.open();
    };
    let turn = async { tokio::join!(consumer.turn(&told), pause).0 };
    within(Box::pin(turn)).await.unwrap();
    assert_eq!(consumer.turn(&told).await.unwrap(), Turn::Paused);
    assert_eq!(pair.state(state).await, "1 1");
    let resume = "update insurance_replica.consumers set mode = 'follow'";
    pair.insurance.execute(resume).await;
    pair.until(&mut consumer, state, "2 1").await;
}

#[tokio::test]
async fn a_copy_that_is_cancelled_before_its_first_page_is_not_begun() {
    let pair = Pair::new().await;
    let (mut consumer, told) = (pair.consumer(), CancellationToken::new());
    pair.caught_up(&mut consumer).await;
    // The order comes while a page is asked for, and its end before the next step.
    for (order, change) in [("snapshot", "ABC123"), ("follow", "DEF456")] {
        let order = format!("update insurance_replica.consumers set mode = '{order}'");
        pair.insurance.execute(&order).await;
        let change = format!(
            "update vehicle.vehicles set model = 'new' where registration_number = '{change}'"
        );
        pair.vehicle.execute(&change).await;
        consumer.turn(&told).await.unwrap();
    }
    pair.caught_up(&mut consumer).await;
    assert_eq!(pair.state("generations || mode").await, "1follow");
    pair.assert_equal().await;
}

/// The copy that is read lacks what it told until the other one is read.
#[tokio::test]
async fn a_letter_is_open_until_the_copy_of_another_log_is_read() {
    let pair = Pair::new().await;
    let mut consumer = pair.consumer();
    pair.caught_up(&mut consumer).await;
    pair.tell_nonsense("ABC123").await;
    pair.caught_up(&mut consumer).await;
    let other = "update vehicle_events.head set log_id = gen_random_uuid();
        update vehicle.vehicles set model = 'other' where registration_number = 'DEF456'";
    pair.vehicle.execute(other).await;
    let copied = "filling is not null and snapshot_at is null";
    pair.until(&mut consumer, copied, "true").await;
    let ahead = "update insurance_replica.consumers set caught_up_at = now() + interval '1 hour'";
    pair.insurance.execute(ahead).await;
    // More than one page, and a letter of the new log.
    pair.tell_nonsense("GHI789").await;
    let changes = "update vehicle.vehicles set model = 'new'
            where registration_number in ('ABC123', 'GHI789');
        insert into vehicle.vehicles (registration_number)
        select 'T' || n from generate_series(10000, 11499) n";
    pair.vehicle.execute(changes).await;
    let waiting = "select count(*)::text from vehicle_events.unplaced";
    within(async { while texts(&pair.vehicle, waiting).await != ["0"] {} }).await;
    let told = CancellationToken::new();
    let new = "select count(*)::text from insurance_replica.vehicles where model = 'new'";
    within(async {
        while texts(&pair.insurance, new).await != ["2"] {
            consumer.turn(&told).await.unwrap();
        }
    })
    .await;
    assert_eq!(pair.state(copied).await, "true");
    let open = ["ABC123", "GHI789"].map(|car| format!("{car} contract parked 0"));
    assert_eq!(pair.letters().await, open);
    pair.caught_up(&mut consumer).await;
    let closed = ["ABC123", "GHI789"].map(|car| format!("{car} contract resolved 0 superseded"));
    assert_eq!(pair.letters().await, closed);
    assert_eq!(pair.state("caught_up_at <= now()").await, "true");
}

/// The known version of it never comes.
#[tokio::test]
async fn a_letter_of_a_later_version_is_closed_by_the_copy_that_gets_the_car_later() {
    let events = [later(1, 1), later(2, 2), later(3, 3)];
    // The register has two cars.
    let vehicle = FakeVehicle::start(move |request| {
        if is_of_register(request) {
            return next_car(request, 2);
        }
        answer(request, &events, 3)
    });
    let vehicle = vehicle.await;
    let pair = Pair::on(&vehicle).await;
    let (mut consumer, told) = (pair.consumer(), CancellationToken::new());
    // It is begun, and a page has the first car.
    for _ in 0..2 {
        assert_eq!(consumer.turn(&told).await.unwrap(), Turn::Copied);
    }
    pass(Duration::from_millis(100)).await;
    pair.until(&mut consumer, "position", "3").await;
    let open = [2, 3].map(|car| format!("C00000{car} contract parked 0"));
    assert_eq!(pair.letters().await, open);
    pair.until(&mut consumer, "generation", "1").await;
    let [_, lacking] = open;
    let closed = "C000002 contract resolved 0 superseded".to_owned();
    assert_eq!(pair.letters().await, [closed, lacking]);
}

/// A rest after each look at the feed would make the copy of a large register last minutes.
#[tokio::test]
async fn pages_of_the_register_do_not_wait_for_events() {
    let pair = Pair::new().await;
    let many = "insert into vehicle.vehicles (registration_number)
        select 'AA' || chr(65 + it / 1000) || lpad((it % 1000)::text, 3, '0')
        from generate_series(0, 3999) as it";
    pair.vehicle.execute(many).await;
    let mut consumer = pair.consumer();
    pair.caught_up(&mut consumer).await;
    let order = "update insurance_replica.consumers set mode = 'snapshot'";
    pair.insurance.execute(order).await;
    pair.end_lease().await;
    let (mut consumer, told) = (pair.consumer(), CancellationToken::new());
    let mut looks = 0;
    loop {
        // A look at the feed is due.
        pass(Duration::from_millis(100)).await;
        match consumer.turn(&told).await.unwrap() {
            Turn::Followed { at_the_end, .. } if at_the_end => break,
            Turn::Followed { .. } => looks += 1,
            _ => {}
        }
    }
    assert_eq!(pair.state("generation").await, "2");
    assert!(looks > 2, "{looks}");
}
