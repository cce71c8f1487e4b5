//! Extractors whose refusals are problem documents that never echo what was sent.

use std::{borrow::Cow, fmt::Display, str::FromStr};

use axum::{
    extract::{FromRequest, FromRequestParts, RawPathParams, Request},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use contracts::FieldError;
use hyper::body::Bytes;
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_path_to_error::Segment;
use validator::{Validate, ValidationError, ValidationErrors, ValidationErrorsKind};

use crate::problem::Rejection;

/// A JSON body that was parsed and validated; as an answer, a JSON body.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Validate> FromRequest<S> for Json<T> {
    type Rejection = Rejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, Rejection> {
        if !is_json(request.headers()) {
            return Err(Rejection::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        if !is_plain(request.headers()) {
            return Err(unsupported_content_coding());
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| Rejection::of_status(rejection.status()))?;
        let value: T = parse(&bytes)?;
        value
            .validate()
            .map_err(|errors| Rejection::invalid(broken_rules("", &errors)))?;
        Ok(Self(value))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => Rejection::internal().with_cause(error).into_response(),
        }
    }
}

/// The one parameter of the path, percent-decoded and parsed.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: FromStr<Err: Display>> FromRequestParts<S> for Path<T> {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        let parameters = path_parameters(parts, state).await?;
        parameter(&parameters, 0).map(Self)
    }
}

/// The two parameters of the path, in their order.
#[derive(Clone, Copy, Debug)]
pub struct PathPair<A, B>(pub A, pub B);

impl<S, A, B> FromRequestParts<S> for PathPair<A, B>
where
    S: Send + Sync,
    A: FromStr<Err: Display>,
    B: FromStr<Err: Display>,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        let parameters = path_parameters(parts, state).await?;
        Ok(Self(parameter(&parameters, 0)?, parameter(&parameters, 1)?))
    }
}

async fn path_parameters(
    parts: &mut Parts,
    state: &(impl Send + Sync),
) -> Result<RawPathParams, Rejection> {
    let parameters = RawPathParams::from_request_parts(parts, state).await;
    parameters.map_err(|_| bad_request("invalid_path", "The path is not UTF-8 once decoded."))
}

fn parameter<T: FromStr<Err: Display>>(
    parameters: &RawPathParams,
    index: usize,
) -> Result<T, Rejection> {
    let found = parameters.iter().nth(index);
    let (name, text) = found.ok_or_else(Rejection::internal)?;
    text.parse()
        .map_err(|error: T::Err| invalid_parameter(name, &error))
}

/// The refusal of a path, query or header parameter: `invalid_` and its name in snake case.
pub fn invalid_parameter(name: &str, rule: &impl Display) -> Rejection {
    Rejection::invalid(vec![FieldError {
        pointer: None,
        parameter: Some(name.to_owned().into()),
        code: format!("invalid_{}", snake_case(name)).into(),
        detail: rule.to_string().into(),
    }])
}

/// The refusal of a member of the body: `invalid_` and its name in snake case.
pub fn invalid_member(name: &str, rule: &impl Display) -> Rejection {
    Rejection::invalid(vec![FieldError {
        pointer: Some(format!("/{name}")),
        parameter: None,
        code: format!("invalid_{}", snake_case(name)).into(),
        detail: rule.to_string().into(),
    }])
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() && !snake.ends_with('_') {
            snake.push('_');
        }
        snake.push(if letter == '-' {
            '_'
        } else {
            letter.to_ascii_lowercase()
        });
    }
    snake
}

fn bad_request(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Rejection {
    Rejection::new(StatusCode::BAD_REQUEST, code, "Invalid request", detail)
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let media_type = value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

/// Whether the body is what its media type says, in no content coding (RFC 9110, 8.4).
fn is_plain(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Says which coding would do (RFC 9110, 15.5.16).
fn unsupported_content_coding() -> Rejection {
    Rejection::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_content_coding",
        "Unsupported content coding",
        "Send the body as it is, without Content-Encoding.",
    )
    .with_header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Rejection> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| bad_request("malformed_json", "No JSON: the body is not UTF-8."))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        // serde_json calls some wrong types bad syntax, such as a number where a name is due.
        match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => invalid_body(pointer(error.path())),
            Err(error) => malformed(&error),
        }
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    // serde takes a list for an object, member by member.
    if text.trim_start().starts_with('[') {
        return Err(invalid_body(String::new()));
    }
    Ok(value)
}

fn invalid_body(pointer: String) -> Rejection {
    let detail = "A member is missing, unknown or of the wrong type; see /openapi.json.";
    Rejection::invalid(vec![FieldError {
        pointer: Some(pointer),
        parameter: None,
        code: "invalid_body".into(),
        detail: detail.into(),
    }])
}

fn malformed(error: &serde_json::Error) -> Rejection {
    let (line, column) = (error.line(), error.column());
    bad_request(
        "malformed_json",
        format!("No JSON from line {line}, column {column}."),
    )
}

/// JSON Pointer to a member. A name that no contract would use is the caller's own text, which
/// may be anything, and is left out.
fn pointer(path: &serde_path_to_error::Path) -> String {
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key }
                if key.len() <= 40 && key.bytes().all(|byte| byte.is_ascii_alphabetic()) =>
            {
                format!("/{key}")
            }
            _ => String::new(),
        })
        .collect()
}

fn broken_rules(base: &str, errors: &ValidationErrors) -> Vec<FieldError> {
    let mut rules = Vec::new();
    for (field, kind) in errors.errors() {
        let pointer_to = |member: &str| format!("{base}/{}", camel_case(member));
        let pointer = pointer_to(field);
        match kind {
            ValidationErrorsKind::Struct(inner) => rules.extend(broken_rules(&pointer, inner)),
            ValidationErrorsKind::List(entries) => {
                for (index, inner) in entries {
                    rules.extend(broken_rules(&format!("{pointer}/{index}"), inner));
                }
            }
            ValidationErrorsKind::Field(broken) => {
                rules.extend(broken.iter().map(|error| {
                    FieldError {
                        pointer: Some(match about_several(field, error) {
                            Some(member) => pointer_to(member),
                            None => pointer.clone(),
                        }),
                        parameter: None,
                        code: error.code.clone(),
                        detail: error
                            .message
                            .clone()
                            .unwrap_or_else(|| "breaks a rule".into()),
                    }
                }));
            }
        }
    }
    rules.sort_by(|left, right| left.pointer.cmp(&right.pointer));
    rules
}

/// The member at which a rule about several members is told: the one that its code names.
fn about_several<'a>(field: &str, error: &'a ValidationError) -> Option<&'a str> {
    let code = (field == "__all__").then_some(&error.code)?;
    code.strip_prefix("invalid_")
}

fn camel_case(field: &str) -> String {
    let mut words = field.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}
