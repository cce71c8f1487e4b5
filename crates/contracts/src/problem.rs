use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A problem document (RFC 9457, `application/problem+json`): the body of every error answer.
///
/// It never holds a personal identity number and never the text of an inner error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Relative URI reference that names the kind of problem; not meant to be resolved.
    #[schema(value_type = String, example = "/problems/vehicle_not_found")]
    pub r#type: Cow<'static, str>,
    /// The kind of problem in a few words, the same for every occurrence.
    #[schema(value_type = String, example = "Vehicle not found")]
    pub title: Cow<'static, str>,
    /// The HTTP status code of the answer.
    #[schema(example = 404, minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened this time and what to do about it.
    #[schema(value_type = String, example = "There is no vehicle with this registration number.")]
    pub detail: Cow<'static, str>,
    /// The stable name of the problem, for programs.
    #[schema(value_type = String, example = "vehicle_not_found")]
    pub code: Cow<'static, str>,
    /// The `X-Request-Id` of the request.
    #[schema(example = "0193a3c6-5b8f-7a60-9d5c-0c3f5e7d2b11")]
    pub request_id: String,
    /// The W3C trace id of the request: 32 hexadecimal digits.
    #[schema(example = "4bf92f3577b34da6a3ce929d0e0e4736")]
    pub trace_id: String,
    /// Each violated rule, for a request that failed validation; otherwise empty.
    pub errors: Vec<FieldError>,
}

/// One violated rule of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) to the member of the body; `null` when a parameter is at fault.
    #[schema(example = "/personalIdentityNumber", required)]
    pub pointer: Option<String>,
    /// Name of the path, query or header parameter; `null` when the body is at fault.
    #[schema(value_type = Option<String>, required)]
    pub parameter: Option<Cow<'static, str>>,
    /// The stable name of the rule, for programs.
    #[schema(value_type = String, example = "invalid_personal_identity_number")]
    pub code: Cow<'static, str>,
    /// What the rule asks for. Never an echo of the value.
    #[schema(value_type = String)]
    pub detail: Cow<'static, str>,
}
