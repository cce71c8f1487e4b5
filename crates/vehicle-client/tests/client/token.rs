//! What Vehicle knows us by, where it is a token and no key.

use std::time::Duration;

use test_support::{FakeVehicle, Issuer, Lie, Reply};
use tokio::{
    task::JoinSet,
    time::{Instant, advance, pause, resume, sleep, timeout},
};
use vehicle_client::{BreakerPhase, FailureKind, Feed, FeedError, FeedStart, Options, Strategy};

use crate::setup::{BREAKER, Client, client, found, kind, many, patient, unhurried};

/// Options for tokens of this issuer, which live for 100 s.
fn with_tokens(fake: &FakeVehicle, issuer: &Issuer) -> Options {
    let mut options = patient(fake);
    options.token = settings::parse(
        "vehicle_client.token",
        &format!(
            "url = \"{}/token\"\nclient_id = \"insurance\"\nclient_secret = \"of-a-test\"",
            issuer.url()
        ),
    )
    .unwrap();
    options
}

/// Lets so much time pass at once.
async fn pass(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

/// The credentials that Vehicle saw, in their order.
fn seen(fake: &FakeVehicle) -> Vec<String> {
    let requests = fake.requests().into_iter();
    let of = |request: test_support::Request| {
        assert_eq!(request.header("x-api-key"), None);
        request.header("authorization").unwrap().to_owned()
    };
    requests.map(of).collect()
}

async fn ask(client: &Client) -> vehicle_client::Lookup {
    client.one("ABC123", &unhurried()).await
}

#[tokio::test]
async fn a_hundred_callers_make_one_request_for_a_token_which_all_calls_have() {
    let (fake, issuer) = (FakeVehicle::healthy().await, Issuer::start().await);
    let client = client(&with_tokens(&fake, &issuer));
    let mut callers = JoinSet::new();
    for number in many("AB", 100) {
        let vehicles = client.vehicles.clone();
        callers.spawn(async move {
            let (numbers, context) = ([number], unhurried());
            let found = vehicles.look_up(&numbers, Strategy::Single, &context).await;
            found.into_values().next().unwrap()
        });
    }
    for lookup in callers.join_all().await {
        found(&lookup);
    }
    assert_eq!(issuer.grants(), 1);
    assert_eq!(seen(&fake), vec!["Bearer granted-1"; 100]);
}

#[tokio::test]
async fn a_token_is_renewed_behind_at_four_fifths_of_its_life() {
    let (fake, issuer) = (FakeVehicle::healthy().await, Issuer::start().await);
    let client = client(&with_tokens(&fake, &issuer));
    found(&ask(&client).await);
    pass(Duration::from_secs(79)).await;
    found(&ask(&client).await);
    assert_eq!(issuer.grants(), 1);
    pass(Duration::from_secs(2)).await;
    // Nobody waits for the new one.
    found(&ask(&client).await);
    let renewed = async {
        while issuer.grants() < 2 {
            sleep(Duration::from_millis(1)).await;
        }
        while seen(&fake).last().unwrap() != "Bearer granted-2" {
            ask(&client).await;
        }
    };
    timeout(Duration::from_secs(30), renewed).await.unwrap();
    assert_eq!(issuer.grants(), 2);
    assert_eq!(seen(&fake)[..3], ["Bearer granted-1"; 3]);
}

#[tokio::test]
async fn without_a_token_no_call_is_made_and_the_breaker_learns_nothing() {
    let (fake, issuer) = (FakeVehicle::healthy().await, Issuer::start().await);
    issuer.lie(Lie::Status);
    let mut options = with_tokens(&fake, &issuer);
    options.breaker = BREAKER;
    options.breaker.minimum_calls = 1;
    let client = client(&options);
    let begun = Instant::now();
    for _ in 0..50 {
        assert_eq!(kind(&ask(&client).await), FailureKind::Unauthorized);
    }
    assert_eq!(fake.calls(), 0);
    let most = 1 + begun.elapsed().as_secs();
    assert!(issuer.grants() as u64 <= most, "once a second at most");
    let state = client.vehicles.guard_state();
    assert_eq!(state.breaker.phase, BreakerPhase::Closed);
    assert_eq!(client.attempts(), 0);
    issuer.lie(None);
    pass(Duration::from_secs(1)).await;
    found(&ask(&client).await);
}

#[tokio::test]
async fn a_token_that_vehicle_refuses_is_dropped_and_another_one_asked_with_once() {
    let (fake, issuer) = (FakeVehicle::healthy().await, Issuer::start().await);
    let client = client(&with_tokens(&fake, &issuer));
    fake.script(|request| match request.header("authorization") {
        Some("Bearer granted-1") => Reply::status(401),
        _ => Reply::healthy(request),
    });
    found(&ask(&client).await);
    assert_eq!(seen(&fake), ["Bearer granted-1", "Bearer granted-2"]);
    // A new one that is refused as well is kept: its issuer cannot help.
    fake.script(|_| Reply::status(401));
    for _ in 0..5 {
        assert_eq!(kind(&ask(&client).await), FailureKind::Unauthorized);
    }
    assert_eq!((fake.calls(), issuer.grants()), (7, 2));
}

#[tokio::test]
async fn another_token_is_paid_from_the_retry_budget_and_none_is_asked_for_after_403() {
    let (fake, issuer) = (FakeVehicle::healthy().await, Issuer::start().await);
    fake.script(|_| Reply::status(403));
    let options = with_tokens(&fake, &issuer);
    let lookup = ask(&client(&options)).await;
    assert_eq!(kind(&lookup), FailureKind::Unauthorized);
    assert_eq!((fake.calls(), issuer.grants()), (1, 1));

    fake.script(|_| Reply::status(401));
    let mut poor = options;
    poor.retry_budget.retries_per_second = 0.0;
    let lookup = ask(&client(&poor)).await;
    assert_eq!(kind(&lookup), FailureKind::Unauthorized);
    assert_eq!((fake.calls(), issuer.grants()), (2, 2));
}

#[tokio::test]
async fn the_feed_is_read_with_a_token_and_the_next_page_with_another_after_401() {
    let (fake, issuer) = (FakeVehicle::healthy().await, Issuer::start().await);
    fake.script(|_| Reply::status(401));
    let feed = Feed::new(&with_tokens(&fake, &issuer), "threadpilot-test/1").unwrap();
    for _ in 0..2 {
        let page = feed.events(&FeedStart::Beginning, 1, Duration::ZERO).await;
        assert_eq!(page.unwrap_err(), FeedError::Unauthorized);
    }
    assert_eq!(seen(&fake), ["Bearer granted-1", "Bearer granted-2"]);
}
