//! The places of events: what comes after the last event that was read has the next one.

use insurance_service::{Turn, TurnError};
use test_support::{FakeVehicle, Gate, Reply};
use tokio_util::sync::CancellationToken;
use vehicle_client::FeedError;

use super::{
    Pair,
    told::{answer, events, id, telling},
    within,
};

const STATE: &str = "concat_ws(' ', position, generation, filling)";

#[tokio::test]
async fn a_log_that_lost_some_of_its_end_is_another_one() {
    for (places, end) in [
        (&[1, 2, 3][..], 2),
        (&[1, 2, 3], 4),
        (&[1, 2, 3, 3], 4),
        (&[1, 2, 3, 2], 4),
        (&[1, 2, 3, 5], 5),
    ] {
        let vehicle = FakeVehicle::start(telling(events(&[1, 2, 3]), 3)).await;
        let pair = Pair::on(&vehicle).await;
        let (mut consumer, told) = (pair.consumer(), CancellationToken::new());
        pair.until(&mut consumer, STATE, "3 1").await;
        vehicle.script(telling(events(places), end));
        let turn = consumer.turn(&told).await.unwrap();
        assert_eq!(turn, Turn::Lost, "{places:?} {end}");
        assert_eq!(pair.state(STATE).await, "0 1 2");
        vehicle.script(telling(events(&[1, 2, 3, 4]), 4));
        pair.until(&mut consumer, STATE, "4 2").await;
    }
}

#[tokio::test]
async fn a_page_beyond_the_end_has_no_effect_and_one_ends_before_a_gap() {
    for (places, end) in [([4, 5], 4), ([4, 4], 5), ([4, 6], 6)] {
        let vehicle = FakeVehicle::start(telling(events(&[1, 2, 3]), 3)).await;
        let pair = Pair::on(&vehicle).await;
        let (mut consumer, told) = (pair.consumer(), CancellationToken::new());
        pair.until(&mut consumer, STATE, "3 1").await;
        let places = [&[1, 2, 3], &places[..]].concat();
        vehicle.script(telling(events(&places), end));
        if end > 4 {
            let turn = consumer.turn(&told).await.unwrap();
            assert!(matches!(turn, Turn::Followed { events: 1, .. }), "{turn:?}");
            assert_eq!(pair.state(STATE).await, "4 1");
            assert_eq!(consumer.turn(&told).await.unwrap(), Turn::Lost);
            continue;
        }
        let error = consumer.turn(&told).await.unwrap_err();
        let broken = matches!(error, TurnError::Feed(FeedError::Contract(_)));
        assert!(broken, "{places:?} {end}: {error:?}");
        assert_eq!(pair.state(STATE).await, "3 1");
        assert_eq!(pair.letters().await, [""; 0]);
    }
}

/// The rest after it and the next page take longer together than a lease.
#[tokio::test]
async fn the_lease_is_renewed_after_the_rest_that_another_log_makes() {
    let vehicle = FakeVehicle::start(telling(events(&[1, 2, 3]), 3)).await;
    let pair = Pair::on(&vehicle).await;
    let (mut consumer, told) = (pair.consumer(), CancellationToken::new());
    pair.until(&mut consumer, STATE, "3 1").await;
    vehicle.script(telling(events(&[1, 2]), 2));
    assert_eq!(consumer.turn(&told).await.unwrap(), Turn::Lost);
    pair.end_lease().await;
    // While it asks for a page of the register.
    let (gate, asked) = (Gate::closed(), vehicle.calls());
    let held = gate.clone();
    vehicle.script(move |request| answer(request, &events(&[1, 2]), 2).held(&held));
    let other = async {
        vehicle.reached(asked + 1).await;
        let turn = pair.consumer().turn(&told).await;
        gate.open();
        turn.unwrap()
    };
    let both = async { tokio::join!(consumer.turn(&told), other) };
    let (turn, other) = within(Box::pin(both)).await;
    assert_eq!((turn.unwrap(), other), (Turn::Copied, Turn::Leased));
}

/// An older Vehicle does not say it.
#[tokio::test]
async fn the_register_says_which_place_its_events_are_followed_from() {
    for (said, followed) in [(Some("2"), false), (Some("3"), true), (None, true)] {
        let places = events(&[1, 2, 3, 4]);
        let vehicle = FakeVehicle::start(move |request| match answer(request, &places, 4) {
            Reply::Answer(status, mut headers, body) if request.path.contains("vehicles") => {
                headers.retain(|(name, _)| *name != "log-position");
                headers.extend(said.map(|said| ("log-position", said.to_owned())));
                headers.push(("feed-position", id(3)));
                Reply::Answer(status, headers, body)
            }
            reply => reply,
        });
        let vehicle = vehicle.await;
        let pair = Pair::on(&vehicle).await;
        let (mut consumer, told) = (pair.consumer(), CancellationToken::new());
        let lost = within(async {
            loop {
                match consumer.turn(&told).await.unwrap() {
                    Turn::Lost => return true,
                    Turn::Followed { events: 1, .. } => return false,
                    _ => {}
                }
            }
        })
        .await;
        assert_eq!(lost, !followed, "{said:?}");
        assert_eq!(pair.state("position").await == "4", followed, "{said:?}");
    }
}
