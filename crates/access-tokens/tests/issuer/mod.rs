//! Which tokens are taken, and when the issuer's keys are fetched.

mod keys;
mod rules;

use std::{fmt::Write, time::Duration};

use access_tokens::{TokenSettings, Tokens};
use test_support::Issuer;
use tokio::time::{advance, pause, resume};

const COOLDOWN: Duration = Duration::from_secs(30);

/// Settings that trust this issuer, with this TOML on top.
fn settings(issuer: &Issuer, more: &str) -> TokenSettings {
    let mut text = String::new();
    for (name, value) in issuer.settings() {
        let key = name.strip_prefix("TOKENS__").unwrap().to_lowercase();
        writeln!(text, "{key} = \"{value}\"").unwrap();
    }
    settings::parse("tokens", &(text + more)).unwrap()
}

/// Tokens of this issuer after a first fetch of its keys, which goes on behind.
async fn tokens(issuer: &Issuer, more: &str) -> Tokens {
    let meter = opentelemetry::global::meter("test");
    let tokens = Tokens::new(&settings(issuer, more), &meter)
        .unwrap()
        .unwrap();
    let keeping = tokens.clone();
    tokio::spawn(async move { keeping.keep_keys().await });
    tokens.tried().await;
    tokens
}

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
