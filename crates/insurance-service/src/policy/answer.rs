//! What is answered about a policy.

use axum::{
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{self, CONTENT_TYPE, IF_MATCH},
    },
    response::{IntoResponse, Response},
};
use contracts::{Currency, Day, Policy, PolicyPeriod};
use headers::{ETag, HeaderMapExt, IfMatch};
use serde::Serialize;
use service_defaults::problem::Rejection;

use super::{decide::allowed, refusal::Failure, store::Stored};

/// The id of the event that a change has written.
pub(crate) const EVENT_ID: HeaderName = HeaderName::from_static("event-id");

/// An answer that can be kept and given again.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A value.
    pub(crate) fn of(status: StatusCode, value: &impl Serialize) -> Result<Self, Failure> {
        let body = serde_json::to_vec(value);
        Ok(Self {
            status,
            headers: Vec::new(),
            body: body.map_err(|error| Rejection::internal().with_cause(error))?,
        })
    }

    /// A policy, with its entity tag.
    pub(crate) fn policy(status: StatusCode, stored: &Stored, today: Day) -> Result<Self, Failure> {
        let answer = Self::of(status, &view(stored, today))?;
        Ok(answer.with(header::ETAG, entity_tag(stored, today)))
    }

    pub(crate) fn with(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let json = [(CONTENT_TYPE, "application/json")];
        let mut response = (self.status, json, self.body).into_response();
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// A policy on the wire, as it is on a day.
pub(crate) fn view(stored: &Stored, today: Day) -> Policy {
    let policy = &stored.policy;
    let period = policy.period_on(today);
    Policy {
        insurance_id: policy.insurance_id,
        product: policy.product,
        status: policy.status_on(today),
        valid_from: policy.valid_from,
        valid_until: policy.valid_until,
        monthly_cost: period.map_or(policy.monthly_cost, |it| it.monthly_cost),
        currency: Currency::Sek,
        car_registration_number: period.map_or(&policy.car, |it| &it.car).clone(),
        periods: policy
            .covers
            .iter()
            .map(|cover| PolicyPeriod {
                from: cover.from,
                until: cover.until,
                car_registration_number: cover.car.clone(),
                monthly_cost: cover.monthly_cost,
            })
            .collect(),
        cover_overlaps: policy.covers.iter().any(|cover| cover.overlapping),
        version: policy.version,
        allowed: allowed(policy, today, stored.erased),
    }
}

/// Names what is answered: a policy that its dates have changed since has another one.
pub(crate) fn entity_tag(stored: &Stored, today: Day) -> String {
    let Stored { policy, log, .. } = stored;
    let first = policy
        .period_on(today)
        .map_or(policy.valid_from, |period| period.from);
    let status = policy.status_on(today).name();
    format!("\"{log}-{}-{status}-{first}\"", policy.version)
}

/// The versions that a change takes. It is judged against the policy's entity tag on every route
/// below the policy, which have no representation of their own.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    condition: Option<IfMatch>,
}

impl Wanted {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let text = headers
            .get(IF_MATCH)
            .ok_or(Failure::PreconditionRequired)?
            .as_bytes();
        if text.trim_ascii() == b"*" {
            return Err(Failure::Wildcard);
        }
        Ok(Self {
            // One that cannot be read names no version.
            condition: headers.typed_get(),
        })
    }

    pub(crate) fn check(&self, stored: &Stored, today: Day) -> Result<(), Failure> {
        let current: Option<ETag> = entity_tag(stored, today).parse().ok();
        match (&self.condition, current) {
            (Some(condition), Some(current)) if condition.precondition_passes(&current) => Ok(()),
            _ => Err(version_conflict(stored, today)),
        }
    }
}

/// The refusal that names the version that there is.
pub(crate) fn version_conflict(stored: &Stored, today: Day) -> Failure {
    let tag = HeaderValue::from_str(&entity_tag(stored, today));
    Failure::VersionConflict(tag.unwrap_or(HeaderValue::from_static("")))
}
