//! Policies that are asked for by number, by car and by status.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use contracts::{Day, Policy, PolicyPage, PolicyStatus, RegistrationNumber};
use headers::{HeaderMapExt, IfNoneMatch};
use service_defaults::{
    extract::{Json, Path},
    problem::Rejection,
    query::Query,
};
use sqlx::PgConnection;

use super::{
    Policies,
    answer::{Answer, view},
    refusal::Failure,
    routes::InsuranceId,
    store::{self, Stored},
};
use crate::unreadable::Unreadable;

/// Policies of a page.
const LIMIT: u64 = 50;
const MOST: u64 = 500;

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
pub(super) async fn get_policy(
    State(policies): State<Policies>,
    Path(InsuranceId(id)): Path<InsuranceId>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let stored = policies
        .database
        .read(id, |connection, id| {
            Box::pin(store::find_one(connection, *id))
        })
        .await?
        .ok_or(Failure::NotFound)?;
    let mut answer = Answer::policy(StatusCode::OK, &stored, policies.clock.today())?;
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
pub(super) async fn list_policies(
    State(policies): State<Policies>,
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
    let today = policies.clock.today();
    let asked = Asked {
        car,
        status,
        after: signed(after.unwrap_or(0)),
        limit: signed(limit),
        today,
    };
    let (found, next) = policies
        .database
        .read(asked, |connection, asked| Box::pin(page(connection, asked)))
        .await?;
    let (found, unreadable_insurances) = policies.unreadable.part(found);
    let found = found.iter().map(|stored| view(stored, today));
    Ok(Json(PolicyPage {
        policies: found
            .filter(|policy| status.is_none_or(|wanted| wanted == policy.status))
            .collect(),
        unreadable_insurances,
        next,
    }))
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
    today: Day,
}

/// The policies of a page that may have the status, and the number after which the next one begins.
async fn page(
    connection: &mut PgConnection,
    asked: &Asked,
) -> sqlx::Result<(Vec<Result<Stored, Unreadable>>, Option<i64>)> {
    let (after, limit) = (asked.after, asked.limit);
    // One more than asked for tells whether others follow.
    let mut ids = match (&asked.car, asked.status) {
        (Some(car), _) => store::with_car(connection, car.as_str(), after, limit + 1).await?,
        (None, Some(status)) => {
            store::of_status(connection, status, asked.today, after, limit + 1).await?
        }
        (None, None) => Vec::new(),
    };
    let whole = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = ids.len() > whole;
    ids.truncate(whole);
    let found = store::find(connection, &ids).await?;
    Ok((found, ids.last().copied().filter(|_| more)))
}
