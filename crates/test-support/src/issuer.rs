mod attacks;
mod signing_key;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{Router, extract::State, response::Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderValue, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::{Map, Value, json};
use tokio::{net::TcpListener, task::JoinHandle, time::sleep};

pub use attacks::{Attack, attacks};
pub use signing_key::SigningKey;

/// The service that an [`Issuer`]'s tokens are for.
pub const AUDIENCE: &str = "threadpilot";

/// An OpenID provider on a real socket: it publishes keys, signs with them, rotates them, lies and
/// disappears.
#[derive(Debug)]
pub struct Issuer {
    key: SigningKey,
    published: Arc<Published>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct Published {
    url: String,
    keys: Mutex<Vec<Value>>,
    lie: Mutex<Option<Lie>>,
    fetches: AtomicUsize,
    lured: AtomicUsize,
    /// The requests for a token: the credentials and the form.
    asked: Mutex<Vec<(String, String)>>,
    /// What a grant is beside its token.
    grant: Mutex<Value>,
}

/// What an [`Issuer`] may answer that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// 64 KiB of good JSON and more.
    Huge,
    /// Nothing for as long as anybody waits.
    Slow,
    /// Good JSON that is declared to be a page.
    ContentType,
    /// A redirect to the right place.
    Redirect,
    /// A discovery document of another issuer.
    OtherIssuer,
    /// The right address of its keys, with a user, as none may have.
    Unsafe,
    /// 500.
    Status,
    /// No JSON.
    Text,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Issuer {
    /// Starts one that publishes one key for RS256.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let key = SigningKey::rs256("rsa-1");
        let published = Arc::new(Published {
            url: format!("http://{address}"),
            keys: Mutex::new(vec![key.jwk()]),
            lie: Mutex::default(),
            fetches: AtomicUsize::new(0),
            lured: AtomicUsize::new(0),
            asked: Mutex::default(),
            grant: Mutex::new(json!({ "token_type": "Bearer", "expires_in": 100 })),
        });
        let router = Router::new().fallback(answer).with_state(published.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            key,
            published,
            serving,
        }
    }

    /// The issuer as its tokens name it.
    pub fn url(&self) -> &str {
        &self.published.url
    }

    /// Settings of a service that trusts it, by their names without the service's.
    pub fn settings(&self) -> [(&str, &str); 3] {
        [
            ("TOKENS__ISSUER", self.url()),
            ("TOKENS__AUDIENCE", AUDIENCE),
            ("TOKENS__SUBJECT_KEY", "0123456789abcdef0123456789abcdef"),
        ]
    }

    /// Publishes these keys from now on.
    pub fn publish(&self, keys: impl IntoIterator<Item = Value>) {
        *self.published.keys.lock().unwrap() = keys.into_iter().collect();
    }

    /// Lies like this from now on.
    pub fn lie(&self, lie: impl Into<Option<Lie>>) {
        *self.published.lie.lock().unwrap() = lie.into();
    }

    /// Is gone: nothing listens any more.
    pub async fn disappear(&self) {
        self.serving.abort();
        while !self.serving.is_finished() {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// How often it was asked for its keys.
    pub fn fetches(&self) -> usize {
        self.published.fetches.load(Ordering::SeqCst)
    }

    /// How often somebody followed the address in a token of the attacks.
    pub fn lured(&self) -> usize {
        self.published.lured.load(Ordering::SeqCst)
    }

    /// How often it was asked for a token of a client's own, good for 100 s: `granted-1`,
    /// `granted-2`, …
    pub fn grants(&self) -> usize {
        self.asked().len()
    }

    /// The requests for them: the credentials of HTTP Basic and the form.
    pub fn asked(&self) -> Vec<(String, String)> {
        self.published.asked.lock().unwrap().clone()
    }

    /// Grants tokens like this from now on.
    pub fn grant(&self, grant: Value) {
        *self.published.grant.lock().unwrap() = grant;
    }

    /// The header of a good token.
    pub fn header(&self) -> Value {
        json!({ "typ": "at+jwt", "alg": "RS256", "kid": self.key.id() })
    }

    /// The claims of a good token with these scopes.
    pub fn claims(&self, scope: &str) -> Value {
        let now = seconds();
        json!({
            "iss": self.url(), "aud": AUDIENCE, "sub": "core-system", "scope": scope,
            "iat": now, "exp": now + 600
        })
    }

    /// A good token with these scopes.
    pub fn token(&self, scope: &str) -> String {
        self.sign(&self.header(), &self.claims(scope))
    }

    /// A token that is good but for what is changed in its header and its claims; `null` removes.
    pub fn changed(&self, header: Value, claims: Value) -> String {
        let header = merged(self.header(), header);
        self.sign(&header, &merged(self.claims("read"), claims))
    }

    /// Signs anything with the key that it began with.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.key.sign(header, claims)
    }

    fn sign_text(&self, header: &str, claims: &[u8]) -> String {
        self.key.sign_text(header, claims)
    }
}

/// Seconds since 1970.
pub(crate) fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

fn merged(mut good: Value, change: Value) -> Value {
    let members: &mut Map<String, Value> = good.as_object_mut().unwrap();
    let Value::Object(change) = change else {
        panic!("{change} is no object");
    };
    for (name, value) in change {
        if value.is_null() {
            members.remove(&name);
        } else {
            members.insert(name, value);
        }
    }
    good
}

/// The user and the password, as they are before they are put into Base64 (RFC 7617).
fn basic(headers: &HeaderMap) -> String {
    let header = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let encoded = header.and_then(|header| header.strip_prefix(b"Basic "));
    let credentials = STANDARD.decode(encoded.unwrap_or_default()).unwrap();
    String::from_utf8(credentials).unwrap()
}

async fn answer(
    State(published): State<Arc<Published>>,
    uri: Uri,
    headers: HeaderMap,
    form: String,
) -> Response {
    let url = &*published.url;
    let lured = uri.path().starts_with("/attacker");
    if lured {
        published.lured.fetch_add(1, Ordering::SeqCst);
    }
    let keys_asked = uri.path().starts_with("/keys");
    let discovery_asked = uri.path() == "/.well-known/openid-configuration";
    if keys_asked {
        published.fetches.fetch_add(1, Ordering::SeqCst);
    }
    let lie = *published.lie.lock().unwrap();
    let mut body = if lured {
        json!({ "keys": [attacks::foreign().jwk()] })
    } else if uri.path() == "/token" {
        let mut asked = published.asked.lock().unwrap();
        asked.push((basic(&headers), form));
        let mut granted = published.grant.lock().unwrap().clone();
        granted["access_token"] = format!("granted-{}", asked.len()).into();
        granted
    } else if keys_asked {
        json!({ "keys": *published.keys.lock().unwrap() })
    } else {
        json!({ "issuer": url, "jwks_uri": format!("{url}/keys") })
    };
    let (mut kind, mut status) = ("application/json", StatusCode::OK);
    match lie {
        Some(Lie::Huge) => body["padding"] = Value::from("x".repeat(64 * 1024)),
        Some(Lie::Slow) => std::future::pending().await,
        Some(Lie::ContentType) => kind = "text/html",
        Some(Lie::Redirect) if uri.query().is_none() => {
            return Response::builder()
                .status(StatusCode::FOUND)
                .header("location", format!("{url}{}?again", uri.path()))
                .body(String::new().into())
                .unwrap();
        }
        Some(Lie::OtherIssuer) => body["issuer"] = Value::from("https://other.example"),
        Some(Lie::Unsafe) if discovery_asked => {
            body["jwks_uri"] = format!("{}/keys", url.replacen("//", "//user@", 1)).into();
        }
        Some(Lie::Status) => status = StatusCode::INTERNAL_SERVER_ERROR,
        _ => {}
    }
    let body = match lie {
        Some(Lie::Text) => "[".to_owned(),
        _ => body.to_string(),
    };
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, kind)
        .body(body.into())
        .unwrap()
}
