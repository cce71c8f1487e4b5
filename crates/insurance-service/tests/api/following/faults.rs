//! Pages and events that cannot be taken as they are.

use insurance_service::TurnError;
use test_support::{FakeVehicle, Reply};
use tokio_util::sync::CancellationToken;
use vehicle_client::FeedError;

use super::{
    Pair, texts,
    told::{answer, event, later, telling, unreadable},
    within,
};

#[tokio::test]
async fn events_of_two_cars_that_cannot_be_read_stop_the_consumer() {
    let twice = [("ABC123", "ABC123"), ("ABC123", "DEF456")];
    for (index, (first, second)) in twice.into_iter().enumerate() {
        let events = [unreadable(1, first), unreadable(2, second)];
        let vehicle = FakeVehicle::start(telling(events.to_vec(), 2)).await;
        let pair = Pair::on(&vehicle).await;
        let (mut consumer, told) = (pair.consumer(), CancellationToken::new());
        let ends = ["2 follow", "1 paused unreadable_events"][index];
        let state = "concat_ws(' ', position, mode, last_error)";
        within(async {
            while pair.state(state).await != ends {
                consumer.turn(&told).await.unwrap();
            }
        })
        .await;
        let parked = ["ABC123 unreadable parked 0"; 2];
        assert_eq!(pair.letters().await, parked[index..]);
        let resume = "update insurance_replica.consumers set mode = 'follow', last_error = null";
        pair.insurance.execute(resume).await;
        pair.until(&mut consumer, state, "2 follow").await;
        let cars = [first, second].map(|car| format!("{car} unreadable parked 0"));
        assert_eq!(pair.letters().await, cars);
    }
}

#[tokio::test]
async fn a_page_that_breaks_its_contract_has_no_effect() {
    let event = "{\"sequence\":\"1\"}".to_owned();
    for (from, to) in [
        ("application/cloudevents-batch+json", "text/html"),
        ("log-id", "x-log-id"),
        ("log-position", "x-log-position"),
        ("next-event-id", "x-next-event-id"),
        ("[{", "{"),
    ] {
        let events = [event.clone()];
        let vehicle = FakeVehicle::start(move |request| match answer(request, &events, 1) {
            Reply::Answer(status, headers, body) if request.path.contains("events") => {
                let broken = headers.into_iter().map(|(name, value)| {
                    let name = if name == from { to } else { name };
                    (name, value.replace(from, to))
                });
                Reply::Answer(status, broken.collect(), body.replace(from, to))
            }
            reply => reply,
        });
        let vehicle = vehicle.await;
        let pair = Pair::on(&vehicle).await;
        let (mut consumer, told) = (pair.consumer(), CancellationToken::new());
        let error = within(async {
            loop {
                if let Err(error) = consumer.turn(&told).await {
                    return error;
                }
            }
        })
        .await;
        let broken = matches!(error, TurnError::Feed(FeedError::Contract(_)));
        assert!(broken, "{to}: {error:?}");
        assert_eq!(pair.state("position").await, "0", "{to}");
        assert_eq!(pair.letters().await, [""; 0], "{to}");
    }
}

#[tokio::test]
async fn a_bad_event_costs_no_call() {
    let told: Vec<_> = (1..=499)
        .map(|number| match number {
            100 => event(number, number).replace("registered", "inspected"),
            300 => unreadable(number, "C000300"),
            _ => event(number, number),
        })
        .collect();
    let vehicle = FakeVehicle::start(telling(told, 499)).await;
    let pair = Pair::on(&vehicle).await;
    let state = "concat_ws(' ', position, generation)";
    pair.until(&mut pair.consumer(), state, "499 1").await;
    let letters = ["C000100 contract parked 0", "C000300 unreadable parked 0"];
    assert_eq!(pair.letters().await, letters);
    let rows = "select count(*)::text from insurance_replica.vehicles";
    assert_eq!(texts(&pair.insurance, rows).await, ["497"]);
    let requests = vehicle.requests().into_iter();
    let pages = requests.filter(|it| it.path.contains("events"));
    // Alone is asked for only what has no id.
    assert_eq!(pages.count(), 3);
}

/// The known version tells the same, in the same page or in another one.
#[tokio::test]
async fn a_later_version_is_passed_over_only_beside_the_known_one() {
    let pages = [
        vec![event(1, 1)],
        vec![later(1, 2), later(4, 3), event(4, 4), later(6, 5)],
        vec![event(6, 6)],
    ];
    let alone = "C000006 contract parked 0";
    let closed = "C000006 contract resolved 0 superseded";
    let letters: [&[&str]; 3] = [&[], &[alone], &[closed]];
    let vehicle = FakeVehicle::start(telling(Vec::new(), 0)).await;
    let pair = Pair::on(&vehicle).await;
    let (mut consumer, mut told) = (pair.consumer(), Vec::new());
    for (page, letters) in pages.into_iter().zip(letters) {
        told.extend(page);
        let end = told.len();
        vehicle.script(telling(told.clone(), end));
        let state = "concat_ws(' ', position, generation)";
        pair.until(&mut consumer, state, &format!("{end} 1")).await;
        assert_eq!(pair.letters().await, letters);
    }
}

/// Neither is an event that the database refuses, and both may be the database's own trouble.
#[tokio::test]
async fn an_event_that_takes_too_long_or_ends_the_connection_is_put_aside_in_the_end() {
    for fault in [
        "raise exception 'no' using errcode = 'query_canceled'",
        "perform pg_terminate_backend(pg_backend_pid())",
    ] {
        let pair = Pair::new().await;
        let mut consumer = pair.consumer();
        pair.caught_up(&mut consumer).await;
        let fail = format!(
            "create function public.fail() returns trigger language plpgsql security definer as $$
             begin {fault}; return new; end $$;
             create trigger fail before insert or update on insurance_replica.vehicles
             for each row when (new.registration_number = 'DEF456') execute function public.fail()"
        );
        pair.insurance.execute(&fail).await;
        let change = "update vehicle.vehicles set model = 'new'";
        pair.vehicle.execute(change).await;
        let told = CancellationToken::new();
        within(async {
            while !pair.is_caught_up().await {
                // It is the pause's business that it is not tried without a rest.
                let _ = consumer.turn(&told).await;
            }
        })
        .await;
        assert_eq!(pair.letters().await, ["DEF456 effect retrying 1"]);
        let followed = "select count(*)::text from insurance_replica.vehicles where model = 'new'";
        let others = "select (count(*) - 1)::text from vehicle.vehicles";
        assert_eq!(
            texts(&pair.insurance, followed).await,
            texts(&pair.vehicle, others).await
        );
    }
}

#[tokio::test]
async fn pages_of_the_register_shrink_until_they_can_be_copied() {
    let pair = Pair::new().await;
    let load = "insert into vehicle.vehicles (registration_number)
        select 'T' || n from generate_series(10000, 11499) n";
    pair.vehicle.execute(load).await;
    let slow = "create function public.slow() returns trigger language plpgsql as $$
        begin
            if (select count(*) from told) > 300 then
                raise exception 'no' using errcode = 'query_canceled';
            end if;
            return null;
        end $$;
        create trigger slow after insert on insurance_replica.vehicles
        referencing new table as told for each statement execute function public.slow()";
    pair.insurance.execute(slow).await;
    let copied = "(filling is null and generation > 0)";
    pair.until(&mut pair.consumer(), copied, "true").await;
    pair.assert_equal().await;
}

#[tokio::test]
async fn a_page_whose_effect_is_there_already_has_none_again() {
    let pair = Pair::new().await;
    let mut first = pair.consumer();
    pair.caught_up(&mut first).await;
    pair.tell_nonsense("ABC123").await;
    pair.end_lease().await;
    pair.caught_up(&mut pair.consumer()).await;
    assert_eq!(pair.letters().await, ["ABC123 contract parked 0"]);
    // As if it had been a commit of the first one whose answer was lost.
    let of_the_first =
        "update insurance.workers set fence = fence - 1 where worker = 'vehicle_replica';
        update insurance_replica.dead_letters set status = 'discarded', closed_at = now()";
    pair.insurance.execute(of_the_first).await;
    first.turn(&CancellationToken::new()).await.unwrap();
    assert_eq!(pair.letters().await, ["ABC123 contract discarded 0"]);
}
