//! Each request with an `Idempotency-Key` takes effect once, however often it is sent
//! (draft-ietf-httpapi-idempotency-key-header).
//!
//! The key is claimed in the transaction of the work: a process that dies leaves nothing claimed. An
//! answer is kept for a day, and found again before anything else is judged, because the second
//! try's `If-Match` is stale for the very reason that the first one succeeded. Refusals had no
//! effect and are not kept. What is older is forgotten at once, and deleted by the worker.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::{FromRef, FromRequest, Request},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::IF_MATCH},
    response::{IntoResponse, Response},
};
use contracts::may_hold_personal_identity_number;
use hmac::{Hmac, KeyInit, Mac};
use serde::de::DeserializeOwned;
use service_database::Database;
use service_defaults::{extract::Json, problem::Rejection, request_context::RequestContext};
use settings::{Secret, Violations, section};
use sha2::Sha256;
use sqlx::PgConnection;
use validator::Validate;

use super::{answer::Answer, refusal::Failure};
use crate::InsuranceSettings;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

section! {
    /// The section `[idempotency]`.
    pub struct IdempotencySettings {
        /// Makes the fingerprints by which a second try under an Idempotency-Key is known: 64
        /// hexadecimal digits, as `openssl rand -hex 32` makes them, the same ones for every replica.
        /// Where it changes, the second tries of one day are 422. Empty = made of the passwords of
        /// `database` and the key of `vehicle_client`, so that it changes with each of them.
        pub fingerprint_key: Secret = "", where usable_key;
    }
}

fn usable_key(key: &Secret, at: &str, violations: &mut Violations) {
    let text = key.expose();
    let usable = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if key.is_placeholder() {
        violations.secret(at, key);
    } else if !key.is_empty() && !usable {
        violations.report(at, "is not 64 hexadecimal digits");
    }
}

/// Makes fingerprints that nobody without it can try numbers against.
#[derive(Clone)]
pub(crate) struct FingerprintKey(Arc<[u8]>);

impl FingerprintKey {
    /// The key that is set, or one of other secrets that all instances of the service share.
    pub(crate) fn of(settings: &InsuranceSettings) -> Self {
        let own = settings.idempotency.fingerprint_key.expose();
        let others = [
            settings.database.password.expose(),
            settings.database.url.expose(),
            settings.vehicle_client.api_key.expose(),
        ];
        let key = if own.is_empty() {
            others.join("\0")
        } else {
            own.to_ascii_lowercase()
        };
        Self(key.into_bytes().into())
    }

    fn sign(&self, parts: &[&[u8]]) -> Vec<u8> {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            // HMAC takes keys of every length.
            return Vec::new();
        };
        for part in parts {
            mac.update(&part.len().to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().to_vec()
    }
}

/// A key with what it was sent with.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(super) caller: String,
    pub(super) key: String,
    pub(super) fingerprint: Vec<u8>,
}

/// An answer under its key, as it is kept.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(super) claim: &'a Claim,
    pub(super) status: i16,
    /// JSON: a list of names and values.
    pub(super) headers: String,
    pub(super) body: &'a [u8],
}

impl Claim {
    pub(crate) fn entry<'a>(&'a self, answer: &'a Answer) -> serde_json::Result<Entry<'a>> {
        let headers = answer.headers.iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| (name.as_str(), value))
            .collect();
        Ok(Entry {
            claim: self,
            status: i16::try_from(answer.status.as_u16()).unwrap_or_default(),
            headers: serde_json::to_string(&headers)?,
            body: &answer.body,
        })
    }
}

/// A body that takes effect once.
#[derive(Debug)]
pub(crate) struct Once<T>(pub(crate) Claim, pub(crate) T);

impl<S, T> FromRequest<S> for Once<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Validate,
    FingerprintKey: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let key = key(&parts.headers).map_err(IntoResponse::into_response)?;
        let context = parts.extensions.get::<RequestContext>();
        let caller = context.and_then(RequestContext::client).unwrap_or_default();
        let caller = caller.to_owned();
        let whole = Request::from_parts(parts.clone(), body);
        let bytes = Bytes::from_request(whole, state)
            .await
            .map_err(IntoResponse::into_response)?;
        // Lines of one field are one list (RFC 9110, 5.3).
        let wanted = parts.headers.get_all(IF_MATCH).iter();
        let wanted: Vec<_> = wanted.map(HeaderValue::as_bytes).collect();
        let fingerprint = FingerprintKey::from_ref(state).sign(&[
            parts.method.as_str().as_bytes(),
            parts.uri.path().as_bytes(),
            &wanted.join(&b", "[..]),
            &bytes,
        ]);
        let whole = Request::from_parts(parts, Body::from(bytes));
        let Json(value) = Json::from_request(whole, state)
            .await
            .map_err(IntoResponse::into_response)?;
        let claim = Claim {
            caller,
            key,
            fingerprint,
        };
        Ok(Self(claim, value))
    }
}

fn key(headers: &HeaderMap) -> Result<String, Rejection> {
    let bad = |code: &'static str, detail: &'static str| {
        Rejection::new(StatusCode::BAD_REQUEST, code, "Invalid request", detail)
    };
    let mut sent = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = sent.next() else {
        let detail = "Send an Idempotency-Key of your own making, the same one for each try.";
        return Err(bad("idempotency_key_missing", detail));
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let text = value.to_str().unwrap_or_default();
    let known = (16..=64).contains(&text.len()) && text.bytes().all(is_plain);
    if !known || sent.next().is_some() || may_hold_personal_identity_number(text) {
        let detail = "An Idempotency-Key has 16 to 64 of A-Z, a-z, 0-9, _ and -, and nothing that may hold a personal identity number.";
        return Err(bad("idempotency_key_invalid", detail));
    }
    Ok(text.to_owned())
}

/// What was answered to this request before, if it was.
pub(crate) async fn replay(database: &Database, claim: &Claim) -> Result<Option<Answer>, Failure> {
    let found = database
        .read(claim.clone(), |connection, claim| {
            Box::pin(find(connection, claim))
        })
        .await?;
    found.map(|kept| kept.replayed(claim)).transpose()
}

/// What is kept under a key.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(super) fingerprint: Vec<u8>,
    pub(super) status: Option<i16>,
    pub(super) headers: Option<String>,
    pub(super) body: Option<Vec<u8>>,
}

impl Kept {
    /// The answer, given again to a request that is the same.
    pub(crate) fn replayed(self, claim: &Claim) -> Result<Answer, Failure> {
        if self.fingerprint != claim.fingerprint {
            return Err(Failure::KeyReused);
        }
        match (self.status, self.body) {
            (Some(410), _) | (Some(_), None) => Err(Failure::Erased),
            (Some(status), Some(body)) => {
                let status = u16::try_from(status)
                    .ok()
                    .and_then(|it| StatusCode::from_u16(it).ok());
                let headers: Vec<(String, String)> =
                    serde_json::from_str(self.headers.as_deref().unwrap_or("[]"))
                        .unwrap_or_default();
                let headers = headers.into_iter();
                let answer = Answer {
                    status: status.unwrap_or(StatusCode::OK),
                    headers: headers
                        .filter_map(|(name, value)| Some((name.parse().ok()?, value)))
                        .collect(),
                    body,
                };
                Ok(answer.with(REPLAYED, "true".to_owned()))
            }
            // Of an earlier release, inside the transaction that claims it.
            (None, _) => Err(Failure::Busy),
        }
    }
}

async fn find(connection: &mut PgConnection, claim: &Claim) -> sqlx::Result<Option<Kept>> {
    sqlx::query_as!(
        Kept,
        "select fingerprint, status, headers::text, body from insurance.idempotency_keys
         where caller = $1 and key = $2 and created_at > now() - interval '24 hours'",
        claim.caller,
        claim.key
    )
    .fetch_optional(connection)
    .await
}

/// Deletes some of the answers that are too old to be given again, and says how many.
pub(crate) async fn delete_old(connection: &mut PgConnection) -> sqlx::Result<u64> {
    let deleted = sqlx::query!(
        "delete from insurance.idempotency_keys where (caller, key) in (
             select caller, key from insurance.idempotency_keys
             where created_at <= now() - interval '24 hours'
             order by created_at limit 500 for update skip locked
         )"
    )
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected())
}

/// Claims a key together with its answer, in a statement of which this is a part: waits for a
/// transaction that has claimed it, and fails if that one was committed.
macro_rules! claim {
    ($before:literal, $values:literal, $after:literal, $($argument:expr),*) => {
        sqlx::query!(
            $before
                + "insert into insurance.idempotency_keys as kept
                     (caller, key, fingerprint, status, headers, body, subject)
                 "
                + $values
                + "
                 on conflict (caller, key) do update
                 set fingerprint = excluded.fingerprint, status = excluded.status,
                     headers = excluded.headers, body = excluded.body, subject = excluded.subject,
                     created_at = case when kept.created_at <= now() - interval '24 hours'
                         then excluded.created_at else insurance.refuse_claim() end"
                + $after,
            $($argument),*
        )
    };
}
pub(super) use claim;

/// Claims the key for this transaction and keeps its answer, which is about this policy or about
/// none, as the last of its locks. A change of a policy does so in its own statement.
pub(crate) async fn keep(
    connection: &mut PgConnection,
    entry: &Entry<'_>,
    insurance_id: Option<i64>,
) -> Result<(), Failure> {
    let claimed = claim!(
        "",
        "values ($1, $2, $3, $4, $5::text::json, $6, $7)",
        "",
        entry.claim.caller,
        entry.claim.key,
        entry.claim.fingerprint,
        entry.status,
        entry.headers,
        entry.body,
        insurance_id.map(|id| format!("policy/{id}"))
    );
    claimed.execute(connection).await?;
    Ok(())
}
