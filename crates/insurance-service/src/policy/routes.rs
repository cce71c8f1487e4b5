//! Policies over HTTP.

use std::time::Duration;

use axum::{
    Extension,
    extract::{FromRef, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use contracts::{
    PersonalIdentityNumber, Policy, PolicyChange, PolicyDraft, PolicyPage, PolicyPatch,
    PolicyStatus, PolicyTransition, PriceList, Product, RegistrationNumber,
};
use event_log::{EventLog, Origin};
use headers::{HeaderMapExt, IfNoneMatch};
use opentelemetry::metrics::{Counter, Meter};
use service_database::Database;
use service_defaults::{
    extract::{Json, Path, invalid_member},
    limits::RequestDeadline,
    problem::Rejection,
    query::Query,
    request_context::RequestContext,
    scope::Scope,
    settings::Live,
    surface::Surface,
};
use tokio::time::Instant;
use utoipa_axum::{router::OpenApiRouter, routes};
use vehicle_client::{CallContext, FailureKind, Lookup, VehicleClient};

use super::{
    answer::{Answer, Wanted, view},
    change::{Alteration, Job, Outcome, Patch, Wish},
    decide::{Change, Move, Terms},
    idempotency::{Claim, FingerprintKey, Once, replay},
    refusal::{Failure, unprocessable},
    store, today,
};
use crate::{
    enrichment::retry_after_seconds,
    routes::{LASTING_RETRY_AFTER_SECONDS, enriched_until},
    settings::InsuranceSettings,
};

/// Policies of a page.
const LIMIT: u64 = 50;
const MOST: u64 = 500;

/// What the routes need.
#[derive(Clone, FromRef)]
pub(crate) struct Policies {
    database: Database,
    vehicles: VehicleClient,
    log: EventLog,
    fingerprints: FingerprintKey,
    settings: Live<InsuranceSettings>,
    /// Time for the question to Vehicle.
    time: Duration,
    replays: Counter<u64>,
}

impl Policies {
    pub(crate) fn new(
        database: Database,
        vehicles: VehicleClient,
        log: EventLog,
        settings: Live<InsuranceSettings>,
        meter: &Meter,
    ) -> Self {
        let now = settings.snapshot();
        let secrets = [
            now.service.database.password.expose(),
            now.service.database.url.expose(),
            now.service.vehicle_client.api_key.expose(),
        ];
        let replays = meter
            .u64_counter("idempotency.replays")
            .with_unit("{request}")
            .with_description("Requests that were given the answer to an earlier try")
            .build();
        replays.add(0, &[]);
        Self {
            database,
            vehicles,
            log,
            fingerprints: FingerprintKey::of(&secrets),
            time: now.service.enrichment.deadline,
            settings,
            replays,
        }
    }
}

/// The routes with their surfaces: those that read, and those that write.
pub(crate) fn surfaces(policies: &Policies) -> [(Surface, OpenApiRouter); 2] {
    let read = OpenApiRouter::new()
        .routes(routes!(get_policy))
        .routes(routes!(list_policies))
        .routes(routes!(list_prices))
        .with_state(policies.clone());
    let write = OpenApiRouter::new()
        .routes(routes!(draft_policy))
        .routes(routes!(patch_policy))
        .routes(routes!(move_policy))
        .routes(routes!(change_policy))
        .with_state(policies.clone());
    // The surface of the paths that both have comes last: it answers the methods they lack.
    [
        (Surface::keyed(&[Scope::Write]), write),
        (Surface::keyed(&[Scope::Read]), read),
    ]
}

/// A number of a policy.
#[derive(Clone, Copy, Debug)]
struct InsuranceId(i64);

#[derive(Debug, thiserror::Error)]
#[error("the number of a policy is a whole number above zero")]
struct NoInsuranceId;

impl std::str::FromStr for InsuranceId {
    type Err = NoInsuranceId;

    fn from_str(text: &str) -> Result<Self, NoInsuranceId> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| plain && *number > 0);
        number.map(Self).ok_or(NoInsuranceId)
    }
}

/// A policy by its number
///
/// Its status, its car and its cost are today's, in Sweden. The personal identity number is not
/// part of the answer.
#[utoipa::path(
    get, path = "/api/v1/policies/{insuranceId}", tag = "Policies",
    params(
        ("insuranceId" = i64, Path, description = "Number of the policy", example = 1_000_000, minimum = 1),
        ("If-None-Match" = Option<String>, Header, description = "Entity tag of the answer that the caller has"),
    ),
    responses(
        (status = 200, description = "The policy", body = Policy, headers(
            ("ETag" = String, description = "What a change names in `If-Match`. It changes with every version, and when a day makes another status or period of the policy"),
            ("Cache-Control" = String, description = "`no-store`"),
        )),
        (status = 304, description = "The caller's answer is still good", headers(
            ("ETag" = String, description = "The entity tag that it still has"),
            ("Cache-Control" = String, description = "`no-store`"),
        )),
        (status = 404, description = "No policy has this number"),
    )
)]
async fn get_policy(
    State(database): State<Database>,
    Path(InsuranceId(id)): Path<InsuranceId>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let stored = database
        .read(id, |connection, id| {
            Box::pin(store::find_one(connection, *id))
        })
        .await?
        .ok_or(Failure::NotFound)?;
    let mut answer = Answer::policy(StatusCode::OK, &stored, today())?;
    let tag = answer.headers[0].1.parse().ok();
    let known = headers.typed_get::<IfNoneMatch>();
    if let (Some(known), Some(tag)) = (known, tag)
        && !known.precondition_passes(&tag)
    {
        answer.status = StatusCode::NOT_MODIFIED;
        answer.body = Vec::new();
    }
    Ok(answer.into_response())
}

/// Policies by car, by status, or by both
///
/// By car: every policy that has or had a day with it. The status is that of today.
#[utoipa::path(
    get, path = "/api/v1/policies", tag = "Policies",
    params(
        ("carRegistrationNumber" = Option<String>, Query, description = "Registration number in any spelling", example = "ABC123", max_length = 64, pattern = "^[ -]*([0-9A-Za-zÅÄÖåäö][ -]*){2,7}$"),
        ("status" = Option<PolicyStatus>, Query, description = "Only policies of this status"),
        ("after" = Option<i64>, Query, description = "`next` of the page before", minimum = 0),
        ("limit" = Option<i64>, Query, description = "Policies of a page: 50 unless told", minimum = 1, maximum = 500),
    ),
    responses((status = 200, description = "The policies of a page", body = PolicyPage, headers(("Cache-Control" = String, description = "`no-store`"))))
)]
async fn list_policies(
    State(database): State<Database>,
    mut query: Query,
) -> Result<Json<PolicyPage>, Failure> {
    let car = query.take::<RegistrationNumber>("carRegistrationNumber")?;
    let status = query.take::<StatusName>("status")?.map(|name| name.0);
    let after = query.number("after", 0..=i64::MAX.unsigned_abs())?;
    let limit = query.number("limit", 1..=MOST)?.unwrap_or(LIMIT);
    query.end()?;
    if car.is_none() && status.is_none() {
        return Err(Rejection::new(
            StatusCode::BAD_REQUEST,
            "too_broad",
            "Too broad",
            "Ask for policies by carRegistrationNumber, by status or by both.",
        )
        .into());
    }
    let asked = Asked {
        car,
        status,
        after: signed(after.unwrap_or(0)),
        limit: signed(limit),
        today: today(),
    };
    let page = database
        .read(asked, |connection, asked| Box::pin(page(connection, asked)))
        .await?;
    Ok(Json(page))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[derive(Clone, Copy, Debug)]
struct StatusName(PolicyStatus);

#[derive(Debug, thiserror::Error)]
#[error("is the name of a status")]
struct NoStatus;

impl std::str::FromStr for StatusName {
    type Err = NoStatus;

    fn from_str(text: &str) -> Result<Self, NoStatus> {
        PolicyStatus::named(text).map(Self).ok_or(NoStatus)
    }
}

struct Asked {
    car: Option<RegistrationNumber>,
    status: Option<PolicyStatus>,
    after: i64,
    limit: i64,
    today: contracts::Day,
}

async fn page(connection: &mut sqlx::PgConnection, asked: &Asked) -> sqlx::Result<PolicyPage> {
    let Asked {
        after,
        limit,
        today,
        ..
    } = *asked;
    // One more than asked for tells whether others follow.
    let mut ids = match (&asked.car, asked.status) {
        (Some(car), _) => store::with_car(connection, car.as_str(), after, limit + 1).await?,
        (None, Some(status)) => {
            store::of_status(connection, status, today, after, limit + 1).await?
        }
        (None, None) => Vec::new(),
    };
    let whole = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = ids.len() > whole;
    ids.truncate(whole);
    let found = store::find(connection, &ids).await?;
    let of_status = |status: PolicyStatus| asked.status.is_none_or(|wanted| wanted == status);
    Ok(PolicyPage {
        policies: found
            .iter()
            .map(|stored| view(stored, today))
            .filter(|policy| of_status(policy.status))
            .collect(),
        next: ids.last().copied().filter(|_| more),
    })
}

/// The price list
#[utoipa::path(
    get, path = "/api/v1/prices", tag = "Policies",
    responses((status = 200, description = "All prices", body = PriceList, headers(("Cache-Control" = String, description = "`no-store`"))))
)]
async fn list_prices(State(database): State<Database>) -> Result<Json<PriceList>, Failure> {
    let prices = database
        .read((), |connection, ()| Box::pin(store::prices(connection)))
        .await?;
    Ok(Json(PriceList { prices }))
}

/// Who asks, and until when.
#[derive(Clone)]
struct Caller {
    context: RequestContext,
    origin: Origin,
    deadline: Instant,
}

impl Caller {
    fn new(context: RequestContext, headers: &HeaderMap, deadline: Instant) -> Self {
        Self {
            origin: Origin::of_request(&context, headers),
            context,
            deadline,
        }
    }
}

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
        (status = 422, description = "The draft breaks a rule, or the key came with another request"),
    )
)]
async fn draft_policy(
    State(policies): State<Policies>,
    Extension(context): Extension<RequestContext>,
    Extension(RequestDeadline(deadline)): Extension<RequestDeadline>,
    headers: HeaderMap,
    Once(claim, body): Once<PolicyDraft>,
) -> Result<Answer, Failure> {
    if let Some(answer) = policies.replay(&claim).await? {
        return Ok(answer);
    }
    let check = policies
        .settings
        .snapshot()
        .service
        .personal_identity_number
        .check;
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
    let wish = Wish::Draft(person, terms);
    let caller = Caller::new(context, &headers, deadline);
    policies.change(caller, Some(claim), wish).await
}

/// Changes a draft
///
/// As a merge patch (RFC 7396). The person of a draft stays.
#[utoipa::path(
    patch, path = "/api/v1/policies/{insuranceId}", tag = "Policies",
    params(
        ("insuranceId" = i64, Path, description = "Number of the policy", example = 1_000_005, minimum = 1),
        ("X-Causation-Id" = Option<String>, Header, description = "Id of the event that led to this change; the change's event names it. One that cannot be read is left out"),
        ("If-Match" = String, Header, description = "`ETag` of the policy that the caller has seen"),
    ),
    request_body(content = PolicyPatch, content_type = "application/json"),
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
async fn patch_policy(
    State(policies): State<Policies>,
    Extension(context): Extension<RequestContext>,
    Extension(RequestDeadline(deadline)): Extension<RequestDeadline>,
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
    let wish = Wish::Of(id, Wanted::of(&headers)?, Alteration::Patch(patch));
    policies
        .change(Caller::new(context, &headers, deadline), None, wish)
        .await
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
    responses(
        (status = 200, description = "The policy", body = Policy, headers(
            ("ETag" = String, description = "What the next change names in `If-Match`"),
            ("Event-Id" = String, description = "Id of the event that tells it"),
            ("Idempotency-Replayed" = String, description = "`true` where the answer is that of an earlier try"),
            ("Cache-Control" = String, description = "`no-store`"),
        )),
        (status = 404, description = "No policy has this number"),
        (status = 409, description = "The policy cannot be taken there, another one covers the car, Vehicle knows no such car, or the policy is being changed", headers(("Retry-After" = u64, description = "Seconds after which asking again makes sense, where it does"))),
        (status = 412, description = "The policy has another version", headers(("ETag" = String, description = "Of the version that it has"))),
        (status = 422, description = "A rule is broken, or the key came with another request"),
        (status = 428, description = "`If-Match` is missing"),
        (status = 503, description = "The service is busy, or the database is, or Vehicle could not be asked"),
    )
)]
async fn move_policy(
    State(policies): State<Policies>,
    Extension(context): Extension<RequestContext>,
    Extension(RequestDeadline(deadline)): Extension<RequestDeadline>,
    Path(InsuranceId(id)): Path<InsuranceId>,
    headers: HeaderMap,
    Once(claim, body): Once<PolicyTransition>,
) -> Result<Answer, Failure> {
    let to = Move {
        to: body.to,
        reason: body.reason,
        effective_on: body.effective_on,
    };
    let caller = Caller::new(context, &headers, deadline);
    let altered = Altered { id, headers, claim };
    policies.alter(caller, altered, Alteration::Move(to)).await
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
    responses(
        (status = 200, description = "The policy", body = Policy, headers(
            ("ETag" = String, description = "What the next change names in `If-Match`"),
            ("Event-Id" = String, description = "Id of the event that tells it"),
            ("Idempotency-Replayed" = String, description = "`true` where the answer is that of an earlier try"),
            ("Cache-Control" = String, description = "`no-store`"),
        )),
        (status = 404, description = "No policy has this number"),
        (status = 409, description = "The policy is not in force, another one covers the car, Vehicle knows no such car, or the policy is being changed", headers(("Retry-After" = u64, description = "Seconds after which asking again makes sense, where it does"))),
        (status = 412, description = "The policy has another version", headers(("ETag" = String, description = "Of the version that it has"))),
        (status = 422, description = "A rule is broken, or the key came with another request"),
        (status = 428, description = "`If-Match` is missing"),
        (status = 503, description = "The service is busy, or the database is, or Vehicle could not be asked"),
    )
)]
async fn change_policy(
    State(policies): State<Policies>,
    Extension(context): Extension<RequestContext>,
    Extension(RequestDeadline(deadline)): Extension<RequestDeadline>,
    Path(InsuranceId(id)): Path<InsuranceId>,
    headers: HeaderMap,
    Once(claim, body): Once<PolicyChange>,
) -> Result<Answer, Failure> {
    let change = Change {
        effective_on: body.effective_on,
        car: body.car_registration_number,
        valid_until: body.valid_until,
    };
    let caller = Caller::new(context, &headers, deadline);
    let altered = Altered { id, headers, claim };
    policies
        .alter(caller, altered, Alteration::Change(change))
        .await
}

fn product(name: &str) -> Result<Product, Rejection> {
    let detail = "the product is none that is insured";
    Product::named(name).ok_or_else(|| unprocessable("product_unknown", "/product", detail))
}

/// A policy that a POST is about.
struct Altered {
    id: i64,
    headers: HeaderMap,
    claim: Claim,
}

impl Policies {
    /// What was answered to this request before, if it was.
    async fn replay(&self, claim: &Claim) -> Result<Option<Answer>, Failure> {
        let answer = replay(&self.database, claim).await?;
        self.replays.add(u64::from(answer.is_some()), &[]);
        Ok(answer)
    }

    async fn alter(
        &self,
        caller: Caller,
        altered: Altered,
        alteration: Alteration,
    ) -> Result<Answer, Failure> {
        // Before `If-Match` is looked at: that of a second try is stale.
        if let Some(answer) = self.replay(&altered.claim).await? {
            return Ok(answer);
        }
        let wish = Wish::Of(altered.id, Wanted::of(&altered.headers)?, alteration);
        self.change(caller, Some(altered.claim), wish).await
    }

    /// Does it. A finished key was looked for.
    async fn change(
        &self,
        caller: Caller,
        claim: Option<Claim>,
        wish: Wish,
    ) -> Result<Answer, Failure> {
        let done = self.attempt(&caller, claim.clone(), wish).await;
        match (done, claim) {
            // A database that has failed is not asked once more.
            (Err(failure), Some(claim)) if !matches!(failure, Failure::Rejected(_)) => {
                // Another try under the key may have been done meanwhile, and be the reason.
                self.replay(&claim).await?.ok_or(failure)
            }
            (done, _) => done,
        }
    }

    /// The rules first, then Vehicle, then the transaction.
    async fn attempt(
        &self,
        caller: &Caller,
        claim: Option<Claim>,
        wish: Wish,
    ) -> Result<Answer, Failure> {
        let job = Job {
            log: self.log.clone(),
            origin: caller.origin.clone(),
            past_allowed: caller.context.has_scope(Scope::Admin),
            claim,
            wish,
        };
        let foreseen = job.foresee(&self.database).await?;
        if let Some(car) = foreseen.as_ref().and_then(Outcome::car_to_confirm) {
            self.confirm(car, caller).await?;
        }
        let limit = caller.deadline.saturating_duration_since(Instant::now());
        let done = job.run(&self.database, foreseen.clone(), limit).await;
        match (done, foreseen) {
            (Err(Failure::Overlaps), Some(outcome)) => {
                // The refusal stands, whether the other policy can be named or not.
                let conflict = self
                    .database
                    .read(outcome.after, |connection, policy| {
                        Box::pin(store::find_conflict(connection, policy))
                    })
                    .await
                    .ok()
                    .flatten();
                let told = caller.context.has_scope(Scope::Read);
                Err(Failure::CoverOverlaps { conflict, told })
            }
            (done, _) => done,
        }
    }

    /// Asks Vehicle whether it has a car.
    async fn confirm(&self, car: &RegistrationNumber, caller: &Caller) -> Result<(), Failure> {
        let unavailable = |retry_after_seconds| Failure::VehicleUnavailable {
            retry_after_seconds,
        };
        let toggles = self.settings.snapshot().service.feature_toggles;
        if !toggles.enable_vehicle_enrichment {
            return Err(unavailable(LASTING_RETRY_AFTER_SECONDS));
        }
        let context = CallContext {
            deadline: enriched_until(self.time, caller.deadline),
            request_id: caller.context.request_id().into(),
            traceparent: caller.context.traceparent().into(),
        };
        match self.vehicles.confirm(car, &context).await {
            Lookup::Found { .. } => Ok(()),
            Lookup::NotFound { .. } => Err(Failure::VehicleUnknown),
            Lookup::Unavailable(failure) => {
                let lasting = matches!(
                    failure.kind,
                    FailureKind::Isolated | FailureKind::SwitchedOff
                );
                let after = retry_after_seconds(&failure).filter(|_| !lasting);
                let after = after.unwrap_or(LASTING_RETRY_AFTER_SECONDS).max(1);
                Err(unavailable(after))
            }
        }
    }
}
