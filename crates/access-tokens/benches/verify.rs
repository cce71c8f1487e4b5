//! How long it takes to verify a token, on one thread: `cargo bench -p access-tokens`. It fails over
//! 150 µs.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for people, which fails by panicking"
)]

use std::{fmt::Write, time::Duration, time::Instant};

use access_tokens::Tokens;
use test_support::{Issuer, SigningKey};

const ROUNDS: u32 = 20_000;
const MOST: Duration = Duration::from_micros(150);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let issuer = Issuer::start().await;
    let keys = [
        SigningKey::rs256("rsa"),
        SigningKey::ps256("pss"),
        SigningKey::es256("ec"),
        SigningKey::eddsa("ed"),
    ];
    issuer.publish(keys.iter().map(SigningKey::jwk));
    let mut toml = String::new();
    for (name, value) in issuer.settings() {
        let key = name.strip_prefix("TOKENS__").unwrap().to_lowercase();
        writeln!(toml, "{key} = \"{value}\"").unwrap();
    }
    let settings = settings::parse("tokens", &toml).unwrap();
    let meter = opentelemetry::global::meter("benchmark");
    let tokens = Tokens::new(&settings, &meter).unwrap().unwrap();
    let keeping = tokens.clone();
    tokio::spawn(async move { keeping.keep_keys().await });
    tokens.tried().await;
    for key in keys {
        let token = key.sign(&key.header(), &issuer.claims("read write"));
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            assert!(tokens.verify(&token).is_ok());
        }
        let each = begun.elapsed() / ROUNDS;
        println!("{}: {each:?}", key.algorithm());
        assert!(each <= MOST, "over {MOST:?}");
    }
}
