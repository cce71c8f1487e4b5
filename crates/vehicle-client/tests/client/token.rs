//! What Vehicle knows us by, where it is a token and no key.

use std::time::Duration;

use access_tokens::NoToken;
use serde_json::json;
use settings::Quantity;
use test_support::{FakeVehicle, Gate, Issuer, Lie, Reply};
use tokio::{
    task::JoinSet,
    time::{Instant, advance, pause, resume, sleep, timeout},
};
use vehicle_client::{BreakerPhase, FailureKind, Feed, FeedError, FeedStart, Options, Strategy};

use crate::setup::{BREAKER, Client, client, found, kind, many, patient, unhurried, within};

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

/// From one request to an issuer that gives no token to the next.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Lets so much time pass at once.
async fn pass(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

/// Waits until something holds.
async fn until(holds: impl Fn() -> bool) {
    test_support::until(async || holds().then_some(())).await;
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

/// Looks up so many cars at once, each by a call of its own.
async fn found_at_once(client: &Client, count: usize) {
    let mut callers = JoinSet::new();
    for number in many("AB", count) {
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
}

#[tokio::test]
async fn a_hundred_callers_make_one_request_for_a_token_which_all_calls_have() {
    let (fake, issuer) = (FakeVehicle::healthy().await, Issuer::start().await);
    let client = client(&with_tokens(&fake, &issuer));
    found_at_once(&client, 100).await;
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
    pass(LONGEST_PAUSE).await;
    found(&ask(&client).await);
}

#[tokio::test]
async fn a_token_that_vehicle_refuses_is_dropped_and_another_one_asked_with_once() {
    let (fake, issuer) = (FakeVehicle::healthy().await, Issuer::start().await);
    let mut options = with_tokens(&fake, &issuer);
    options.breaker = BREAKER;
    options.breaker.minimum_calls = 1;
    let client = client(&options);
    fake.script(|request| match request.header("authorization") {
        Some("Bearer granted-1") => Reply::status(401),
        _ => Reply::healthy(request),
    });
    found(&ask(&client).await);
    assert_eq!(seen(&fake), ["Bearer granted-1", "Bearer granted-2"]);
    let ended = |outcome| {
        let labels = [("outcome", outcome)];
        client.metric("vehicle_client_attempts_total", &labels)
    };
    // What another token mends pages nobody.
    assert_eq!((ended("token_refused"), ended("unauthorized")), (1, 0));
    // A new one that is refused as well is kept: its issuer cannot help.
    fake.script(|_| Reply::status(401));
    for _ in 0..5 {
        assert_eq!(kind(&ask(&client).await), FailureKind::Unauthorized);
    }
    assert_eq!((fake.calls(), issuer.grants()), (7, 2));
    assert_eq!((ended("token_refused"), ended("unauthorized")), (1, 5));
    let state = client.vehicles.guard_state();
    assert_eq!(state.breaker.phase, BreakerPhase::Closed);
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
    let options = with_tokens(&fake, &issuer);
    let token = client(&options).vehicles.token();
    let feed = Feed::new(&options, "threadpilot-test/1", token).unwrap();
    for _ in 0..2 {
        let page = feed.events(&FeedStart::Beginning, 1, Duration::ZERO).await;
        assert_eq!(page.unwrap_err(), FeedError::Unauthorized);
    }
    assert_eq!(seen(&fake), ["Bearer granted-1", "Bearer granted-2"]);
}

#[tokio::test]
async fn the_feed_keeps_a_token_after_403_and_asks_nothing_without_one() {
    let (fake, issuer) = (FakeVehicle::healthy().await, Issuer::start().await);
    let options = with_tokens(&fake, &issuer);
    let token = client(&options).vehicles.token();
    let feed = Feed::new(&options, "threadpilot-test/1", token).unwrap();
    let ask = async || {
        let page = feed.events(&FeedStart::Beginning, 1, Duration::ZERO).await;
        page.unwrap_err()
    };
    issuer.lie(Lie::Status);
    assert_eq!(ask().await, FeedError::NoToken(NoToken));
    assert_eq!(fake.calls(), 0);
    issuer.lie(None);
    pass(Duration::from_secs(1)).await;
    fake.script(|_| Reply::status(403));
    for _ in 0..2 {
        assert_eq!(ask().await, FeedError::Unauthorized);
    }
    assert_eq!(seen(&fake), ["Bearer granted-2"; 2]);
}

#[tokio::test]
async fn the_feed_has_the_token_of_the_lookups() {
    let (fake, issuer) = (FakeVehicle::healthy().await, Issuer::start().await);
    let options = with_tokens(&fake, &issuer);
    let client = client(&options);
    found(&ask(&client).await);
    let feed = Feed::new(&options, "threadpilot-test/1", client.vehicles.token()).unwrap();
    // No page that the fake has.
    let _ = feed.events(&FeedStart::Beginning, 1, Duration::ZERO).await;
    assert_eq!(seen(&fake), ["Bearer granted-1"; 2]);
    assert_eq!(issuer.grants(), 1);
}

#[tokio::test]
async fn the_issuer_is_asked_with_client_credentials_by_http_basic() {
    let (fake, issuer) = (FakeVehicle::healthy().await, Issuer::start().await);
    let mut options = with_tokens(&fake, &issuer);
    options.token.client_id = "insurance:of/åland".to_owned();
    options.token.resource = "urn:vehicle".to_owned();
    options.token.audience = "vehicle & co".to_owned();
    found(&ask(&client(&options)).await);
    let asked = issuer.asked();
    let [(credentials, form)] = &asked[..] else {
        panic!("{asked:?}");
    };
    // RFC 6749, 2.3.1: each half is encoded, so that the first colon parts them.
    assert_eq!(credentials, "insurance%3Aof%2F%C3%A5land:of-a-test");
    assert_eq!(
        form,
        "grant_type=client_credentials&scope=read&resource=urn%3Avehicle&audience=vehicle+%26+co"
    );
}

#[tokio::test]
async fn what_is_no_bearer_token_is_none_and_no_redirect_is_followed_with_the_secret() {
    let (fake, issuer) = (FakeVehicle::healthy().await, Issuer::start().await);
    let client = client(&with_tokens(&fake, &issuer));
    let grants = [
        json!({ "token_type": "DPoP", "expires_in": 100 }),
        json!({ "expires_in": 100 }),
    ];
    for (asked, grant) in grants.into_iter().enumerate() {
        issuer.grant(grant);
        assert_eq!(kind(&ask(&client).await), FailureKind::Unauthorized);
        assert_eq!(issuer.grants(), asked + 1);
        pass(LONGEST_PAUSE).await;
    }
    issuer.lie(Lie::Redirect);
    assert_eq!(kind(&ask(&client).await), FailureKind::Unauthorized);
    assert_eq!((issuer.grants(), fake.calls()), (3, 0));
    let outcome = |outcome| client.metric("token_grants_total", &[("outcome", outcome)]);
    let told = ["no_bearer", "invalid", "status"].map(outcome);
    assert_eq!(told, [1, 1, 1]);
}

#[tokio::test]
async fn a_life_that_makes_no_sense_costs_one_request_for_all_who_wait() {
    for life in [json!(0), json!(u64::MAX)] {
        let (fake, issuer) = (FakeVehicle::healthy().await, Issuer::start().await);
        issuer.grant(json!({ "token_type": "Bearer", "expires_in": life }));
        let client = client(&with_tokens(&fake, &issuer));
        found_at_once(&client, 20).await;
        assert_eq!(issuer.grants(), 1, "{life}");
    }
}

#[tokio::test]
async fn a_renewal_that_fails_leaves_the_token_that_is_there() {
    let (fake, issuer) = (FakeVehicle::healthy().await, Issuer::start().await);
    let client = client(&with_tokens(&fake, &issuer));
    found(&ask(&client).await);
    issuer.lie(Lie::Status);
    pass(Duration::from_secs(81)).await;
    found(&ask(&client).await);
    until(|| issuer.grants() >= 2).await;
    let begun = Instant::now();
    for _ in 0..20 {
        found(&ask(&client).await);
    }
    assert_eq!(seen(&fake), ["Bearer granted-1"; 22]);
    let most = 2 + begun.elapsed().as_secs();
    assert!(issuer.grants() as u64 <= most, "once a second at most");
}

#[tokio::test]
async fn a_refusal_waits_for_no_issuer_and_is_no_timeout() {
    let (fake, issuer) = (FakeVehicle::healthy().await, Issuer::start().await);
    let mut options = with_tokens(&fake, &issuer);
    // Less than a request to the issuer may take.
    options.attempt_timeout = Duration::from_secs(2);
    let client = client(&options);
    found(&ask(&client).await);
    // The renewal behind hangs from here on.
    issuer.lie(Lie::Slow);
    pass(Duration::from_secs(81)).await;
    found(&ask(&client).await);
    until(|| issuer.grants() >= 2).await;
    fake.script(|_| Reply::status(401));
    let asking = tokio::spawn({
        let client = client.clone();
        async move { ask(&client).await }
    });
    let ended = |outcome| {
        let labels = [("outcome", outcome)];
        client.metric("vehicle_client_attempts_total", &labels)
    };
    until(|| ended("token_refused") + ended("timeout") == 1).await;
    assert_eq!(ended("token_refused"), 1);
    assert_eq!(client.vehicles.guard_state().single.in_flight, 0);
    asking.abort();
}

#[tokio::test]
async fn whose_time_ends_while_the_issuer_is_asked_is_not_told_that_vehicle_was_slow() {
    let (fake, issuer) = (FakeVehicle::healthy().await, Issuer::start().await);
    issuer.lie(Lie::Slow);
    let client = client(&with_tokens(&fake, &issuer));
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.one("ABC123", &within(Duration::from_secs(2))).await }
    });
    until(|| issuer.grants() >= 1).await;
    pass(Duration::from_secs(2)).await;
    assert_eq!(kind(&asking.await.unwrap()), FailureKind::Unauthorized);
    assert_eq!(fake.calls(), 0);
}

#[tokio::test]
async fn who_waits_for_a_token_holds_no_permit() {
    let (fake, issuer) = (FakeVehicle::healthy().await, Issuer::start().await);
    issuer.lie(Lie::Slow);
    let client = client(&with_tokens(&fake, &issuer));
    let asking = tokio::spawn({
        let client = client.clone();
        async move { ask(&client).await }
    });
    until(|| issuer.grants() >= 1).await;
    let single = client.vehicles.guard_state().single;
    assert_eq!((single.in_flight, single.waiting), (0, 0));
    asking.abort();
}

#[tokio::test]
async fn a_token_that_was_renewed_meanwhile_is_no_reason_for_another_attempt() {
    let (fake, issuer) = (FakeVehicle::healthy().await, Issuer::start().await);
    let client = client(&with_tokens(&fake, &issuer));
    found(&ask(&client).await);
    pass(Duration::from_secs(81)).await;
    // A lasting failure that comes when the next token is there.
    let gate = Gate::closed();
    let held = gate.clone();
    fake.script(move |_| Reply::status(500).held(&held));
    let asking = tokio::spawn({
        let client = client.clone();
        async move { ask(&client).await }
    });
    fake.reached(2).await;
    let token = client.vehicles.token().unwrap();
    while token.get().await.unwrap().header() != "Bearer granted-2" {
        sleep(Duration::from_millis(1)).await;
    }
    gate.open();
    assert_eq!(kind(&asking.await.unwrap()), FailureKind::ServerError);
    assert_eq!((fake.calls(), issuer.grants()), (2, 2));
}

#[tokio::test]
async fn a_retry_that_no_token_can_be_had_for_goes_back_to_the_budget() {
    let (fake, issuer) = (FakeVehicle::healthy().await, Issuer::start().await);
    let mut options = with_tokens(&fake, &issuer);
    options.retry_budget.retries_per_second = 0.0;
    let client = client(&options);
    // Pays for one retry.
    found(&ask(&client).await);
    issuer.lie(Lie::Status);
    fake.script(|_| Reply::status(401));
    assert_eq!(kind(&ask(&client).await), FailureKind::Unauthorized);
    assert_eq!((fake.calls(), issuer.grants()), (2, 2));
    assert!(client.vehicles.guard_state().retries_left >= 1.0);
}

#[tokio::test]
async fn the_longest_lookup_has_a_wait_for_a_token_before_each_attempt() {
    let (fake, issuer) = (FakeVehicle::healthy().await, Issuer::start().await);
    let longest = |options: &Options| {
        let mut figures = options
            .worst_case(Duration::from_hours(1), false)
            .into_iter();
        let figure = figures.find(|it| it.name == "longest_lookup").unwrap();
        match figure.quantity {
            Quantity::Duration(longest) => longest,
            other => panic!("{other:?}"),
        }
    };
    let with_a_key = longest(&patient(&fake));
    let with_a_token = longest(&with_tokens(&fake, &issuer));
    assert_eq!(with_a_token, with_a_key + 2 * Duration::from_secs(5));
}
