//! A service with one static route behind the edge that both services have.

use std::path::PathBuf;

use axum::routing::get;
use service_defaults::{
    assembly::Assembled,
    process::{NewLog, Process, ProcessError},
    scope::Scope,
    service::Service,
    settings::Checked,
    surface::{Routes, Surface},
};
use settings::{Arguments, Sources};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

/// What the static route answers, everywhere in the benchmarks.
pub(crate) const ANSWER: &str =
    r#"{"registrationNumber":"ABC123","make":"Volvo","model":"XC60","modelYear":2021}"#;

settings::section! {
    /// Nothing but what all services have.
    pub(crate) struct Nothing {}
}

impl Checked for Nothing {}

/// The edge around a static route, `/static`.
pub(crate) struct Edge;

impl Service for Edge {
    const NAME: &'static str = "edge";
    const ABOUT: &'static str = "A static route behind the edge of the services.";
    type Settings = Nothing;
    type Error = ProcessError;

    fn sources(arguments: Arguments) -> Sources {
        Sources::new(Self::NAME, &[], arguments)
    }

    fn build(process: &Process<Nothing>) -> Result<Assembled, ProcessError> {
        let routes = OpenApiRouter::new().route("/static", get(async || json(ANSWER)));
        let routes = Routes::new(OpenApi::default())
            .with(Surface::keyed(&[Scope::Read, Scope::Api]), routes);
        Ok(process.assemble(routes, &process.readiness()))
    }

    async fn migrate(_: &Nothing) -> Result<(), ProcessError> {
        Ok(())
    }

    async fn preview_migration(_: &Nothing) -> Result<String, ProcessError> {
        Ok(String::new())
    }

    async fn seed(_: &Nothing) -> Result<(), ProcessError> {
        Ok(())
    }

    async fn verify_log(_: &Nothing, _: &[PathBuf]) -> Result<String, ProcessError> {
        Ok(String::new())
    }

    async fn verify_state(_: &Nothing) -> Result<String, ProcessError> {
        Ok(String::new())
    }

    async fn new_log(_: &Nothing, _: &NewLog) -> Result<String, ProcessError> {
        Ok(String::new())
    }
}

/// A text as JSON.
pub(crate) fn json(text: &'static str) -> impl axum::response::IntoResponse {
    ([(http::header::CONTENT_TYPE, "application/json")], text)
}
