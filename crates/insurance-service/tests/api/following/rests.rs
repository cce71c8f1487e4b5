//! What is tried again only after a rest, and what goes on meanwhile.

use std::time::Duration;

use insurance_service::{Turn, TurnError};
use test_support::{FakeVehicle, Reply, Request, until};
use tokio::time::{Instant, advance, pause, resume};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;
use vehicle_client::FeedError;

use super::{
    Pair,
    service::until_ready_says,
    texts,
    told::{answer, event, events, is_of_register, next_car, telling},
    within,
};
use crate::api::{capture::Capture, real_vehicle::insurance_on};

const LAST_ERROR: &str = "coalesce(last_error, 'none')";
const SNAPSHOT: &str = "update insurance_replica.consumers set mode = 'snapshot'";
const ENABLED: [(&str, &str); 1] = [("REPLICA__ENABLED", "true")];

/// Later, by the clock of the process.
pub(super) async fn pass(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

fn asked_of_register(vehicle: &FakeVehicle) -> usize {
    let requests = vehicle.requests();
    requests.iter().filter(|it| is_of_register(it)).count()
}

#[tokio::test]
async fn vehicle_is_asked_when_it_said_and_meanwhile_the_lease_is_kept_and_letters_are_tried() {
    let vehicle = FakeVehicle::start(telling(events(&[1]), 1)).await;
    let pair = Pair::on(&vehicle).await;
    let (mut consumer, told) = (pair.consumer(), CancellationToken::new());
    let state = "concat_ws(' ', position, generation)";
    pair.until(&mut consumer, state, "1 1").await;
    vehicle.script(|_| Reply::with_header(503, "retry-after", "60"));
    // After the last look for letters.
    pass(Duration::from_secs(1)).await;
    let letter = |number| {
        format!(
            "insert into insurance_replica.dead_letters
                 (dead_letter_id, consumer, event_id, position, registration_number, reason, detail,
                  event, attempts, status, next_try_at)
             values (gen_random_uuid(), 'vehicle_replica', gen_random_uuid(), {number},
                 'C{number:06}', 'effect', '', '{}', 1, 'retrying', now())",
            event(number, number)
        )
    };
    pair.insurance.execute(&letter(7)).await;
    let error = consumer.turn(&told).await.unwrap_err();
    let busy = matches!(error, TurnError::Feed(FeedError::Busy { .. }));
    assert!(busy, "{error:?}");
    assert_eq!(pair.letters().await, ["C000007 effect resolved 2 applied"]);
    let asked = vehicle.calls();
    pass(Duration::from_secs(50)).await;
    pair.insurance.execute(&letter(8)).await;
    pair.end_lease().await;
    assert_eq!(consumer.turn(&told).await.unwrap(), Turn::Resting);
    let applied = [7, 8].map(|car| format!("C00000{car} effect resolved 2 applied"));
    assert_eq!(pair.letters().await, applied);
    let other = pair.consumer().turn(&told).await.unwrap();
    assert_eq!((other, vehicle.calls()), (Turn::Leased, asked));
    vehicle.script(telling(events(&[1, 2]), 2));
    pass(Duration::from_secs(11)).await;
    pair.until(&mut consumer, state, "2 1").await;
}

#[tokio::test]
async fn a_register_that_says_when_to_ask_it_again_holds_up_no_event() {
    let vehicle = FakeVehicle::start(telling(events(&[1]), 1)).await;
    let pair = Pair::on(&vehicle).await;
    let state = "concat_ws(' ', position, generation)";
    pair.until(&mut pair.consumer(), state, "1 1").await;
    pair.insurance.execute(SNAPSHOT).await;
    pair.end_lease().await;
    let page = events(&[1, 2]);
    vehicle.script(move |request| {
        if is_of_register(request) {
            return Reply::with_header(503, "retry-after", "60");
        }
        answer(request, &page, 2)
    });
    let before = asked_of_register(&vehicle);
    let (mut consumer, told) = (pair.consumer(), CancellationToken::new());
    assert_eq!(consumer.turn(&told).await.unwrap(), Turn::Copied);
    let error = consumer.turn(&told).await.unwrap_err();
    let busy = matches!(error, TurnError::Feed(FeedError::Busy { .. }));
    assert!(busy, "{error:?}");
    for (passed, events) in [(0, 1), (50, 0)] {
        pass(Duration::from_secs(passed)).await;
        let at_the_end = true;
        let followed = Turn::Followed { events, at_the_end };
        assert_eq!(consumer.turn(&told).await.unwrap(), followed);
    }
    assert_eq!(asked_of_register(&vehicle), before + 1);
    pass(Duration::from_secs(11)).await;
    consumer.turn(&told).await.unwrap_err();
    assert_eq!(asked_of_register(&vehicle), before + 2);
}

/// Has the copy that is filled refuse a car, and counts how often it was tried.
const REFUSE: &str = "create sequence public.tries;
    create function public.refuse() returns trigger language plpgsql security definer as $$
    begin perform nextval('public.tries'); raise exception 'no'; end $$;
    create trigger refuse before insert on insurance_replica.vehicles
    for each row when (new.generation > 1 and new.registration_number = 'ABC123')
    execute function public.refuse()";

#[tokio::test]
async fn a_page_of_the_register_that_fails_rests_while_events_are_followed() {
    let pair = Pair::new().await;
    let (mut consumer, told) = (pair.consumer(), CancellationToken::new());
    pair.caught_up(&mut consumer).await;
    pair.insurance.execute(REFUSE).await;
    pair.insurance.execute(SNAPSHOT).await;
    pair.end_lease().await;
    let mut consumer = pair.consumer();
    let tries = "select last_value::text from public.tries";
    let mut began = Instant::now();
    for failure in 1..=6 {
        began = Instant::now();
        let failing = async { while consumer.turn(&told).await.is_ok() {} };
        within(failing).await;
        assert_eq!(texts(&pair.insurance, tries).await, [failure.to_string()]);
        if failure < 6 {
            pass(Duration::from_secs(5)).await;
        }
    }
    let change = "update vehicle.vehicles set model = 'new' where registration_number = 'DEF456'";
    pair.vehicle.execute(change).await;
    let followed = "select count(*)::text from insurance_replica.vehicles where model = 'new'";
    let follow = async {
        while texts(&pair.insurance, followed).await == ["0"] {
            let _ = consumer.turn(&told).await;
        }
    };
    within(follow).await;
    // One more for each rest that was over before the event was there.
    let most = 6 + began.elapsed().as_secs() / 5;
    let made: u64 = texts(&pair.insurance, tries).await[0].parse().unwrap();
    assert!(made <= most, "{made} of {most}");
}

/// The feed fails, and the register has no end.
fn failing_feed(request: &Request) -> Reply {
    if is_of_register(request) {
        return next_car(request, usize::MAX);
    }
    Reply::status(500)
}

#[tokio::test]
async fn a_feed_that_fails_rests_while_the_register_is_copied() {
    let vehicle = FakeVehicle::start(failing_feed).await;
    let pair = Pair::on(&vehicle).await;
    let (mut consumer, told) = (pair.consumer(), CancellationToken::new());
    let (began, mut failures) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(10) {
        // Between two looks at the feed where nothing fails.
        pass(Duration::from_millis(100)).await;
        match consumer.turn(&told).await {
            Ok(turn) => assert_eq!(turn, Turn::Copied),
            Err(_) => failures += 1,
        }
    }
    // With rests of 0.25, 0.5, 1, 2 and 4 s.
    assert!((3..=6).contains(&failures), "{failures}");
}

#[tokio::test]
async fn what_fails_of_the_feed_is_told_while_the_register_is_copied() {
    let vehicle = FakeVehicle::start(failing_feed).await;
    let pair = Pair::on(&vehicle).await;
    let api = insurance_on(&pair.insurance, &pair.url, &ENABLED);
    until_ready_says(&api, "snapshot: server_error").await;
    for _ in 0..3 {
        let copied = pair.state("filled").await;
        within(async { while pair.state("filled").await == copied {} }).await;
        assert_eq!(pair.state(LAST_ERROR).await, "server_error");
    }
    // The log has no event.
    vehicle.script(telling(Vec::new(), 0));
    let mended = async { while pair.state("generation").await == "0" {} };
    within(mended).await;
    assert_eq!(pair.state(LAST_ERROR).await, "none");
}

#[tokio::test]
async fn what_fails_is_told_until_it_goes_well() {
    let pair = Pair::new().await;
    pair.caught_up(&mut pair.consumer()).await;
    pair.insurance.execute(REFUSE).await;
    pair.insurance.execute(SNAPSHOT).await;
    pair.end_lease().await;
    let api = insurance_on(&pair.insurance, &pair.url, &ENABLED);
    until_ready_says(&api, "snapshot: database_failed").await;
    for model in 1..=3 {
        let change = format!(
            "update vehicle.vehicles set model = '{model}' where registration_number = 'DEF456'"
        );
        pair.vehicle.execute(&change).await;
        let followed = format!(
            "select count(*)::text from insurance_replica.vehicles
             where generation = 1 and model = '{model}'"
        );
        within(async { while texts(&pair.insurance, &followed).await == ["0"] {} }).await;
        assert_eq!(pair.state(LAST_ERROR).await, "database_failed");
    }
    let mend = "drop trigger refuse on insurance_replica.vehicles";
    pair.insurance.execute(mend).await;
    within(async { while !pair.is_caught_up().await {} }).await;
    assert_eq!(pair.state(LAST_ERROR).await, "none");
    assert_eq!(pair.state("generation").await, "2");
}

#[tokio::test]
async fn what_failed_of_a_copy_that_was_given_up_hides_no_failure_of_the_next_one() {
    let (capture, _guard) = Capture::start(LevelFilter::INFO);
    let pair = Pair::new().await;
    pair.caught_up(&mut pair.consumer()).await;
    pair.insurance.execute(REFUSE).await;
    pair.insurance.execute(SNAPSHOT).await;
    pair.end_lease().await;
    let _api = insurance_on(&pair.insurance, &pair.url, &ENABLED);
    let said = async |what: &str, times| {
        until(async || (capture.lines_with(&[what]) == times).then_some(())).await;
    };
    let (failing, well) = ("cars is not kept", "cars is kept again");
    said(failing, 1).await;
    // Cancelled, taken over by another process, and of a log that is lost.
    let cancel = "update insurance_replica.consumers
        set filling = null, snapshot_at = null, mode = 'follow'";
    let overtake = "update insurance.workers set fence = fence + 1, leased_until = 'infinity'
        where worker = 'vehicle_replica'";
    let lose = "update vehicle_events.head set log_id = gen_random_uuid()";
    for (given_up, (database, end)) in (1..).zip([
        (&pair.insurance, cancel),
        (&pair.insurance, overtake),
        (&pair.vehicle, lose),
    ]) {
        database.execute(end).await;
        said(well, given_up).await;
        if end == cancel {
            pair.insurance.execute(SNAPSHOT).await;
        }
        pair.end_lease().await;
        said(failing, given_up + 1).await;
    }
}

#[tokio::test]
async fn a_page_that_is_refused_is_told() {
    let vehicle = FakeVehicle::start(telling(events(&[1, 2, 3]), 2)).await;
    let pair = Pair::on(&vehicle).await;
    let _api = insurance_on(&pair.insurance, &pair.url, &ENABLED);
    let told = async { while pair.state(LAST_ERROR).await != "contract_violation" {} };
    within(told).await;
    assert_eq!(pair.state("position").await, "0");
}
