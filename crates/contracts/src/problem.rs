use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use utoipa::{ToSchema, openapi::Ref};

use crate::Value;

/// The `code` of every problem of both services and what it means.
///
/// A service has a page for each under `/problems/`, to which the `type` of a problem leads.
pub const PROBLEMS: &[Value] = &[
    (
        "already_registered",
        "The vehicle is registered already, and the request asked for a new one (`If-None-Match: *`). Change it with `If-Match`, or read it first.",
    ),
    (
        "ambiguous_credentials",
        "The request has a key and a token, or several tokens. Send one of them.",
    ),
    ("bad_request", "The request cannot be understood."),
    ("batch_empty", "A batch has at least one entry."),
    (
        "batch_too_large",
        "A batch has at most 500 entries; send several.",
    ),
    (
        "body_too_large",
        "The body is over 65536 bytes. Send less at once.",
    ),
    (
        "body_too_slow",
        "The body did not arrive in the time for the whole request (`server.request_deadline`, or `X-Deadline-Ms`).",
    ),
    (
        "busy",
        "Somebody else changes the same car, policy or price, or works with the same `Idempotency-Key`. Ask again after `Retry-After`.",
    ),
    ("car_not_allowed", "Only the product `car` has a car."),
    ("car_required", "The product `car` has a car."),
    (
        "consumer_not_following",
        "A rebuild is for a consumer that is following: this one is paused, or makes a new copy already.",
    ),
    (
        "consumer_not_found",
        "Nobody consumes events under this name.",
    ),
    (
        "cover_in_the_past",
        "A cover begins today or later. Who has the scope `admin` may let one begin earlier.",
    ),
    (
        "checkpoint_not_found",
        "No checkpoint has this size, or it is older than the event. Ask without `size` for the last one.",
    ),
    (
        "cover_overlaps",
        "Another policy covers the car on some of these days: `conflictingInsuranceId`, and `validFrom` and `validUntil` of that period for those who may read.",
    ),
    (
        "database_busy",
        "All connections of the service's database are in use, or somebody else changes the same. Ask again after `Retry-After`.",
    ),
    (
        "database_timeout",
        "The service's database took too long. Ask again after `Retry-After`.",
    ),
    (
        "database_unavailable",
        "The service's database cannot be reached. Ask again after `Retry-After`.",
    ),
    (
        "dates_reversed",
        "The first day without cover is after the first day with cover.",
    ),
    (
        "dead_letter_closed",
        "The dead letter is closed already. Read it to see how.",
    ),
    (
        "dead_letter_not_found",
        "The consumer has no dead letter with this id.",
    ),
    (
        "deadline_exceeded",
        "The request took longer than the service allows (`server.request_deadline`) or its caller waits (`X-Deadline-Ms`). Ask again after `Retry-After`, with more time.",
    ),
    (
        "effective_on_not_allowed",
        "Only the cancellation of a policy in force has an `effectiveOn`.",
    ),
    (
        "effective_on_out_of_range",
        "`effectiveOn` is today or later, and within the days that the policy covers.",
    ),
    (
        "enrichment_incomplete",
        "Some cars could not be looked up, and the request asked for all or nothing (`Prefer: handling=strict`). Ask again after `Retry-After`, or without the preference.",
    ),
    (
        "erased",
        "The person of the policy was erased, and with it the answers that were kept about it.",
    ),
    (
        "event_not_found",
        "The log has no event with this id; one that was just written gets its place within a second.",
    ),
    (
        "headers_too_large",
        "The request has over 100 headers, or over 16384 bytes of them.",
    ),
    (
        "idempotency_key_invalid",
        "An `Idempotency-Key` has 16 to 64 characters of `A-Z`, `a-z`, `0-9`, `_` and `-`, and nothing that may hold a personal identity number.",
    ),
    (
        "idempotency_key_missing",
        "The request needs an `Idempotency-Key`, a new one for each thing to be done and the same one for each try.",
    ),
    (
        "idempotency_key_reused",
        "The `Idempotency-Key` came with another request before. Use a new one.",
    ),
    (
        "insufficient_scope",
        "The key or token is known and lacks the scope of the route. Use one that has it.",
    ),
    (
        "insurances_incomplete",
        "Some policies cannot be read, and the request asked for all or nothing \
         (`Prefer: handling=strict`). Those who operate the service have to correct them; ask without \
         the preference for the others.",
    ),
    (
        "insurances_not_found",
        "Nobody has insurances under this personal identity number.",
    ),
    (
        "internal_error",
        "The service failed. Its log tells why: give `requestId` to those who operate it.",
    ),
    ("invalid_actor", "`actor` is a text."),
    (
        "invalid_after",
        "`after` is where the page before ended: what it gave as `next`.",
    ),
    (
        "invalid_aggregate_id",
        "`aggregateId` is a text, and stands with `aggregateType`.",
    ),
    ("invalid_aggregate_type", "`aggregateType` is a text."),
    (
        "invalid_body",
        "A member of the body is missing, unknown or of the wrong type; `errors` tells which.",
    ),
    ("invalid_by", "`by` is `type`, `actor` or `hour`."),
    (
        "invalid_car_registration_number",
        "A registration number has 2 to 7 letters and digits; blanks and hyphens do not count.",
    ),
    ("invalid_correlation_id", "`correlationId` is a text."),
    ("invalid_event_id", "The id of an event is a UUID."),
    (
        "invalid_expires_in_seconds",
        "An isolation ends after 1 to 86400 seconds (`expiresInSeconds`), and nothing else has an end.",
    ),
    (
        "invalid_from",
        "`from` is a moment before `until` and not too long before it (RFC 3339, UTC), or, for a proof, a size that is not above `to`.",
    ),
    (
        "invalid_from_position",
        "`fromPosition` is a whole number from 1 on, and stands without another beginning.",
    ),
    ("invalid_id", "The id is a UUID."),
    (
        "invalid_host",
        "`Host` is sent once, as a name or an address and, if need be, a port (RFC 9112).",
    ),
    (
        "invalid_insurance_id",
        "The number of a policy is a whole number above zero.",
    ),
    (
        "invalid_last_event_id",
        "`lastEventId` is the UUID of an event.",
    ),
    (
        "invalid_limit",
        "`limit` is a whole number within the bounds of the route.",
    ),
    (
        "invalid_make",
        "The make is empty, too long, or holds what must not be kept.",
    ),
    (
        "invalid_model",
        "The model is empty, too long, or holds what must not be kept.",
    ),
    ("invalid_model_year", "A model year is 1885 to 2100."),
    (
        "invalid_note",
        "The note is empty, too long, or holds what must not be logged.",
    ),
    (
        "invalid_owner",
        "The owner is empty, too long, or holds what must not be logged.",
    ),
    (
        "invalid_monthly_cost",
        "A monthly cost is at most 9999999999.99.",
    ),
    ("invalid_path", "The path is not UTF-8 once it is decoded."),
    (
        "invalid_personal_identity_number",
        "A personal identity number is 12 digits, YYYYMMDDNNNC, with an optional hyphen before the last four. A service may also ask for a real date or a right check digit (`personal_identity_number.check`).",
    ),
    ("invalid_product", "`product` is the name of a product."),
    (
        "invalid_reason",
        "The reason is empty, too long, or holds what must not be logged.",
    ),
    (
        "invalid_registration_number",
        "A registration number has 2 to 7 letters and digits; blanks and hyphens do not count.",
    ),
    (
        "invalid_since",
        "`since` is a moment (RFC 3339, UTC), and stands without another beginning.",
    ),
    ("invalid_size", "`size` is a whole number from 1 on."),
    ("invalid_status", "`status` is the name of a status."),
    (
        "invalid_subject",
        "`subject` is a kind of thing, a slash and which one.",
    ),
    ("invalid_timeout", "`timeout` is 0 to 30000 milliseconds."),
    ("invalid_to", "`to` is a whole number from 1 on."),
    (
        "invalid_token",
        "The token is refused; `detail` says why. Get a new one from the issuer that the service trusts, for this service, and send it as `Authorization: Bearer`.",
    ),
    ("invalid_type", "`type` is a text."),
    (
        "invalid_types",
        "`types` is 1 to 20 types, separated by commas.",
    ),
    ("invalid_until", "`until` is a moment (RFC 3339, UTC)."),
    (
        "invalid_until_position",
        "`untilPosition` is a whole number from 1 on, not before `fromPosition`, and stands with it.",
    ),
    (
        "invalid_valid_from",
        "`validFrom` is a day from 1900-01-01 to 2199-12-31.",
    ),
    (
        "invalid_x_deadline_ms",
        "`X-Deadline-Ms` is sent once, as 1 to 9 digits.",
    ),
    ("malformed_json", "The body is no JSON."),
    (
        "method_not_allowed",
        "The route does not have this method; `Allow` lists those that it has.",
    ),
    ("no_price", "The price list has no price for the first day."),
    (
        "not_a_draft",
        "Only a draft is changed as a whole. A policy in force takes changes.",
    ),
    (
        "not_yet_signed",
        "There is no such checkpoint yet. Ask again after `Retry-After`; where that is missing, the service has no key and signs none.",
    ),
    (
        "nothing_to_change",
        "A change names another car, another end, or both.",
    ),
    (
        "overloaded",
        "As many requests as the service takes are in progress (`limits.max_requests_in_progress`). Ask again after `Retry-After`.",
    ),
    (
        "policy_in_force",
        "A policy of the person is in force or begins later. Cancel it, and ask again from the day on which it ends; one that is cancelled before its first day is no hindrance.",
    ),
    ("policy_not_found", "No policy has this number."),
    (
        "policy_not_in_force",
        "Only a policy in force without a decided cancellation takes changes. A draft is patched.",
    ),
    (
        "precondition_failed",
        "The vehicle has none of the versions that `If-Match` names. Read it again.",
    ),
    (
        "precondition_required",
        "A change names the version that it is of (`If-Match`), or that there is none yet (`If-None-Match: *`), so that nobody's change is overwritten unseen.",
    ),
    (
        "price_in_the_past",
        "A price begins today, in Sweden, or later.",
    ),
    (
        "price_is_set",
        "Another price of the product begins on this day, and a price is never changed. Set one for a later day.",
    ),
    ("product_unknown", "The product is none that is insured."),
    (
        "rate_limited",
        "The caller makes more requests than it may (`rate_limit`). Ask again after `Retry-After`.",
    ),
    (
        "replay_ended",
        "The replay has ended already. Read it to see how.",
    ),
    (
        "replay_needed",
        "The copy that is read is of another log than Vehicle has now, so that there has to be a new one.",
    ),
    ("replay_not_found", "There is no replay with this id."),
    (
        "replay_running",
        "A replay of the consumer is at work; `replayId` is its id. Wait for its end, or cancel it.",
    ),
    (
        "replica_off",
        "This process does not follow Vehicle (`replica.enabled`), or there is no copy yet.",
    ),
    ("route_not_found", "No route has this path."),
    (
        "too_broad",
        "The question looks at too much. `detail` says how to ask for less.",
    ),
    (
        "transition_not_allowed",
        "The policy cannot be taken from its status (`from`) to the other (`to`); `allowed` lists those that it can be taken to.",
    ),
    (
        "unauthorized",
        "The key is missing, unknown or expired. Send a valid one in `X-Api-Key`, or a token as `Authorization: Bearer` where the service trusts an issuer of tokens.",
    ),
    (
        "unknown_event",
        "The log does not have the event of `lastEventId`, as after a restore. Copy everything anew, then follow.",
    ),
    (
        "unknown_parameter",
        "A parameter of the query is unknown or sent twice.",
    ),
    (
        "unknown_transfer_coding",
        "The only transfer coding that is understood is `chunked`, once.",
    ),
    ("unreadable_body", "The body ended early. Send it again."),
    (
        "unsupported_content_coding",
        "The body has a `Content-Encoding`. Send it as it is.",
    ),
    (
        "unsupported_media_type",
        "The body is not declared as `application/json`.",
    ),
    ("uri_too_long", "The URI is over 8192 bytes."),
    (
        "validation_failed",
        "Several rules are broken; `errors` tells each.",
    ),
    (
        "vehicle_not_found",
        "No vehicle has this registration number.",
    ),
    (
        "vehicle_unavailable",
        "Vehicle could not be asked whether the car exists. Ask again after `Retry-After`.",
    ),
    ("vehicle_unknown", "Vehicle knows no such car."),
    (
        "version_conflict",
        "It has none of the versions that `If-Match` names: somebody has changed it meanwhile. `currentETag`, and the header `ETag`, are of the present one. Read it again.",
    ),
    (
        "window_empty",
        "The log has no event in the window, as far as the copy is.",
    ),
    (
        "window_too_large",
        "The window is longer than 30 days or has over 1000000 events; `days` and `events` say how many. Ask for less, or send `confirm`.",
    ),
    (
        "wildcard_not_allowed",
        "`If-Match: *` names no version. Send the `ETag` of the one that was seen.",
    ),
];

/// The schema of `code`, which each service makes of the codes that it answers with.
fn code() -> Ref {
    Ref::from_schema_name("ProblemCode")
}

/// A problem document (RFC 9457, `application/problem+json`): the body of every error answer.
///
/// It never holds a personal identity number and never the text of an inner error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// What kind of problem it is, as a relative reference to the page that explains it. The
    /// service itself serves the page, without a key.
    #[schema(value_type = String)]
    pub r#type: Cow<'static, str>,
    /// The kind of problem in a few words, the same for every occurrence.
    #[schema(value_type = String)]
    pub title: Cow<'static, str>,
    /// The HTTP status code of the answer.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened this time and what to do about it.
    #[schema(value_type = String)]
    pub detail: Cow<'static, str>,
    /// The stable name of the problem, for programs.
    #[schema(schema_with = code)]
    pub code: Cow<'static, str>,
    /// The `X-Request-Id` of the request.
    pub request_id: String,
    /// The W3C trace id of the request: 32 hexadecimal digits.
    pub trace_id: String,
    /// Each violated rule, for a request that failed validation; otherwise empty.
    pub errors: Vec<FieldError>,
    /// Members of this code only (RFC 9457, 3.2); its page tells them.
    #[serde(flatten)]
    #[schema(ignore)]
    pub more: Map<String, Json>,
}

/// One violated rule of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) to the member of the body; `null` when a parameter is at fault.
    #[schema(required)]
    pub pointer: Option<String>,
    /// Name of the path, query or header parameter; `null` when the body is at fault.
    #[schema(value_type = Option<String>, required)]
    pub parameter: Option<Cow<'static, str>>,
    /// The stable name of the rule, for programs.
    #[schema(schema_with = code)]
    pub code: Cow<'static, str>,
    /// What the rule asks for. Never an echo of the value.
    #[schema(value_type = String)]
    pub detail: Cow<'static, str>,
}
