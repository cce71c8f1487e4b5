//! Policies that are drafted and changed.

use axum::{extract::State, http::HeaderMap};
use contracts::{
    PersonalIdentityNumber, PersonalIdentityNumberCheck, Policy, PolicyChange, PolicyDraft,
    PolicyPatch, PolicyTransition, Product,
};
use service_defaults::{
    extract::{Json, Path, invalid_member},
    problem::Rejection,
};

use super::{
    Policies,
    answer::{Answer, Wanted},
    change::{Alteration, Patch, Wish},
    decide::{Change, Move, Terms},
    execute::Caller,
    idempotency::Once,
    refusal::{Failure, unprocessable},
    routes::InsuranceId,
};

/// Drafts a policy
///
/// It covers nothing until it is activated. Its cost is the price list's for its first day.
#[utoipa::path(
    post, path = "/api/v1/policies", tag = "Policies",
    params(
        ("X-Causation-Id" = Option<String>, Header, description = "Id of the event that led to this change; the change's event names it. One that cannot be read is left out"),
        ("Idempotency-Key" = String, Header, description = "Of the caller's making, the same one for each try; kept for 24 hours", min_length = 16, max_length = 64, pattern = "^[A-Za-z0-9_-]{16,64}$", example = "draft-4f1d0a2b9c"),
    ),
    request_body = PolicyDraft,
    responses(
        (status = 201, description = "The draft", body = Policy, headers(
            ("ETag" = String, description = "What a change names in `If-Match`"),
            ("Location" = String, description = "Where the policy is"),
            ("Event-Id" = String, description = "Id of the event that tells it"),
            ("Idempotency-Replayed" = String, description = "`true` where the answer is that of an earlier try"),
            ("Cache-Control" = String, description = "`no-store`"),
        )),
        (status = 409, description = "The key is in use at this moment", headers(("Retry-After" = u64, description = "Seconds after which asking again makes sense, where it does"))),
        (status = 410, description = "The answer to an earlier try was erased with the policy's person"),
        (status = 422, description = "The draft breaks a rule, or the key came with another request"),
    )
)]
pub(super) async fn draft_policy(
    State(policies): State<Policies>,
    caller: Caller,
    Once(claim, body): Once<PolicyDraft>,
) -> Result<Answer, Failure> {
    let settings = policies.settings.snapshot();
    let check = settings.service.personal_identity_number.check;
    let wish = || {
        let (person, terms) = drafted(body, check)?;
        Ok(Wish::Draft(person, terms))
    };
    policies.draft_once(&caller, claim, wish).await
}

fn drafted(
    body: PolicyDraft,
    check: PersonalIdentityNumberCheck,
) -> Result<(PersonalIdentityNumber, Terms), Failure> {
    let person: PersonalIdentityNumber = body
        .personal_identity_number
        .expose()
        .parse()
        .and_then(|it: PersonalIdentityNumber| it.verify(check).map(|()| it))
        .map_err(|rule| invalid_member("personalIdentityNumber", &rule))?;
    let terms = Terms {
        product: product(&body.product)?,
        car: body.car_registration_number,
        valid_from: body.valid_from,
        valid_until: body.valid_until,
    };
    Ok((person, terms))
}

/// Changes a draft
///
/// As a merge patch (RFC 7396). The person of a draft stays. An `Idempotency-Key` is not read:
/// `If-Match` lets it be done only once, and a second try is 412.
#[utoipa::path(
    patch, path = "/api/v1/policies/{insuranceId}", tag = "Policies",
    params(
        ("insuranceId" = i64, Path, description = "Number of the policy", example = 1_000_005, minimum = 1),
        ("X-Causation-Id" = Option<String>, Header, description = "Id of the event that led to this change; the change's event names it. One that cannot be read is left out"),
        ("If-Match" = String, Header, description = "`ETag` of the policy that the caller has seen"),
    ),
    request_body(content((PolicyPatch = "application/merge-patch+json"), (PolicyPatch = "application/json"))),
    responses(
        (status = 200, description = "The draft", body = Policy, headers(
            ("ETag" = String, description = "What the next change names in `If-Match`"),
            ("Event-Id" = String, description = "Id of the event that tells it"),
            ("Cache-Control" = String, description = "`no-store`"),
        )),
        (status = 404, description = "No policy has this number"),
        (status = 409, description = "The policy is no draft, or is being changed", headers(("Retry-After" = u64, description = "Seconds after which asking again makes sense, where it does"))),
        (status = 410, description = "The person of the draft was erased"),
        (status = 412, description = "The policy has another version", headers(("ETag" = String, description = "Of the version that it has"))),
        (status = 422, description = "The draft would break a rule"),
        (status = 428, description = "`If-Match` is missing"),
    )
)]
pub(super) async fn patch_policy(
    State(policies): State<Policies>,
    caller: Caller,
    Path(InsuranceId(id)): Path<InsuranceId>,
    headers: HeaderMap,
    Json(body): Json<PolicyPatch>,
) -> Result<Answer, Failure> {
    let patch = Patch {
        product: body.product.as_deref().map(product).transpose()?,
        car: body.car_registration_number,
        valid_from: body.valid_from,
        valid_until: body.valid_until,
    };
    let wish = || Ok(Wish::Of(Wanted::of(&headers)?, Alteration::Patch(patch)));
    policies.alter(&caller, None, id, wish).await
}

/// What both routes below answer that take a policy in force further.
#[derive(utoipa::IntoResponses)]
#[expect(
    dead_code,
    reason = "it documents answers, which `Answer` and `Failure` make"
)]
enum Changed {
    /// The policy
    #[response(status = 200, headers(
        ("ETag" = String, description = "What the next change names in `If-Match`"),
        ("Event-Id" = String, description = "Id of the event that tells it"),
        ("Idempotency-Replayed" = String, description = "`true` where the answer is that of an earlier try"),
        ("Cache-Control" = String, description = "`no-store`"),
    ))]
    Done(Policy),
    /// No policy has this number
    #[response(status = 404)]
    NotFound,
    /// The policy cannot be taken there, is not in force or is being changed, another one covers the car, or Vehicle knows no such car
    #[response(status = 409, headers(("Retry-After" = u64, description = "Seconds after which asking again makes sense, where it does")))]
    Conflict,
    /// The answer to an earlier try was erased with the policy's person
    #[response(status = 410)]
    Erased,
    /// The policy has another version
    #[response(status = 412, headers(("ETag" = String, description = "Of the version that it has")))]
    OtherVersion,
    /// A rule is broken, or the key came with another request
    #[response(status = 422)]
    Refused,
    /// `If-Match` is missing
    #[response(status = 428)]
    NoVersion,
    /// The service is busy, or the database is, or Vehicle could not be asked
    #[response(status = 503)]
    Unavailable,
}

/// Takes a policy to another status
///
/// A draft is activated or cancelled; a policy in force is suspended, resumed, or cancelled from a
/// day on. An activation freezes the cost, asks Vehicle whether it knows the car, and is refused
/// where another policy covers the car. `If-Match` is judged against the entity tag of the policy.
#[utoipa::path(
    post, path = "/api/v1/policies/{insuranceId}/transitions", tag = "Policies",
    params(
        ("insuranceId" = i64, Path, description = "Number of the policy", example = 1_000_005, minimum = 1),
        ("If-Match" = String, Header, description = "`ETag` of the policy that the caller has seen"),
        ("X-Causation-Id" = Option<String>, Header, description = "Id of the event that led to this change; the change's event names it. One that cannot be read is left out"),
        ("Idempotency-Key" = String, Header, description = "Of the caller's making, the same one for each try; kept for 24 hours", min_length = 16, max_length = 64, pattern = "^[A-Za-z0-9_-]{16,64}$", example = "activate-4f1d0a2b"),
    ),
    request_body = PolicyTransition,
    responses(Changed)
)]
pub(super) async fn move_policy(
    State(policies): State<Policies>,
    caller: Caller,
    Path(InsuranceId(id)): Path<InsuranceId>,
    headers: HeaderMap,
    Once(claim, body): Once<PolicyTransition>,
) -> Result<Answer, Failure> {
    let to = Move {
        to: body.to,
        reason: body.reason,
        effective_on: body.effective_on,
    };
    let wish = || Ok(Wish::Of(Wanted::of(&headers)?, Alteration::Move(to)));
    policies.alter_once(&caller, claim, id, wish).await
}

/// Changes a policy in force from a day on
///
/// Another car, another end, or both. Beginning on the present `validUntil`, with a later one, it
/// renews the policy at the list price of that day. `If-Match` is judged against the entity tag of
/// the policy.
#[utoipa::path(
    post, path = "/api/v1/policies/{insuranceId}/changes", tag = "Policies",
    params(
        ("insuranceId" = i64, Path, description = "Number of the policy", example = 1_000_005, minimum = 1),
        ("If-Match" = String, Header, description = "`ETag` of the policy that the caller has seen"),
        ("X-Causation-Id" = Option<String>, Header, description = "Id of the event that led to this change; the change's event names it. One that cannot be read is left out"),
        ("Idempotency-Key" = String, Header, description = "Of the caller's making, the same one for each try; kept for 24 hours", min_length = 16, max_length = 64, pattern = "^[A-Za-z0-9_-]{16,64}$", example = "change-4f1d0a2b9"),
    ),
    request_body = PolicyChange,
    responses(Changed)
)]
pub(super) async fn change_policy(
    State(policies): State<Policies>,
    caller: Caller,
    Path(InsuranceId(id)): Path<InsuranceId>,
    headers: HeaderMap,
    Once(claim, body): Once<PolicyChange>,
) -> Result<Answer, Failure> {
    let change = Change {
        effective_on: body.effective_on,
        car: body.car_registration_number,
        valid_until: body.valid_until,
    };
    let wish = || Ok(Wish::Of(Wanted::of(&headers)?, Alteration::Change(change)));
    policies.alter_once(&caller, claim, id, wish).await
}

fn product(name: &str) -> Result<Product, Rejection> {
    let detail = "the product is none that is insured";
    Product::named(name).ok_or_else(|| unprocessable("product_unknown", "/product", detail))
}
