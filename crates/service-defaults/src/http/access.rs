//! API keys: how they are set, held and found.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::SystemTime,
};

use access_tokens::Bearer;
use arc_swap::ArcSwap;
use axum::http::{HeaderMap, HeaderName};
use serde::Deserialize;
use settings::{Secret, Violations, list};
use sha2::{Digest, Sha256};

use crate::scope::{self, Scope};

/// `X-Api-Key`.
pub const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

const MIN_KEY_CHARS: usize = 16;
const MAX_ID_CHARS: usize = 32;

/// The keys of a service by their ids.
pub type ApiKeySettings = BTreeMap<String, ApiKey>;

/// One key, as its digest: the key itself is forgotten as soon as it is read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Written")]
pub struct ApiKey {
    digest: [u8; 32],
    expires_at: Option<SystemTime>,
    scopes: Vec<Scope>,
    /// Whose it is, where the id does not say it.
    client: Option<String>,
    /// Setting and rule of everything that is wrong with it.
    faults: Vec<(&'static str, String)>,
}

/// A key as it is written in the settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// The key itself; this or `sha256`.
    key: Option<Secret>,
    /// The key's SHA-256 in hexadecimal.
    sha256: Option<Secret>,
    /// From when on the key is refused: RFC 3339, UTC.
    expires_at: Option<String>,
    /// What the key opens.
    #[serde(default = "api", deserialize_with = "list")]
    scopes: Vec<String>,
    /// Whose it is.
    client: Option<String>,
}

fn api() -> Vec<String> {
    vec![Scope::Api.name().to_owned()]
}

impl From<Written> for ApiKey {
    fn from(written: Written) -> Self {
        let mut faults = Vec::new();
        let digest = match (&written.key, &written.sha256) {
            (Some(text), None) => {
                faults.extend(faults_of(text).map(|rule| (".key", rule)));
                Sha256::digest(text.expose()).into()
            }
            (None, Some(text)) => from_hex(text.expose()).unwrap_or_else(|| {
                faults.push((".sha256", "is not 64 hexadecimal digits".to_owned()));
                [0; 32]
            }),
            _ => {
                faults.push(("", "takes exactly one of key and sha256".to_owned()));
                [0; 32]
            }
        };
        if digest == <[u8; 32]>::from(Sha256::digest("")) {
            faults.push(("", "is the digest of an empty key".to_owned()));
        }
        let expires_at = written.expires_at.as_deref().map(humantime::parse_rfc3339);
        if let Some(Err(_)) = expires_at {
            faults.push((".expires_at", "is not an RFC 3339 time in UTC".to_owned()));
        }
        let expires_at = expires_at.and_then(Result::ok);
        let scopes = scope::named(&written.scopes).unwrap_or_else(|rule| {
            faults.push((".scopes", rule));
            Vec::new()
        });
        let client = written.client;
        if client.as_deref().is_some_and(|client| !is_name(client)) {
            faults.push((
                ".client",
                "a client is 1 to 32 of a-z, 0-9 and _".to_owned(),
            ));
        }
        Self {
            digest,
            expires_at,
            scopes,
            client,
            faults,
        }
    }
}

fn faults_of(key: &Secret) -> impl Iterator<Item = String> {
    let length = key.expose().chars().count();
    let printable = key.expose().bytes().all(|byte| byte.is_ascii_graphic());
    let short = format!("{length} characters are under {MIN_KEY_CHARS}");
    [
        key.fault().map(str::to_owned),
        (!key.is_empty() && length < MIN_KEY_CHARS).then_some(short),
        (!printable).then(|| "a key is printable ASCII without blanks".to_owned()),
    ]
    .into_iter()
    .flatten()
}

/// Whether a text may be an id or a client.
fn is_name(text: &str) -> bool {
    let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=MAX_ID_CHARS).contains(&text.len()) && text.bytes().all(named)
}

/// Reports keys that are missing, weak, doubled or unreadable. Expired ones are no fault: a
/// rotation leaves them behind.
pub(crate) fn check(keys: &ApiKeySettings, at: &str, violations: &mut Violations) {
    if keys.is_empty() {
        violations.report(at, "a service needs at least one key");
    }
    let mut seen = BTreeMap::new();
    for (id, key) in keys {
        let setting = format!("{at}.{id}");
        if !is_name(id) {
            violations.report(&setting, "an id is 1 to 32 of a-z, 0-9 and _");
        }
        for (part, rule) in &key.faults {
            violations.report(&format!("{setting}{part}"), rule);
        }
        if let Some(other) = seen.insert(key.digest, id)
            && key.faults.is_empty()
        {
            violations.report(&setting, format_args!("is the same key as {at}.{other}"));
        }
    }
}

/// The keys in force. Clones share them, so that a rotation reaches every request at once.
#[derive(Clone)]
pub struct KeyRing(Arc<ArcSwap<ByDigest>>);

/// Looked up by the digest of what was presented, so that the time that it takes tells about
/// digests only.
type ByDigest = HashMap<[u8; 32], Arc<Held>>;

/// A key that is in force, or a token that was verified.
#[derive(Debug)]
pub(crate) struct Held {
    /// A key's own, or `token/` and the subject. No key's id has a slash, so that no subject has the
    /// name of a key.
    pub(crate) id: Box<str>,
    /// The same with its kind: `key/` and the id, or `token/` and the subject.
    pub(crate) actor: Box<str>,
    /// Whose it is: the keys of a rotation share it, and the tokens of a subject.
    pub(crate) client: Box<str>,
    pub(crate) scopes: Vec<Scope>,
    expires_at: Option<SystemTime>,
}

impl Held {
    /// Its end was checked when it was verified.
    pub(crate) fn of_token(bearer: Bearer) -> Self {
        let id = ["token/", &bearer.subject].concat().into_boxed_str();
        Self {
            client: id.clone(),
            actor: id.clone(),
            id,
            scopes: bearer
                .scopes
                .into_iter()
                .filter_map(Scope::of_name)
                .collect(),
            expires_at: None,
        }
    }
}

impl KeyRing {
    /// Holds these keys, as digests.
    pub fn new(keys: &ApiKeySettings) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(held(keys))))
    }

    /// Takes these keys in place of the present ones.
    pub fn replace(&self, keys: &ApiKeySettings) {
        self.0.store(Arc::new(held(keys)));
    }

    /// The presented key, unless it has expired.
    pub(crate) fn identify(&self, headers: &HeaderMap, now: SystemTime) -> Option<Arc<Held>> {
        let mut presented = headers.get_all(X_API_KEY).iter();
        let (Some(only), None) = (presented.next(), presented.next()) else {
            return None;
        };
        let digest: [u8; 32] = Sha256::digest(only.as_bytes()).into();
        let keys = self.0.load();
        let key = keys.get(&digest)?;
        key.expires_at
            .is_none_or(|end| now < end)
            .then(|| key.clone())
    }
}

fn held(keys: &ApiKeySettings) -> ByDigest {
    keys.iter()
        .map(|(id, key)| {
            let held = Held {
                id: id.as_str().into(),
                actor: ["key/", id].concat().into(),
                client: key.client.as_deref().unwrap_or(id).into(),
                scopes: key.scopes.clone(),
                expires_at: key.expires_at,
            };
            (key.digest, Arc::new(held))
        })
        .collect()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(pair, 16)
            .ok()
            .filter(|_| !pair.starts_with('+'))?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use axum::http::{HeaderMap, HeaderValue};

    use settings::Violations;

    use super::{ApiKeySettings, KeyRing, Scope, X_API_KEY, check};

    fn keys(json: &str) -> ApiKeySettings {
        serde_json::from_str(json).unwrap()
    }

    fn presenting(key: &str) -> HeaderMap {
        [(X_API_KEY, HeaderValue::from_str(key).unwrap())]
            .into_iter()
            .collect()
    }

    fn refused(json: &str) -> String {
        let mut violations = Violations::default();
        check(&keys(json), "api_keys", &mut violations);
        violations.into_result().unwrap_err().to_string()
    }

    #[test]
    fn a_key_is_known_by_its_text_or_its_digest() {
        let ring = KeyRing::new(&keys(
            r#"{"a":{"key":"0123456789abcdef"},
                "b":{"sha256":"2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90"}}"#,
        ));
        let now = SystemTime::now();
        let known = |key| {
            let key = ring.identify(&presenting(key), now)?;
            Some(key.id.clone())
        };
        assert_eq!(known("0123456789abcdef").as_deref(), Some("a"));
        assert_eq!(known("alice").as_deref(), Some("b"));
        for unknown in ["bob", "", "0123456789abcde", "0123456789abcdef0"] {
            assert_eq!(known(unknown), None);
        }
        assert!(ring.identify(&HeaderMap::new(), now).is_none());
    }

    #[test]
    fn a_key_has_the_scopes_of_its_list_or_its_text_and_api_without_either() {
        for (scopes, expected) in [
            ("", &[Scope::Api][..]),
            (r#","scopes":["operations"]"#, &[Scope::Operations]),
            (
                r#","scopes":["read","write","admin"]"#,
                &[Scope::Read, Scope::Write, Scope::Admin],
            ),
            (r#","scopes":"feed, audit""#, &[Scope::Feed, Scope::Audit]),
            (r#","scopes":"api""#, &[Scope::Api]),
        ] {
            let json = format!(r#"{{"a":{{"key":"0123456789abcdef"{scopes}}}}}"#);
            let ring = KeyRing::new(&keys(&json));
            let key = ring.identify(&presenting("0123456789abcdef"), SystemTime::now());
            assert_eq!(key.unwrap().scopes, expected, "{scopes}");
        }
    }

    #[test]
    fn an_expired_key_is_refused() {
        let ring = KeyRing::new(&keys(
            r#"{"a":{"key":"0123456789abcdef","expires_at":"2026-01-01T00:00:00Z"}}"#,
        ));
        let end = humantime::parse_rfc3339("2026-01-01T00:00:00Z").unwrap();
        let key = presenting("0123456789abcdef");
        assert!(ring.identify(&key, end - Duration::from_secs(1)).is_some());
        assert!(ring.identify(&key, end).is_none());
    }

    #[test]
    fn two_presented_keys_are_none() {
        let ring = KeyRing::new(&keys(r#"{"a":{"key":"0123456789abcdef"}}"#));
        let mut headers = presenting("0123456789abcdef");
        headers.append(X_API_KEY, HeaderValue::from_static("0123456789abcdef"));
        assert!(ring.identify(&headers, SystemTime::now()).is_none());
    }

    #[test]
    fn keys_that_protect_nothing_stop_the_start() {
        for (json, rule) in [
            ("{}", "at least one key"),
            (r#"{"a":{"key":""}}"#, "api_keys.a.key: is not set"),
            (r#"{"a":{"key":"<generated by ./init.sh>"}}"#, "placeholder"),
            (r#"{"a":{"key":"short"}}"#, "5 characters are under 16"),
            (r#"{"a":{}}"#, "exactly one"),
            (
                r#"{"a":{"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}"#,
                "empty key",
            ),
            (
                r#"{"a":{"key":"0123456789abcdef"},"b":{"key":"0123456789abcdef"}}"#,
                "api_keys.b: is the same key as api_keys.a",
            ),
            (r#"{"a":{"sha256":"xyz"}}"#, "64 hexadecimal digits"),
            (r#"{"A b":{"key":"0123456789abcdef"}}"#, "an id is"),
            (
                r#"{"a":{"key":"0123456789abcdef","expires_at":"soon"}}"#,
                "RFC 3339",
            ),
            (
                r#"{"a":{"key":"0123456789abcdef","scopes":["api","Read"]}}"#,
                "api_keys.a.scopes: `Read` is none of read, write, admin, feed, audit, api, operations",
            ),
            (
                r#"{"a":{"key":"0123456789abcdef","scopes":[]}}"#,
                "api_keys.a.scopes: is empty",
            ),
            (
                r#"{"a":{"key":"0123456789abcdef","scopes":" , "}}"#,
                "api_keys.a.scopes: is empty",
            ),
        ] {
            let message = refused(json);
            assert!(message.contains(rule), "{json}: {message}");
        }
    }
}
