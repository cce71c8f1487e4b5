//! What the edge takes from every request and may answer to it.

use contracts::{MAX_DEADLINE_MS, X_DEADLINE_MS};
use http::StatusCode;
use utoipa::openapi::{
    Object, ObjectBuilder, Required,
    header::{Header, HeaderBuilder},
    path::{Parameter, ParameterBuilder, ParameterIn},
    schema::Type,
};

/// Which operations an answer is given to.
#[derive(Clone, Copy)]
pub(super) enum To {
    /// Every one.
    All,
    /// Those that ask for a key.
    Keyed,
    /// Those that take a body.
    Bodies,
}

impl To {
    /// Where its examples come from.
    pub(super) fn source(self) -> &'static str {
        match self {
            Self::All => "head",
            Self::Keyed => "edge",
            Self::Bodies => "body",
        }
    }
}

/// Answers of the edge: status, to whom, and when.
pub(super) const ANSWERS: &[(&str, To, &str)] = &[
    (
        "400",
        To::All,
        "The request breaks a rule; `errors` says which",
    ),
    (
        "401",
        To::Keyed,
        "The key or token is missing, unknown or expired",
    ),
    (
        "403",
        To::Keyed,
        "The key or token lacks the scope of the route",
    ),
    (
        "405",
        To::All,
        "The route does not have this method; `Allow` lists those that it has",
    ),
    ("408", To::Keyed, "The body did not arrive in time"),
    ("413", To::All, "The body is over the size limit"),
    ("414", To::All, "The URI is over the size limit"),
    (
        "415",
        To::Bodies,
        "The body is not `application/json`, or it has a `Content-Encoding`",
    ),
    (
        "429",
        To::Keyed,
        "The caller makes more requests than it may; `Retry-After` says when to come back",
    ),
    ("431", To::All, "The headers are over the size limit"),
    ("500", To::Keyed, "The service failed"),
    (
        "503",
        To::Keyed,
        "The service is busy, or the database is; `Retry-After` says when to come back",
    ),
];

type Described = (&'static str, fn() -> Header, fn(StatusCode) -> bool);

/// Headers of answers: name, description, and the statuses that may have it.
pub(super) const HEADERS: &[Described] = &[
    (
        "Accept-Encoding",
        || text("`identity`: where the body had another content coding"),
        |it| it == StatusCode::UNSUPPORTED_MEDIA_TYPE,
    ),
    (
        "Allow",
        || text("The methods of the route"),
        |it| it == StatusCode::METHOD_NOT_ALLOWED,
    ),
    (
        "Cache-Control",
        || text("Who may keep the answer and for how long; errors are `no-store`"),
        refused,
    ),
    (
        "RateLimit",
        || {
            text(
                "What is left of the key's rate, where it has one: `\"per-key\";r=99;t=1`, requests and seconds (draft-ietf-httpapi-ratelimit-headers)",
            )
        },
        limited,
    ),
    (
        "RateLimit-Policy",
        || text("The key's rate, where it has one: `\"per-key\";q=100;w=10`, requests and seconds"),
        limited,
    ),
    (
        "Retry-After",
        || number("Seconds after which asking again makes sense"),
        |it| it == StatusCode::TOO_MANY_REQUESTS || it == StatusCode::SERVICE_UNAVAILABLE,
    ),
    (
        "WWW-Authenticate",
        || {
            text(
                "`ApiKey`: send a key in `X-Api-Key`. `Bearer`: or a token in `Authorization`, with what is wrong with the one that came (RFC 6750)",
            )
        },
        |it| matches!(it.as_u16(), 400 | 401 | 403),
    ),
    (
        "X-Request-Id",
        || text("The request's id, the caller's or a new one; the log knows it"),
        |_| true,
    ),
    (
        "traceparent",
        || text("The request's place in its trace (W3C Trace Context)"),
        |_| true,
    ),
];

fn refused(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// What was refused before its key was known, or for it, counts against no rate.
fn limited(status: StatusCode) -> bool {
    !matches!(status.as_u16(), 401 | 403 | 414 | 431)
}

fn text(about: &str) -> Header {
    header(about, Object::with_type(Type::String))
}

fn number(about: &str) -> Header {
    let seconds = ObjectBuilder::new().schema_type(Type::Integer);
    header(about, seconds.minimum(Some(0)).build())
}

fn header(about: &str, schema: Object) -> Header {
    HeaderBuilder::new()
        .description(Some(about))
        .schema(Some(schema))
        .build()
}

/// Headers of requests. What makes no sense in `X-Request-Id` and `traceparent` is replaced and
/// not refused, so that neither has a pattern.
pub(super) fn parameters() -> [Parameter; 3] {
    let milliseconds = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(0_u64))
        .maximum(Some(MAX_DEADLINE_MS));
    [
        parameter(
            X_DEADLINE_MS,
            "How many milliseconds the caller still waits. The service works no longer than that; \
             with 0 the answer is 503 at once",
            milliseconds.build(),
        ),
        parameter(
            "X-Request-Id",
            "Names the request in the answer, in the log and towards Vehicle: 1 to 128 of letters, \
             digits and `._:/+=-`, and nothing that may hold a personal identity number. Any other \
             is replaced by a new one",
            Object::with_type(Type::String),
        ),
        parameter(
            "traceparent",
            "The caller's place in its trace (W3C Trace Context), which the request continues. One \
             that cannot be read is replaced by a new one",
            Object::with_type(Type::String),
        ),
    ]
}

fn parameter(name: &str, about: &str, schema: Object) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(schema))
        .build()
}
