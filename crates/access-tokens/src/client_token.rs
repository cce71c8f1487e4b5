//! This service's own token, for calls to others: client credentials (RFC 6749, 4.4).

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use reqwest::{
    Client,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::Deserialize;
use settings::{List, Secret, Violations, section};
use tokio::{sync::Mutex, time::Instant};
use url::{Url, form_urlencoded::byte_serialize};

use crate::{
    BuildError,
    fetch::{self, FetchError},
    settings::is_safe,
};

/// The share of its life after which a token is renewed behind.
const RENEWED_AT: f64 = 0.8;
/// The life of a token whose issuer does not tell it.
const UNTOLD_LIFE: Duration = Duration::from_mins(1);
/// From one fetch that failed to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// From one token that was refused to the next that may be dropped for it: one that is refused
/// whenever it is new costs its issuer no more.
const PATIENCE: Duration = Duration::from_secs(30);

section! {
    /// A token of our own: the section `[vehicle_client.token]`.
    pub struct ClientTokenSettings checked by ClientTokenSettings::contradictions {
        /// Where tokens are fetched with client credentials, in the place of a key, such as
        /// "https://login.example.com/realms/core/protocol/openid-connect/token". https, or http on
        /// this machine. Empty = a key.
        pub url: String = "", where usable_url;
        /// Our name at the issuer.
        pub client_id: String = "";
        /// Our secret there.
        pub client_secret: Secret = "";
        /// Scopes to ask for.
        pub scopes: List = ["read"];
        /// What the token is for, where the issuer wants it named as `resource` (RFC 8707).
        pub resource: String = "";
        /// What the token is for, where the issuer wants it named as `audience`.
        pub audience: String = "";
        /// PEM file of certificates to trust for the issuer; empty = the system's.
        pub ca_certificate: String = "", where fetch::usable_certificates;
    }
}

fn usable_url(url: &String, at: &str, violations: &mut Violations) {
    if !url.is_empty() && !Url::parse(url).is_ok_and(|url| is_safe(&url)) {
        let rule = format_args!("`{url}` is no https URL, or http on this machine, without user");
        violations.report(at, rule);
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
    fetching: Arc<Mutex<Fetches>>,
}

struct Held {
    token: OwnToken,
    renewed_at: Instant,
    ends_at: Instant,
}

#[derive(Default)]
struct Fetches {
    failed_at: Option<Instant>,
    dropped_at: Option<Instant>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: String,
    expires_in: Option<u64>,
}

impl ClientToken {
    /// Of these settings; nothing where they name no issuer. Nothing is fetched yet.
    pub fn new(settings: &ClientTokenSettings) -> Result<Option<Self>, BuildError> {
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
        let fetched = tokio::spawn(async move { inner.fetch(&mut fetches).await });
        fetched.await.unwrap_or(Err(NoToken))
    }

    /// Whether this token is the one that is held.
    pub fn is_held(&self, token: &OwnToken) -> bool {
        let held = self.0.held.load();
        held.as_ref()
            .is_some_and(|held| Arc::ptr_eq(&held.token.0, &token.0))
    }

    /// Forgets a token that was refused, unless another one was forgotten lately.
    pub async fn refused(&self, token: &OwnToken) {
        let mut fetches = self.0.fetching.lock().await;
        let now = Instant::now();
        let lately = fetches.dropped_at.is_some_and(|at| now < at + PATIENCE);
        // Others may have been refused before.
        if !lately && self.is_held(token) {
            fetches.dropped_at = Some(now);
            self.0.held.store(None);
        }
    }
}

impl Fetches {
    fn pauses(&self, now: Instant) -> bool {
        self.failed_at.is_some_and(|at| now < at + PAUSE)
    }
}

impl Inner {
    fn valid(&self, now: Instant) -> Option<Arc<Held>> {
        self.held.load_full().filter(|held| now < held.ends_at)
    }

    async fn fetch(&self, fetches: &mut Fetches) -> Result<OwnToken, NoToken> {
        let asked = Instant::now();
        match self.ask().await {
            Ok((token, life)) => {
                if fetches.failed_at.take().is_some() {
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
                // Once, and not every second for as long as the issuer is away.
                if fetches.failed_at.replace(Instant::now()).is_none() {
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
        let life = granted.expires_in.map_or(UNTOLD_LIFE, Duration::from_secs);
        Ok((OwnToken(Arc::new(header)), life))
    }
}

#[cfg(test)]
mod tests {
    use settings::parse;

    use super::ClientTokenSettings;

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
            ("client_id =", "resource =", "client_id: is not set"),
            ("client_secret =", "resource =", "client_secret: is not set"),
        ] {
            let refused = parse::<ClientTokenSettings>(at, &good.replace(from, to));
            let refused = refused.unwrap_err().to_string();
            assert!(refused.starts_with(&format!("{at}.{told}")), "{refused}");
        }
    }
}
