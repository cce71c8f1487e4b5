use std::time::Duration;

use access_tokens::{KeysState, Refused};
use serde_json::json;
use test_support::{Issuer, Lie, SigningKey};
use tokio::time::Instant;

use super::{COOLDOWN, pass, tokens, until};

const REFRESH: Duration = Duration::from_mins(5);

#[tokio::test]
async fn ten_thousand_unknown_keys_cost_one_fetch_in_half_a_minute_and_no_good_token() {
    let issuer = Issuer::start().await;
    let tokens = tokens(&issuer, "").await;
    let good = issuer.token("read");
    // Signs faster than the issuer's own.
    let foreign = SigningKey::eddsa("foreign");
    for round in 1..3 {
        for number in 0..10_000 {
            let mut header = foreign.header();
            header["kid"] = format!("unknown-{number}").into();
            let unknown = foreign.sign(&header, &json!({}));
            assert_eq!(tokens.verify(&unknown), Err(Refused::UnknownKey));
            if number % 100 == 0 {
                assert!(tokens.verify(&good).is_ok());
                // Lets the fetches begin that there would be.
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(issuer.fetches(), round);
        pass(COOLDOWN).await;
        until(|| issuer.fetches() > round).await;
    }
}

#[tokio::test]
async fn keys_that_are_published_a_refresh_before_their_use_are_known_in_time() {
    let issuer = Issuer::start().await;
    let (old, new) = (SigningKey::rs256("rsa-1"), SigningKey::es256("ec-2"));
    let withdrawn = SigningKey::eddsa("ed-0");
    issuer.publish([withdrawn.jwk(), old.jwk()]);
    let tokens = tokens(&issuer, "").await;
    let [of_withdrawn, of_old, of_new] =
        [&withdrawn, &old, &new].map(|key| key.sign(&key.header(), &issuer.claims("read")));
    issuer.publish([old.jwk(), new.jwk()]);
    // What the issuer withdraws is good until the next refresh.
    assert!(tokens.verify(&of_withdrawn).is_ok());
    pass(REFRESH).await;
    // A known key asks for nothing: only the refresh can have ended it.
    until(|| tokens.verify(&of_withdrawn) == Err(Refused::UnknownKey)).await;
    assert_eq!(issuer.fetches(), 2);
    // The first token of the new key, which nobody has asked for.
    assert!(tokens.verify(&of_new).is_ok());
    assert!(tokens.verify(&of_old).is_ok());
}

#[tokio::test]
async fn a_key_that_is_used_at_once_is_known_half_a_minute_after_the_last_fetch() {
    let issuer = Issuer::start().await;
    let tokens = tokens(&issuer, "").await;
    let new = SigningKey::es256("ec-2");
    issuer.publish([new.jwk()]);
    let token = new.sign(&new.header(), &issuer.claims("read"));
    assert_eq!(tokens.verify(&token), Err(Refused::UnknownKey));
    pass(Duration::from_secs(28)).await;
    assert_eq!(tokens.verify(&token), Err(Refused::UnknownKey));
    assert_eq!(issuer.fetches(), 1);
    pass(Duration::from_secs(2)).await;
    until(|| tokens.verify(&token).is_ok()).await;
    assert_eq!(issuer.fetches(), 2);
    // Long after a fetch it is asked for at once.
    let newer = SigningKey::es256("ec-3");
    issuer.publish([newer.jwk()]);
    pass(COOLDOWN * 2).await;
    let token = newer.sign(&newer.header(), &issuer.claims("read"));
    assert_eq!(tokens.verify(&token), Err(Refused::UnknownKey));
    until(|| tokens.verify(&token).is_ok()).await;
}

#[tokio::test]
async fn keys_are_good_for_a_day_without_their_issuer() {
    let issuer = Issuer::start().await;
    let tokens = tokens(&issuer, "").await;
    let good = issuer.token("read");
    issuer.disappear().await;
    assert_eq!(tokens.keys(), KeysState::Fresh);
    pass(REFRESH).await;
    until(|| tokens.keys() == KeysState::Stale).await;
    // The rest of 24 h but for a cooldown.
    pass(Duration::from_secs(86_070)).await;
    assert!(tokens.verify(&good).is_ok());
    assert_eq!(tokens.keys(), KeysState::Stale);
    pass(COOLDOWN).await;
    assert_eq!(tokens.verify(&good), Err(Refused::NoKeys));
    assert_eq!(tokens.keys(), KeysState::Expired);
}

#[tokio::test]
async fn an_issuer_that_comes_later_is_asked_every_half_minute() {
    let issuer = Issuer::start().await;
    issuer.lie(Lie::Status);
    let tokens = tokens(&issuer, "").await;
    let good = issuer.token("read");
    assert_eq!(tokens.verify(&good), Err(Refused::NoKeys));
    assert_eq!(tokens.keys(), KeysState::Missing);
    issuer.lie(None);
    pass(COOLDOWN).await;
    until(|| tokens.verify(&good).is_ok()).await;
    assert_eq!(tokens.keys(), KeysState::Fresh);
}

#[tokio::test]
async fn an_issuer_that_lies_changes_nothing() {
    let issuer = Issuer::start().await;
    let tokens = tokens(&issuer, "").await;
    let good = issuer.token("read");
    for lie in [
        Lie::Huge,
        Lie::ContentType,
        Lie::Redirect,
        Lie::OtherIssuer,
        Lie::Unsafe,
        Lie::Status,
        Lie::Text,
    ] {
        issuer.lie(lie);
        pass(REFRESH).await;
        until(|| tokens.keys() == KeysState::Stale).await;
        assert!(tokens.verify(&good).is_ok(), "{lie:?}");
        issuer.lie(None);
        pass(COOLDOWN).await;
        until(|| tokens.keys() == KeysState::Fresh).await;
    }
}

#[tokio::test]
async fn a_set_of_too_many_keys_changes_nothing() {
    let issuer = Issuer::start().await;
    let tokens = tokens(&issuer, "").await;
    issuer.publish((0..51).map(|number| SigningKey::eddsa(&number.to_string()).jwk()));
    pass(REFRESH).await;
    until(|| tokens.keys() == KeysState::Stale).await;
    assert!(tokens.verify(&issuer.token("read")).is_ok());
    issuer.publish([SigningKey::rs256("rsa-1").jwk()]);
    pass(COOLDOWN).await;
    until(|| tokens.keys() == KeysState::Fresh).await;
}

#[tokio::test]
async fn an_issuer_may_take_all_its_keys_back() {
    let issuer = Issuer::start().await;
    let tokens = tokens(&issuer, "").await;
    let good = issuer.token("read");
    let secret = SigningKey::hs256("secret", &[7; 32]).jwk();
    for keys in [Vec::new(), vec![secret]] {
        issuer.publish(keys);
        pass(REFRESH).await;
        until(|| tokens.keys() == KeysState::Empty).await;
        issuer.publish([SigningKey::rs256("rsa-1").jwk()]);
        // It asks for the key that has come back.
        assert_eq!(tokens.verify(&good), Err(Refused::UnknownKey));
        pass(COOLDOWN).await;
        until(|| tokens.verify(&good).is_ok()).await;
        assert_eq!(tokens.keys(), KeysState::Fresh);
    }
}

#[tokio::test]
async fn an_issuer_that_says_nothing_is_given_up_after_five_seconds() {
    let issuer = Issuer::start().await;
    issuer.lie(Lie::Slow);
    // Time passes by itself where everybody waits.
    tokio::time::pause();
    let begun = Instant::now();
    let tokens = tokens(&issuer, "").await;
    assert!(begun.elapsed() <= Duration::from_secs(6));
    assert_eq!(tokens.keys(), KeysState::Missing);
}
