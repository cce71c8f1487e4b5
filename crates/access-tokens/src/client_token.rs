//! This service's own token, for calls to others: client credentials (RFC 6749, 4.4).

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use opentelemetry::metrics::Meter;
use reqwest::{
    Client,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::Deserialize;
use serde_json::Value;
use settings::{List, Secret, Violations, section};
use tokio::{sync::Mutex as AsyncMutex, time::Instant};
use url::{Url, form_urlencoded::byte_serialize};

use crate::{
    BuildError,
    fetch::{self, FetchError},
    instruments::Grants,
    settings::{usable_endpoint, usable_names},
};

/// The share of its life after which a token is renewed behind.
const RENEWED_AT: f64 = 0.8;
/// The life of a token whose issuer does not tell it.
const UNTOLD_LIFE: Duration = Duration::from_mins(1);
/// The shortest life that a token is taken to have, which is longer than its fetch: whoever waited
/// for one has it. Whoever it is for refuses it where it has ended.
const LEAST_LIFE: Duration = Duration::from_secs(10);
/// The longest.
const LONGEST_LIFE: Duration = Duration::from_hours(24);
/// From one fetch that failed to the next; doubles with each, up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// From one token that was refused to the next that may be dropped for it: one that is refused
/// whenever it is new costs its issuer no more.
const PATIENCE: Duration = Duration::from_secs(30);

section! {
    /// A token of our own: the section `[vehicle_client.token]`.
    pub struct ClientTokenSettings checked by ClientTokenSettings::contradictions {
        /// Where tokens are fetched with client credentials, in the place of a key, such as
        /// "https://login.example.com/realms/core/protocol/openid-connect/token". https, or http on
        /// this machine. Empty = a key.
        pub url: String = "", where usable_endpoint;
        /// Our name at the issuer, which knows us and our secret by HTTP Basic (RFC 6749, 2.3.1).
        pub client_id: String = "";
        /// Our secret there.
        pub client_secret: Secret = "";
        /// Scopes to ask for.
        pub scopes: List = ["read"], where usable_names;
        /// What the token is for, where the issuer wants it named as `resource` (RFC 8707).
        pub resource: String = "";
        /// What the token is for, where the issuer wants it named as `audience`.
        pub audience: String = "";
        /// PEM file of certificates to trust for the issuer; empty = the system's.
        pub ca_certificate: String = "", where fetch::usable_certificates;
    }
}

impl ClientTokenSettings {
    /// Whether there is a token, and not a key.
    pub fn is_on(&self) -> bool {
        !self.url.is_empty()
    }

    fn contradictions(&self, at: &str, violations: &mut Violations) {
        if !self.is_on() {
            return;
        }
        if self.client_id.is_empty() {
            violations.report(&Violations::path(at, "client_id"), "is not set");
        }
        let path = Violations::path(at, "client_secret");
        violations.secret(&path, &self.client_secret);
    }

    /// The body of a request for a token.
    fn form(&self) -> String {
        let mut form = "grant_type=client_credentials".to_owned();
        let scopes = self.scopes.join(" ");
        for (name, value) in [
            ("scope", &scopes),
            ("resource", &self.resource),
            ("audience", &self.audience),
        ] {
            if !value.is_empty() {
                form.extend(["&", name, "="]);
                form.extend(byte_serialize(value.as_bytes()));
            }
        }
        form
    }
}

/// A token of this service's own, as the header `Authorization` has it; `Debug` hides it.
#[derive(Clone, Debug)]
pub struct OwnToken(Arc<HeaderValue>);

impl OwnToken {
    /// The header.
    pub fn header(&self) -> HeaderValue {
        (*self.0).clone()
    }
}

/// There is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the issuer gives us no token")]
pub struct NoToken;

/// This service's own tokens, one at a time. Clones share it.
#[derive(Clone)]
pub struct ClientToken(Arc<Inner>);

impl fmt::Debug for ClientToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClientToken(…)")
    }
}

struct Inner {
    client: Client,
    url: Url,
    form: String,
    /// RFC 6749, 2.3.1.
    user: String,
    password: Secret,
    held: ArcSwapOption<Held>,
    /// Held for the whole of a fetch.
    fetching: Arc<AsyncMutex<Fetches>>,
    /// When a token was dropped last. Never held while anybody waits for the issuer.
    dropped_at: Mutex<Option<Instant>>,
    grants: Grants,
}

struct Held {
    token: OwnToken,
    renewed_at: Instant,
    ends_at: Instant,
}

#[derive(Default)]
struct Fetches {
    /// Those in a row that failed, and when the last one did.
    failed: Option<(u32, Instant)>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: String,
    /// Seconds; Entra ID's first version writes them as a text.
    expires_in: Option<Value>,
}

impl Granted {
    fn life(&self) -> Duration {
        let told = self.expires_in.as_ref().and_then(|told| {
            let text = told.as_str().and_then(|text| text.parse().ok());
            told.as_u64().or(text)
        });
        let told = told.map_or(UNTOLD_LIFE, Duration::from_secs);
        told.clamp(LEAST_LIFE, LONGEST_LIFE)
    }
}

impl ClientToken {
    /// Of these settings; nothing where they name no issuer. Nothing is fetched yet.
    pub fn new(settings: &ClientTokenSettings, meter: &Meter) -> Result<Option<Self>, BuildError> {
        if !settings.is_on() {
            return Ok(None);
        }
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        Ok(Some(Self(Arc::new(Inner {
            client: fetch::client(&settings.ca_certificate)?,
            url: Url::parse(&settings.url).map_err(|_| BuildError::Issuer)?,
            form: settings.form(),
            user: encoded(&settings.client_id),
            password: encoded(settings.client_secret.expose()).as_str().into(),
            held: ArcSwapOption::empty(),
            fetching: Arc::default(),
            dropped_at: Mutex::default(),
            grants: Grants::new(meter),
        }))))
    }

    /// The present token, or a new one. However many ask, one request fetches it; a token that ends
    /// soon is renewed behind.
    pub async fn get(&self) -> Result<OwnToken, NoToken> {
        let now = Instant::now();
        if let Some(held) = self.0.valid(now) {
            if now >= held.renewed_at
                && let Ok(fetches) = self.0.fetching.clone().try_lock_owned()
                && !fetches.pauses(now)
            {
                let inner = self.0.clone();
                tokio::spawn(async move {
                    let mut fetches = fetches;
                    // What is held goes on for the rest of its life.
                    let _ = inner.fetch(&mut fetches).await;
                });
            }
            return Ok(held.token.clone());
        }
        let mut fetches = self.0.fetching.clone().lock_owned().await;
        let now = Instant::now();
        if let Some(held) = self.0.valid(now) {
            return Ok(held.token.clone());
        }
        if fetches.pauses(now) {
            return Err(NoToken);
        }
        let inner = self.0.clone();
        // Ends by itself, also where nobody waits for it any more.
        let asking = tokio::spawn(async move { inner.fetch(&mut fetches).await });
        asking.await.unwrap_or(Err(NoToken))
    }

    /// Forgets a token that was refused, unless another one was forgotten lately. Whether there is
    /// another one to ask with, or may be. Waits for nothing.
    pub fn refused(&self, token: &OwnToken) -> bool {
        let dropped_at = self.0.dropped_at.lock();
        let mut dropped_at = dropped_at.unwrap_or_else(PoisonError::into_inner);
        let held = self.0.held.load_full();
        let is_held = held
            .as_ref()
            .is_some_and(|held| Arc::ptr_eq(&held.token.0, &token.0));
        // It was renewed, or refused to others before.
        if !is_held {
            return true;
        }
        let now = Instant::now();
        if dropped_at.is_some_and(|at| now < at + PATIENCE) {
            return false;
        }
        *dropped_at = Some(now);
        // Not one that has taken its place meanwhile.
        self.0.held.compare_and_swap(&held, None);
        true
    }
}

impl Fetches {
    fn pauses(&self, now: Instant) -> bool {
        self.failed.is_some_and(|(times, at)| {
            let pause = PAUSE.saturating_mul(2_u32.saturating_pow(times.saturating_sub(1)));
            now < at + pause.min(LONGEST_PAUSE)
        })
    }

    /// Notes a failure; whether it is the first one.
    fn failed(&mut self, now: Instant) -> bool {
        let before = self.failed.map_or(0, |(times, _)| times);
        self.failed = Some((before.saturating_add(1), now));
        before == 0
    }
}

impl Inner {
    fn valid(&self, now: Instant) -> Option<Arc<Held>> {
        self.held.load_full().filter(|held| now < held.ends_at)
    }

    async fn fetch(&self, fetches: &mut Fetches) -> Result<OwnToken, NoToken> {
        let asked = Instant::now();
        let granted = self.ask().await;
        self.grants.ended(&granted);
        match granted {
            Ok((token, life)) => {
                if fetches.failed.take().is_some() {
                    tracing::info!("the issuer gives us tokens again");
                }
                let held = Held {
                    token: token.clone(),
                    renewed_at: asked + life.mul_f64(RENEWED_AT),
                    ends_at: asked + life,
                };
                self.held.store(Some(Arc::new(held)));
                Ok(token)
            }
            Err(error) => {
                // Once, and not again and again for as long as the issuer is away.
                if fetches.failed(Instant::now()) {
                    tracing::warn!(error = %error, "the issuer gives us no token");
                }
                Err(NoToken)
            }
        }
    }

    async fn ask(&self) -> Result<(OwnToken, Duration), FetchError> {
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .basic_auth(&self.user, Some(self.password.expose()))
            .body(self.form.clone());
        let body = fetch::json(&self.url, request).await?;
        let unusable = |error| FetchError::Json(self.url.clone(), error);
        let granted: Granted = serde_json::from_slice(&body).map_err(unusable)?;
        if !granted.token_type.eq_ignore_ascii_case("Bearer") {
            return Err(FetchError::NoBearer);
        }
        let header = HeaderValue::try_from(format!("Bearer {}", granted.access_token));
        let mut header = header.map_err(|_| FetchError::NoBearer)?;
        header.set_sensitive(true);
        Ok((OwnToken(Arc::new(header)), granted.life()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use settings::parse;
    use tokio::time::Instant;

    use super::{ClientTokenSettings, Fetches, Granted};

    #[test]
    fn an_issuer_that_gives_none_is_asked_ever_more_seldom() {
        let (mut fetches, now) = (Fetches::default(), Instant::now());
        assert!(!fetches.pauses(now));
        for (times, seconds) in [1, 2, 4, 8, 16, 30, 30].into_iter().enumerate() {
            assert_eq!(fetches.failed(now), times == 0);
            let pause = Duration::from_secs(seconds);
            assert!(fetches.pauses(now + pause - Duration::from_millis(1)));
            assert!(!fetches.pauses(now + pause), "{seconds}");
        }
    }

    #[test]
    fn settings_without_a_safe_address_or_a_secret_are_refused() {
        let good = r#"
            url = "https://login.example.com/token"
            client_id = "insurance"
            client_secret = "of-a-test"
            audience = "a b"
        "#;
        let at = "vehicle_client.token";
        let form = parse::<ClientTokenSettings>(at, good).unwrap().form();
        assert_eq!(
            form,
            "grant_type=client_credentials&scope=read&audience=a+b"
        );
        for (from, to, told) in [
            (
                "https",
                "http",
                "url: `http://login.example.com/token` is no https URL",
            ),
            (
                "/token",
                "/token#x",
                "url: `https://login.example.com/token#x` is no https URL",
            ),
            (
                "audience = \"a b\"",
                "scopes = [\"a b\"]",
                "scopes: `a b` is empty or has a blank",
            ),
            ("client_id =", "resource =", "client_id: is not set"),
            ("client_secret =", "resource =", "client_secret: is not set"),
        ] {
            let refused = parse::<ClientTokenSettings>(at, &good.replace(from, to));
            let refused = refused.unwrap_err().to_string();
            assert!(refused.starts_with(&format!("{at}.{told}")), "{refused}");
        }
    }

    #[test]
    fn a_life_is_neither_endless_nor_over_at_once() {
        for (told, seconds) in [
            (Value::Null, 60),
            (json!(3600), 3600),
            (json!("3599"), 3599),
            (json!(0), 10),
            (json!("soon"), 60),
            (json!(-1), 60),
            (json!(u64::MAX), 86_400),
        ] {
            let granted = json!({
                "access_token": "x", "token_type": "Bearer", "expires_in": told
            });
            let granted: Granted = serde_json::from_value(granted).unwrap();
            assert_eq!(granted.life(), Duration::from_secs(seconds), "{told}");
        }
    }
}
