//! The published keys (RFC 7517) that may verify access tokens, each for its own algorithms.

use std::{collections::HashMap, sync::Arc};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::fetch::FetchError;

/// Most keys that an issuer may publish.
pub(crate) const MOST_KEYS: usize = 50;

/// The keys of a set that verify access tokens.
#[derive(Debug)]
pub(crate) struct KeySet {
    /// By their ids.
    pub(crate) keys: HashMap<String, Arc<Key>>,
    /// How many others the set has.
    pub(crate) left_out: usize,
}

/// A key and what it is good for.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) key: DecodingKey,
    pub(crate) algorithms: Vec<Algorithm>,
}

/// Why published keys cannot be used.
#[derive(Debug)]
pub(crate) enum KeySetError {
    Json(serde_json::Error),
    TooMany(usize),
}

impl KeySetError {
    pub(crate) fn into_fetch_error(self, url: &Url) -> FetchError {
        match self {
            Self::Json(error) => FetchError::Json(url.clone(), error),
            Self::TooMany(keys) => FetchError::TooManyKeys(keys),
        }
    }
}

#[derive(Deserialize)]
struct Published {
    /// Keys of kinds that nobody knows yet are no fault (RFC 7517, 5).
    keys: Vec<Value>,
}

/// Reads a set of keys. Those that verify no access token are left out: for encryption, symmetric,
/// without an id, of an algorithm that is not ours, or the second of two with one id (they may be
/// alternatives of different types, RFC 7517, 4.5, of which one is enough).
pub(crate) fn read(body: &[u8], without_alg: &[Algorithm]) -> Result<KeySet, KeySetError> {
    let Published { keys } = serde_json::from_slice(body).map_err(KeySetError::Json)?;
    if keys.len() > MOST_KEYS {
        return Err(KeySetError::TooMany(keys.len()));
    }
    let published = keys.len();
    let usable = keys.into_iter().filter_map(|key| usable(key, without_alg));
    let mut keys = HashMap::new();
    for (id, key) in usable {
        keys.entry(id).or_insert_with(|| Arc::new(key));
    }
    let left_out = published - keys.len();
    Ok(KeySet { keys, left_out })
}

fn usable(published: Value, without_alg: &[Algorithm]) -> Option<(String, Key)> {
    let named = published.get("alg").is_some_and(|alg| !alg.is_null());
    let jwk: Jwk = serde_json::from_value(published).ok()?;
    let common = &jwk.common;
    let signs = common
        .public_key_use
        .as_ref()
        .is_none_or(|it| *it == PublicKeyUse::Signature);
    let verifies = common
        .key_operations
        .as_ref()
        .is_none_or(|it| it.contains(&KeyOperations::Verify));
    if !signs || !verifies {
        return None;
    }
    let mut algorithms = fitting(&jwk.algorithm).to_vec();
    if named {
        // One that is unknown is none of ours, too.
        let own = common.key_algorithm?;
        algorithms.retain(|it| Algorithm::try_from(own).is_ok_and(|own| *it == own));
    } else {
        algorithms.retain(|it| without_alg.contains(it));
    }
    if algorithms.is_empty() {
        return None;
    }
    let id = common.key_id.clone()?;
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some((id, Key { key, algorithms }))
}

/// What a key of this kind could be used for.
fn fitting(parameters: &AlgorithmParameters) -> &'static [Algorithm] {
    match parameters {
        AlgorithmParameters::RSA(_) => &[Algorithm::RS256, Algorithm::PS256],
        AlgorithmParameters::EllipticCurve(it) if it.curve == EllipticCurve::P256 => {
            &[Algorithm::ES256]
        }
        AlgorithmParameters::OctetKeyPair(it) if it.curve == EllipticCurve::Ed25519 => {
            &[Algorithm::EdDSA]
        }
        _ => &[],
    }
}
