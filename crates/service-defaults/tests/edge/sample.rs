use std::time::Duration;

use axum::{
    Extension,
    http::{Method, StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::{get, post, put},
};
use serde::Deserialize;
use service_defaults::{
    assembly::Assembled,
    extract::Json,
    problem::Rejection,
    process::Process,
    request_context::RequestContext,
    scope::Scope,
    settings::Checked,
    surface::{Limits, Routes, Surface},
};
use settings::{Arguments, Sources};
use test_support::{API_KEY, Answer, Api, keyless, send};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use validator::Validate;

settings::section! {
    /// A service with nothing but what all services have.
    pub(crate) struct Nothing {}
}

impl Checked for Nothing {}

/// A service whose routes fail in every way, with these variables.
pub(crate) fn service(variables: &[(&str, &str)]) -> (Process<Nothing>, Api) {
    let (process, assembled) = assembled(variables);
    (process, Api(assembled.public))
}

/// The same with all that it is assembled of.
pub(crate) fn assembled(variables: &[(&str, &str)]) -> (Process<Nothing>, Assembled) {
    let key = [("SAMPLE__API_KEYS__TEST__KEY", API_KEY)];
    let sources = Sources::new("sample", &[], Arguments::default())
        .with_environment(key.iter().chain(variables).copied());
    let process = Process::<Nothing>::new("sample", sources).unwrap();
    let routes = OpenApiRouter::new()
        .route("/own", get(async || "own"))
        .route("/own/{word}", get(async || "own"))
        .route("/who", get(who))
        .route("/orders", post(async |Json(_): Json<Order>| "ordered"))
        .route("/panics", get(panics))
        .route("/fails", get(async || fault()))
        .route("/busy", get(async || busy()))
        .route(
            "/text",
            get(async || (StatusCode::BAD_GATEWAY, "secret text")),
        )
        .route("/json", get(async || own_json()))
        .route("/hangs", get(std::future::pending::<()>));
    let operations = OpenApiRouter::new().route("/api/v1/operations/own", get(async || "operated"));
    let waits = OpenApiRouter::new()
        .route("/waits", get(std::future::pending::<()>))
        .route("/waits/busy", get(async || busy()));
    let long = Limits::Own {
        deadline: Duration::from_mins(2),
        places: 2,
    };
    let changes = OpenApiRouter::new().route("/own", put(async || "changed"));
    let routes = Routes::new(OpenApi::default())
        .with(Surface::keyed(&[Scope::Write]), changes)
        .with(Surface::keyed(&[Scope::Read, Scope::Api]), routes)
        .with(
            Surface::keyed(&[Scope::Admin, Scope::Operations])
                .with_unknown_paths("/api/v1/operations/"),
            operations,
        )
        .with(
            Surface::keyed(&[Scope::Read, Scope::Api]).with_limits(long),
            waits,
        );
    let assembled = process.assemble(routes, &process.readiness());
    (process, assembled)
}

/// A body with a member of each kind that JSON numbers and texts become.
#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct Order {
    #[serde(rename = "kind")]
    _kind: Kind,
    #[serde(rename = "count")]
    _count: Option<u64>,
    #[serde(rename = "words")]
    _words: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Small,
}

/// Who asks, as events and idempotency keys have it.
async fn who(Extension(context): Extension<RequestContext>) -> String {
    let client = context.client().unwrap_or_default();
    format!("{} of {client}", context.actor())
}

async fn panics() {
    panic!("secret text")
}

fn fault() -> Rejection {
    Rejection::internal().with_cause(std::io::Error::other("secret text"))
}

/// The refusal of a request that waited too long for something that others had.
pub(crate) fn busy() -> Rejection {
    Rejection::unavailable("database_busy", "Too many want it.", 1)
        .with_cause(std::io::Error::other("waited too long"))
        .for_overload()
}

fn own_json() -> impl IntoResponse {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    (status, [(CONTENT_TYPE, "application/json")], "{}")
}

/// An order that is taken.
pub(crate) const ORDER: &str = r#"{"kind":"small"}"#;

/// A request with this key, or without one.
pub(crate) async fn get_with_key(api: &Api, path: &str, key: Option<&str>) -> Answer {
    let mut request = keyless(Method::GET, path);
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    send(api, request).await
}
