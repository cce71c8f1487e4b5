//! Verifies a token for RS256 again and again, on one thread, with a key that an issuer on this
//! machine publishes. Prints the microseconds that it takes each time.

use std::{
    io::{Write, stdout},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use access_tokens::{TokenSettings, Tokens};
use anyhow::{Context, ensure};
use axum::{Router, routing::get};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use opentelemetry::global::meter;
use ring::{
    rand::SystemRandom,
    rsa::{KeyPair, PublicKeyComponents},
    signature::RSA_PKCS1_SHA256,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::timeout};

/// Of the tests, of 2048 bits; nothing else trusts it.
const KEY: &[u8] = include_bytes!("../../crates/test-support/src/issuer/rsa-1.pk8");
const AUDIENCE: &str = "benchmarks";
const LONGEST_START: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often
    times: u32,
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let key = KeyPair::from_pkcs8(KEY).map_err(|_| anyhow::anyhow!("the key is none"))?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let issuer = format!("http://{}", listener.local_addr()?);
    let router = published(&issuer, &key);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let settings = format!(
        "issuer = {issuer:?}\naudience = {AUDIENCE:?}\nsubject_key = {:?}",
        "0".repeat(32)
    );
    let settings: TokenSettings = settings::parse("tokens", &settings)?;
    let tokens = Tokens::new(&settings, &meter("benchmarks"))?.context("tokens are off")?;
    let keeping = tokens.clone();
    tokio::spawn(async move { keeping.keep_keys().await });
    timeout(LONGEST_START, tokens.tried()).await?;

    let token = token(&issuer, &key)?;
    let begun = Instant::now();
    for _ in 0..options.times {
        let bearer = tokens.verify(&token)?;
        ensure!(bearer.scopes == ["read"], "{bearer:?}");
    }
    let each = 1e6 * begun.elapsed().as_secs_f64() / f64::from(options.times);
    Ok(writeln!(stdout(), "{each:.1}")?)
}

/// The issuer's two documents.
fn published(issuer: &str, key: &KeyPair) -> Router {
    let public = PublicKeyComponents::<Vec<u8>>::from(key.public());
    let (n, e) = (encoded(&public.n), encoded(&public.e));
    let key = json!({ "kty": "RSA", "kid": "1", "alg": "RS256", "n": n, "e": e });
    let discovery = json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/keys") });
    let document = |document: Value| {
        let text = document.to_string();
        get(async move || ([(http::header::CONTENT_TYPE, "application/json")], text))
    };
    Router::new()
        .route("/.well-known/openid-configuration", document(discovery))
        .route("/keys", document(json!({ "keys": [key] })))
}

fn token(issuer: &str, key: &KeyPair) -> anyhow::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let header = json!({ "typ": "at+jwt", "alg": "RS256", "kid": "1" });
    let claims = json!({
        "iss": issuer, "aud": AUDIENCE, "sub": "benchmark", "scope": "read",
        "iat": now, "exp": now + 3600
    });
    let [header, claims] = [header, claims].map(|it| encoded(it.to_string().as_bytes()));
    let message = format!("{header}.{claims}");
    let mut signature = vec![0; key.public().modulus_len()];
    let random = SystemRandom::new();
    key.sign(
        &RSA_PKCS1_SHA256,
        &random,
        message.as_bytes(),
        &mut signature,
    )
    .map_err(|_| anyhow::anyhow!("the key does not sign"))?;
    Ok(format!("{message}.{}", encoded(&signature)))
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
