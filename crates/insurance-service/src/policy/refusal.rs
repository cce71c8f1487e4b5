//! Why a request about a policy is refused, and what its caller is told.

use axum::{
    http::{HeaderValue, StatusCode, header::ETAG},
    response::{IntoResponse, Response},
};
use contracts::{FieldError, PolicyStatus};
use service_defaults::problem::Rejection;
use sqlx::error::DatabaseError;

use super::{
    decide::{Refusal, Rule},
    store::Conflict,
};

/// After how many seconds a lock is worth another try.
const BUSY_RETRY_AFTER_SECONDS: u64 = 1;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No policy has the number.
    NotFound,
    /// The rules of policies refuse it.
    Refused(Refusal),
    /// The edge's rules for requests refuse it, or the database has no rows.
    Rejected(Rejection),
    /// The caller named no version.
    PreconditionRequired,
    /// `If-Match: *` names none either.
    Wildcard,
    /// The policy has another version, with this entity tag.
    VersionConflict(HeaderValue),
    /// Another policy covers the car. Which one, is looked up after the transaction.
    Overlaps,
    /// This one, for a caller who may read it or not.
    CoverOverlaps {
        conflict: Option<Conflict>,
        told: bool,
    },
    /// A policy of the person is in force, or will be.
    PolicyInForce,
    /// The day has another price.
    PriceIsSet,
    /// Somebody else holds a lock.
    Busy,
    /// The server ended one of two transactions that waited for each other.
    Deadlock,
    /// What the change was decided by is not so any more.
    Outdated,
    /// The key was claimed meanwhile: its answer is there by now.
    Claimed,
    /// The key came with another request.
    KeyReused,
    /// The answer was about a person that was erased.
    Erased,
    /// Vehicle knows no such car.
    VehicleUnknown,
    /// Vehicle could not be asked.
    VehicleUnavailable { retry_after_seconds: u64 },
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        service_database::Error::from(error).into()
    }
}

impl From<service_database::Error> for Failure {
    fn from(error: service_database::Error) -> Self {
        let named = match &error {
            service_database::Error::Failed(cause) | service_database::Error::Locked(cause) => {
                cause.as_database_error().and_then(named)
            }
            _ => None,
        };
        named.unwrap_or_else(|| Self::Rejected(error.into()))
    }
}

/// What an answer of the server says of a request. By name: the detail of a constraint's error holds
/// the plate and is logged nowhere.
fn named(answer: &(dyn DatabaseError + 'static)) -> Option<Failure> {
    let constraint = answer.constraint();
    match answer.code().as_deref()? {
        "23P01" if constraint == Some("one_cover_at_a_time") => Some(Failure::Overlaps),
        "23505" if constraint == Some("idempotency_keys_pkey") => Some(Failure::Claimed),
        "55P03" => Some(Failure::Busy),
        "40P01" | "40001" => Some(Failure::Deadlock),
        // Its person was erased meanwhile.
        "23514" if constraint == Some("only_the_ended_are_erased") => Some(Failure::Outdated),
        _ => None,
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Rule> for Failure {
    fn from(rule: Rule) -> Self {
        Self::Refused(rule.into())
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        self.into_rejection().into_response()
    }
}

fn conflict(code: &'static str, title: &'static str, detail: &'static str) -> Rejection {
    Rejection::new(StatusCode::CONFLICT, code, title, detail)
}

impl Failure {
    fn into_rejection(self) -> Rejection {
        match self {
            Self::NotFound => Rejection::new(
                StatusCode::NOT_FOUND,
                "policy_not_found",
                "Policy not found",
                "No policy has this number.",
            ),
            Self::Refused(refusal) => refused(refusal),
            Self::Rejected(rejection) => rejection,
            Self::PreconditionRequired => Rejection::new(
                StatusCode::PRECONDITION_REQUIRED,
                "precondition_required",
                "Precondition required",
                "Send the ETag of the policy in If-Match.",
            ),
            Self::Wildcard => Rejection::new(
                StatusCode::BAD_REQUEST,
                "wildcard_not_allowed",
                "Invalid request",
                "If-Match names the ETag of the policy, not *.",
            ),
            Self::VersionConflict(tag) => Rejection::new(
                StatusCode::PRECONDITION_FAILED,
                "version_conflict",
                "Changed meanwhile",
                "The policy has another version; its ETag is that of this answer.",
            )
            .with_member("currentETag", tag.to_str().unwrap_or_default())
            .with_header(ETAG, tag),
            Self::CoverOverlaps { conflict, told } => overlaps(conflict, told),
            Self::Overlaps => overlaps(None, false),
            Self::PolicyInForce => conflict(
                "policy_in_force",
                "Policy in force",
                "A policy of the person is in force or begins later. Cancel it, and ask again from the day on which it ends; one that is cancelled before its first day is no hindrance.",
            ),
            Self::PriceIsSet => conflict(
                "price_is_set",
                "Price is set",
                "Another price of the product begins on this day, and a price is never changed.",
            ),
            Self::Busy | Self::Deadlock | Self::Outdated | Self::Claimed => conflict(
                "busy",
                "Busy",
                "Somebody else works with the same car, policy, price or Idempotency-Key.",
            )
            .with_header(axum::http::header::RETRY_AFTER, BUSY_RETRY_AFTER_SECONDS),
            Self::KeyReused => Rejection::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "Idempotency-Key reused",
                "The Idempotency-Key came with another request before.",
            ),
            Self::Erased => erased(),
            Self::VehicleUnknown => conflict(
                "vehicle_unknown",
                "Unknown vehicle",
                "Vehicle knows no car with this registration number.",
            ),
            Self::VehicleUnavailable {
                retry_after_seconds,
            } => Rejection::unavailable(
                "vehicle_unavailable",
                "Vehicle could not be asked whether the car exists.",
                retry_after_seconds,
            ),
        }
    }
}

fn erased() -> Rejection {
    Rejection::new(
        StatusCode::GONE,
        "erased",
        "Erased",
        "The person of the policy was erased.",
    )
}

fn overlaps(found: Option<Conflict>, told: bool) -> Rejection {
    let rejection = conflict(
        "cover_overlaps",
        "Covered already",
        "Another policy covers the car on some of these days.",
    );
    match found {
        Some(found) => {
            let rejection = rejection.with_member("conflictingInsuranceId", found.insurance_id);
            if told {
                rejection
                    .with_member("validFrom", found.from.to_string())
                    .with_member("validUntil", found.until.map(|day| day.to_string()))
            } else {
                rejection
            }
        }
        None => rejection,
    }
}

fn refused(refusal: Refusal) -> Rejection {
    match refusal {
        Refusal::TransitionNotAllowed { from, to, allowed } => conflict(
            "transition_not_allowed",
            "Transition not allowed",
            "The policy cannot be taken from the one status to the other.",
        )
        .with_member("from", from.name())
        .with_member("to", to.name())
        .with_member(
            "allowed",
            allowed
                .into_iter()
                .map(PolicyStatus::name)
                .collect::<Vec<_>>(),
        ),
        Refusal::NotADraft => conflict(
            "not_a_draft",
            "No draft",
            "Only drafts are changed as a whole.",
        ),
        Refusal::NotInForce => conflict(
            "policy_not_in_force",
            "Not in force",
            "Only a policy in force without a decided cancellation takes changes.",
        ),
        Refusal::Erased => erased(),
        Refusal::Rule(rule) => {
            let (code, member, detail) = told(rule);
            unprocessable(code, member, detail)
        }
    }
}

/// The refusal (422) of a member of the body.
pub(crate) fn unprocessable(
    code: &'static str,
    member: &'static str,
    detail: &'static str,
) -> Rejection {
    Rejection::unprocessable(vec![FieldError {
        pointer: Some(member.to_owned()),
        parameter: None,
        code: code.into(),
        detail: detail.into(),
    }])
}

/// The code of a rule, the member that breaks it, and what it asks for.
fn told(rule: Rule) -> (&'static str, &'static str, &'static str) {
    let (code, member, detail) = match rule {
        Rule::CarRequired => (
            "car_required",
            "/carRegistrationNumber",
            "the product car has a car",
        ),
        Rule::CarNotAllowed => (
            "car_not_allowed",
            "/carRegistrationNumber",
            "only the product car has a car",
        ),
        Rule::DatesReversed => (
            "dates_reversed",
            "/validUntil",
            "the first day without cover is after the first day with it",
        ),
        Rule::NoPrice => (
            "no_price",
            "/validFrom",
            "the price list has no price for the first day",
        ),
        Rule::CoverInThePast => (
            "cover_in_the_past",
            "/validFrom",
            "a cover begins today or later",
        ),
        Rule::EffectiveOnOutOfRange => (
            "effective_on_out_of_range",
            "/effectiveOn",
            "is today or later, and within the days that the policy covers",
        ),
        Rule::EffectiveOnNotAllowed => (
            "effective_on_not_allowed",
            "/effectiveOn",
            "only the cancellation of a policy in force has a day",
        ),
        Rule::NothingToChange => (
            "nothing_to_change",
            "",
            "a change names another car, another end, or both",
        ),
    };
    (code, member, detail)
}
