use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use opentelemetry::metrics::Meter;
use serde_json::{Map, Value};

use crate::{
    BuildError, KeysState, Refused, TokenSettings,
    algorithm::{self, ALGORITHMS},
    fetch::Source,
    instruments::Verified,
    kept_keys::KeptKeys,
    subject::Subjects,
};

/// Largest token in bytes.
const MAX_BYTES: usize = 8 * 1024;
/// How far the clocks of the issuer and of this machine may be apart, in seconds.
const LEEWAY: u32 = 30;
/// Claims that ID tokens have, and access tokens have not (OpenID Connect Core, 2 and 3.1.3.6).
const OF_ID_TOKENS: [&str; 3] = ["nonce", "at_hash", "c_hash"];
/// Claims that ID tokens never have their scopes in.
const SCOPES: [&str; 2] = ["scope", "scp"];
/// Claims that name the client in access tokens: of RFC 9068, and of Entra ID in both its versions.
const CLIENT: [&str; 3] = ["client_id", "azp", "appid"];

/// Verifies the tokens of one issuer. Clones share its keys.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    settings: TokenSettings,
    keys: KeptKeys,
    rules: [(Algorithm, Validation); 4],
    subjects: Subjects,
    verified: Verified,
}

/// Who sent a token that is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The subject, or a pseudonym of it where it may name a person.
    pub subject: String,
    /// Our names of the scopes that the token has.
    pub scopes: Vec<&'static str>,
}

impl Tokens {
    /// For the issuer of these settings; nothing where they name none. No key is fetched yet.
    pub fn new(settings: &TokenSettings, meter: &Meter) -> Result<Option<Self>, BuildError> {
        if !settings.are_on() {
            return Ok(None);
        }
        algorithm::install();
        let source = Source::new(
            &settings.issuer,
            &settings.ca_certificate,
            settings.algorithms(),
        )?;
        Ok(Some(Self(Arc::new(Inner {
            keys: KeptKeys::new(source, meter),
            rules: ALGORITHMS.map(|(_, algorithm)| (algorithm, rules(settings, algorithm))),
            subjects: Subjects::new(&settings.subject_key),
            verified: Verified::new(meter),
            settings: settings.clone(),
        }))))
    }

    /// Fetches the issuer's keys now and again, for as long as it is polled.
    pub async fn keep_keys(&self) {
        self.0.keys.keep().await;
    }

    /// Waits for the end of the first fetch of keys, good or not.
    pub async fn tried(&self) {
        self.0.keys.tried().await;
    }

    /// How it is with the issuer's keys.
    pub fn keys(&self) -> KeysState {
        self.0.keys.state()
    }

    /// Who sent this token, if it is good. Waits for nothing.
    pub fn verify(&self, token: &(impl AsRef<[u8]> + ?Sized)) -> Result<Bearer, Refused> {
        let verified = self.0.verify(token.as_ref());
        if let Err(refused) = verified {
            self.0.verified.refused(refused);
        }
        verified
    }
}

impl Inner {
    fn verify(&self, token: &[u8]) -> Result<Bearer, Refused> {
        if token.len() > MAX_BYTES {
            return Err(Refused::TooLarge);
        }
        let header = decode_header(token).map_err(|_| Refused::Malformed)?;
        if header.crit.is_some() {
            return Err(Refused::Critical);
        }
        let kind = header.typ.as_deref().unwrap_or_default();
        let kind = without_application(kind);
        let mut types = self.settings.types.iter();
        if !types.any(|taken| taken.eq_ignore_ascii_case(kind)) {
            return Err(Refused::WrongType);
        }
        let key = self.keys.find(&header.kid.ok_or(Refused::NoKeyId)?)?;
        let mut rules = self.rules.iter();
        let rules = rules.find(|(algorithm, _)| *algorithm == header.alg);
        let (_, rules) = rules
            .filter(|(algorithm, _)| key.algorithms.contains(algorithm))
            .ok_or(Refused::WrongAlgorithm)?;
        let claims = decode::<Map<String, Value>>(token, &key.key, rules)?.claims;
        self.bearer(&claims, kind)
    }

    /// What the library does not look at.
    fn bearer(&self, claims: &Map<String, Value>, kind: &str) -> Result<Bearer, Refused> {
        // It would also take a list that has the issuer in it.
        if claims.get("iss").and_then(Value::as_str) != Some(&*self.settings.issuer) {
            return Err(Refused::WrongIssuer);
        }
        // Nothing here proves that the sender has its key (RFC 7800, 3.1).
        if claims.contains_key("cnf") {
            return Err(Refused::Bound);
        }
        let issued = match claims.get("iat") {
            None => None,
            Some(at) => Some(at.as_f64().ok_or(Refused::WrongClaim)?),
        };
        if issued.is_some_and(|at| at > now() + f64::from(LEEWAY)) {
            return Err(Refused::TooEarly);
        }
        let mut named = self.settings.scope_claims.iter();
        let named = named.find_map(|claim| {
            let value = claims.get(claim).filter(|it| !it.is_null())?;
            Some((&**claim, value))
        });
        let told_by_type = kind.eq_ignore_ascii_case("at+jwt");
        if !told_by_type && may_be_an_id_token(claims, named.map(|(claim, _)| claim)) {
            return Err(Refused::IdToken);
        }
        let subject = claims.get("sub").and_then(Value::as_str);
        let subject = subject.filter(|it| !it.is_empty());
        let subject = subject.ok_or(Refused::WrongClaim)?;
        let ends = claims.get("exp").and_then(Value::as_f64);
        self.verified
            .taken(ends.zip(issued).map(|(ends, issued)| ends - issued));
        Ok(Bearer {
            subject: self.subjects.shown(subject),
            scopes: named.map_or_else(Vec::new, |(_, named)| self.scopes(named)),
        })
    }

    fn scopes(&self, named: &Value) -> Vec<&'static str> {
        let called = |name| self.settings.scopes.called(name);
        match named {
            Value::String(text) => text.split_ascii_whitespace().flat_map(called).collect(),
            Value::Array(list) => {
                let texts = list.iter().filter_map(Value::as_str);
                texts.flat_map(called).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// What the library is to look at: it leaves out whatever is not said here.
fn rules(settings: &TokenSettings, algorithm: Algorithm) -> Validation {
    let mut rules = Validation::new(algorithm);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    rules.set_issuer(&[&settings.issuer]);
    rules.set_audience(&[&settings.audience]);
    rules.validate_nbf = true;
    rules.leeway = LEEWAY.into();
    rules
}

/// Whether a token of no telling type may be an ID token, which has its scopes in this claim.
/// `roles` and the like are in ID tokens of Entra ID too, which name no client.
fn may_be_an_id_token(claims: &Map<String, Value>, scopes: Option<&str>) -> bool {
    let has = |claim: &&str| claims.contains_key(*claim);
    let opens = scopes.is_some_and(|it| SCOPES.contains(&it) || CLIENT.iter().any(has));
    // Keycloak says in a claim what a token is: `Bearer`, `ID`, `Refresh`, `Logout`.
    let kind = claims.get("typ").map(Value::as_str);
    let other = kind.is_some_and(|kind| kind != Some("Bearer"));
    !opens || other || OF_ID_TOKENS.iter().any(has)
}

/// A type without the beginning that may be left out (RFC 7515, 4.1.9).
fn without_application(kind: &str) -> &str {
    const BEGINNING: &str = "application/";
    match kind.split_at_checked(BEGINNING.len()) {
        Some((beginning, rest)) if beginning.eq_ignore_ascii_case(BEGINNING) => rest,
        _ => kind,
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}
