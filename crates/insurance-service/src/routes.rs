use std::time::Duration;

use axum::{
    Extension,
    extract::State,
    http::{
        HeaderValue,
        header::{CACHE_CONTROL, LINK},
    },
    middleware::map_response,
    response::{IntoResponse, Response},
};
use contracts::{
    Currency, InsuranceProfile, LookupRequest, PersonalIdentityNumber, ProfileEnrichment,
};
use event_log::EventLog;
use opentelemetry::metrics::Meter;
use service_defaults::{
    extract::{Json, Path, invalid_member, invalid_parameter},
    limits::RequestDeadline,
    openapi::with_examples,
    request_context::RequestContext,
    scope::Scope,
    settings::Live,
    surface::{Routes, Surface},
};
use tokio::time::Instant;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use vehicle_client::VehicleClient;

use crate::{
    enrichment::{Caller, Comparison, Enricher, Plan, summary},
    error::Error,
    operations::{self, Replays},
    policy::{self, Clock},
    prefer::{HANDLING_STRICT, PREFERENCE_APPLIED, Strict},
    settings::InsuranceSettings,
    store::{self, Policies, PoliciesWithCopy},
    unreadable::UnreadableCounter,
};

/// Requests and what was answered to them, as a test of the document wrote them down.
const EXAMPLES: &str = include_str!("examples.json");

const NUMBER: &str = "personalIdentityNumber";
const ALTERNATE: HeaderValue =
    HeaderValue::from_static("</api/v1/insurances/lookup>; rel=\"alternate\"");
/// `Retry-After` of a strict refusal for a trouble that does not pass by itself.
pub(crate) const LASTING_RETRY_AFTER_SECONDS: u64 = 30;

/// Kept back from the time of a caller in a hurry (`X-Deadline-Ms`), so that a partial answer
/// reaches it.
const TIME_TO_ANSWER: Duration = Duration::from_millis(20);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "ThreadPilot Insurance API",
        description = "Looks up a person's policies and the cars that they insure.",
    ),
    servers(
        (url = "/", description = "Where this document was read"),
        (url = "http://127.0.0.1:5082", description = "The local stack"),
    ),
    tags(
        (name = "Insurances", description = "Policies by person"),
        (name = "Policies", description = "Policies by number, by car and by status, and their changes"),
        (name = "Replica", description = "The copy of Vehicle's cars and those who keep it; needs a key with the scope `admin`"),
        (name = "Vehicle guard", description = "Manual control; needs a key with the scope `admin`"),
        (name = "Events", description = "Every change in the order of the log; needs a key with the scope `feed`"),
        (name = "Audit", description = "Who changed what, and proofs; needs a key with the scope `audit`"),
        (name = "Operations", description = "For the platform; open"),
    )
)]
struct Document;

#[derive(Clone)]
struct Service {
    stored: Policies,
    stored_with_copy: PoliciesWithCopy,
    clock: Clock,
    enricher: Enricher,
    /// As it was at the start: it was checked against the other time limits of that moment.
    time: Duration,
    settings: Live<InsuranceSettings>,
    unreadable: UnreadableCounter,
}

/// The API of the service.
#[expect(deprecated, reason = "the path form stays for those who have it")]
pub(crate) fn api(
    replays: Replays,
    vehicles: VehicleClient,
    comparison: Option<Comparison>,
    log: EventLog,
    settings: Live<InsuranceSettings>,
    clock: Clock,
    meter: &Meter,
) -> Routes {
    let database = replays.database.clone();
    let enricher = Enricher::new(vehicles.clone(), comparison, meter);
    let unreadable = UnreadableCounter::new(meter);
    let time = settings.snapshot().service.enrichment.deadline;
    let policies = policy::Policies::new(
        database.clone(),
        vehicles.clone(),
        log,
        settings.clone(),
        clock.clone(),
        unreadable.clone(),
        meter,
    );
    let api = OpenApiRouter::new()
        .routes(routes!(get_insurances))
        .routes(routes!(look_up_insurances))
        .with_state(Service {
            stored: store::policies(database.clone()),
            stored_with_copy: PoliciesWithCopy::new(database),
            clock,
            enricher,
            time,
            settings,
            unreadable,
        })
        .layer(map_response(never_stored));
    let routes = Routes::new(with_examples(Document::openapi(), EXAMPLES))
        .with(Surface::keyed(&[Scope::Read, Scope::Api]), api);
    let routes = operations::mount(routes, vehicles, replays);
    policy::surfaces(&policies)
        .into_iter()
        .fold(routes, |routes, (surface, api)| {
            routes.with(surface, api.layer(map_response(never_stored)))
        })
}

/// Answers about people are stored nowhere on their way.
pub(crate) async fn never_stored(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A person's policies by personal identity number in the path
///
/// Kept for compatibility. Prefer the lookup form: it keeps the number out of URLs, proxy logs
/// and browser histories.
#[utoipa::path(
    get, path = "/api/v1/insurances/{personalIdentityNumber}", tag = "Insurances",
    params(
        ("personalIdentityNumber" = String, Path, description = "12 digits YYYYMMDDNNNC, with an optional hyphen before the last four", example = "199001011234", pattern = "^[0-9]{8}-?[0-9]{4}$"),
        ("Prefer" = Option<String>, Header, description = "`handling=strict` asks for 503 instead of an answer in which cars are unavailable or policies unreadable (RFC 7240)"),
    ),
    responses(
        (status = 200, description = "The person's policies", body = InsuranceProfile, headers(
            ("Cache-Control" = String, description = "`no-store`"),
            ("Link" = String, description = "The lookup form, as rel=\"alternate\""),
            ("Preference-Applied" = String, description = "`handling=strict` where it was asked for"),
        )),
        (status = 404, description = "Nobody has policies under this number"),
        (status = 503, description = "The service is busy, or the database is, or cars are unavailable or policies unreadable and `handling=strict` was asked for", headers(
            ("Preference-Applied" = String, description = "`handling=strict` where it is the reason"),
        )),
    )
)]
#[deprecated = "the number is part of the URL"]
async fn get_insurances(
    State(service): State<Service>,
    Extension(context): Extension<RequestContext>,
    Extension(RequestDeadline(deadline)): Extension<RequestDeadline>,
    strict: Strict,
    Path(person): Path<PersonalIdentityNumber>,
) -> Result<Response, Error> {
    let settings = service.settings.snapshot();
    person
        .verify(settings.service.personal_identity_number.check)
        .map_err(|rule| Error::Invalid(invalid_parameter(NUMBER, &rule)))?;
    let mut response = answer(
        &service,
        &settings.service,
        &context,
        deadline,
        strict,
        person,
    )
    .await?;
    response.headers_mut().insert(LINK, ALTERNATE);
    Ok(response)
}

/// A person's policies by personal identity number in the body
#[utoipa::path(
    post, path = "/api/v1/insurances/lookup", tag = "Insurances",
    params(
        ("Prefer" = Option<String>, Header, description = "`handling=strict` asks for 503 instead of an answer in which cars are unavailable or policies unreadable (RFC 7240)"),
    ),
    request_body = LookupRequest,
    responses(
        (status = 200, description = "The person's policies", body = InsuranceProfile, headers(
            ("Cache-Control" = String, description = "`no-store`"),
            ("Preference-Applied" = String, description = "`handling=strict` where it was asked for"),
        )),
        (status = 404, description = "Nobody has policies under this number"),
        (status = 503, description = "The service is busy, or the database is, or cars are unavailable or policies unreadable and `handling=strict` was asked for", headers(
            ("Preference-Applied" = String, description = "`handling=strict` where it is the reason"),
        )),
    )
)]
async fn look_up_insurances(
    State(service): State<Service>,
    Extension(context): Extension<RequestContext>,
    Extension(RequestDeadline(deadline)): Extension<RequestDeadline>,
    strict: Strict,
    Json(request): Json<LookupRequest>,
) -> Result<Response, Error> {
    let settings = service.settings.snapshot();
    let person: PersonalIdentityNumber = request
        .personal_identity_number
        .expose()
        .parse()
        .and_then(|person: PersonalIdentityNumber| {
            person
                .verify(settings.service.personal_identity_number.check)
                .map(|()| person)
        })
        .map_err(|rule| Error::Invalid(invalid_member(NUMBER, &rule)))?;
    answer(
        &service,
        &settings.service,
        &context,
        deadline,
        strict,
        person,
    )
    .await
}

async fn answer(
    service: &Service,
    settings: &InsuranceSettings,
    context: &RequestContext,
    deadline: Instant,
    strict: Strict,
    person: PersonalIdentityNumber,
) -> Result<Response, Error> {
    let plan = Plan::of(settings);
    let asked = (person.clone(), service.clock.today());
    let until = || enriched_until(service.time, deadline);
    let (found, until) = if plan.reads_copy() {
        let stored = &service.stored_with_copy;
        let (found, until) = (stored.find_of_person(asked.clone()).await?, until());
        (stored.add_vehicles(found, asked, until).await, until)
    } else {
        let found = store::find_of_person(&service.stored, asked).await?;
        (found, until())
    };
    if found.is_empty() {
        return Err(Error::NotFound);
    }
    let (policies, unreadable_insurances) = service.unreadable.part(found);
    let caller = Caller {
        request_id: context.request_id().into(),
        traceparent: context.traceparent().into(),
        deadline: until,
    };
    let insurances = service.enricher.enrich(policies, &plan, caller).await;
    let profile = InsuranceProfile {
        personal_identity_number: person,
        total_monthly_cost: insurances
            .iter()
            .map(|insurance| insurance.monthly_cost)
            .sum(),
        currency: Currency::Sek,
        enrichment: summary(&insurances),
        insurances,
        unreadable_insurances,
    };
    if strict.0 {
        refuse_incomplete(&profile)?;
    }
    let mut response = Json(profile).into_response();
    if strict.0 {
        response
            .headers_mut()
            .insert(PREFERENCE_APPLIED, HANDLING_STRICT);
    }
    Ok(response)
}

/// Until when a request may wait for its cars.
pub(crate) fn enriched_until(longest: Duration, request_deadline: Instant) -> Instant {
    (Instant::now() + longest).min(request_deadline - TIME_TO_ANSWER)
}

fn refuse_incomplete(profile: &InsuranceProfile) -> Result<(), Error> {
    if !profile.unreadable_insurances.is_empty() {
        return Err(Error::Unreadable {
            retry_after_seconds: LASTING_RETRY_AFTER_SECONDS,
        });
    }
    if !matches!(
        profile.enrichment,
        ProfileEnrichment::Partial | ProfileEnrichment::None
    ) {
        return Ok(());
    }
    let longest = profile
        .insurances
        .iter()
        .filter_map(|insurance| insurance.enrichment.retry_after_seconds)
        .max();
    Err(Error::Incomplete {
        retry_after_seconds: longest.unwrap_or(LASTING_RETRY_AFTER_SECONDS).max(1),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_caller_in_a_hurry_keeps_time_for_its_answer() {
        let left = |longest, deadline| {
            let request_deadline = Instant::now() + Duration::from_millis(deadline);
            let until = super::enriched_until(Duration::from_millis(longest), request_deadline);
            until - Instant::now()
        };
        assert_eq!(left(2000, 100), Duration::from_millis(80));
        assert_eq!(left(2000, 10_000), Duration::from_secs(2));
    }
}
