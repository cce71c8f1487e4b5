//! A service behind its edge: the routers of its listeners, and its document.

use axum::{
    Router,
    http::{StatusCode, header::ALLOW},
    response::Response,
};
use tower::util::MapResponse;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{credentials::Credentials, mount::Edge, problem_page};
use crate::{
    health::Readiness,
    lifecycle::Shutdown,
    management,
    metrics::Metrics,
    openapi,
    scope::Scope,
    settings::CommonSettings,
    surface::{Limits, Routes, Surface},
    swagger,
};

/// What a service is assembled from, beside its routes.
pub(crate) struct Parts<'a> {
    /// Bounds, keys' rates and what is switched on.
    pub(crate) settings: &'a CommonSettings,
    /// What callers are known by.
    pub(crate) credentials: &'a Credentials,
    /// The service's metrics.
    pub(crate) metrics: &'a Metrics,
    /// The service's readiness.
    pub(crate) readiness: &'a Readiness,
    /// Tells when the service is stopping.
    pub(crate) shutdown: &'a Shutdown,
}

/// All routes of one listener behind their edge. No router of routers: that would route each request
/// twice.
pub type Application = MapResponse<Router, fn(Response) -> Response>;

/// A service behind its edge.
pub struct Assembled {
    /// Everything for the main listener.
    pub public: Application,
    /// The management routes, where they have a listener of their own.
    pub management: Option<Application>,
    /// The OpenAPI document.
    pub document: OpenApi,
}

/// Puts the edge around a service's routes, and adds those that every service has.
pub(crate) fn assemble(routes: Routes, parts: &Parts<'_>) -> Assembled {
    let settings = parts.settings;
    let pages = OpenApiRouter::new().routes(routes!(problem_page::get_problem));
    let mut public = routes.with(Surface::open(), pages);
    let management = management::routes(&settings.management, parts.readiness, parts.metrics);
    let mut separate = Vec::new();
    if settings.management.port == 0 {
        public.document.merge(management.document);
        public.mounted.extend(management.mounted);
    } else {
        separate = management.mounted;
    }
    let document = openapi::complete(public.document);
    if settings.swagger.enabled {
        let pages = swagger::routes(&document, &settings.swagger, &settings.tokens);
        public.mounted.extend(pages);
    }
    Assembled {
        public: listener(public.mounted, parts, settings.server.port),
        management: (!separate.is_empty())
            .then(|| listener(separate, parts, settings.management.port)),
        document,
    }
}

/// All routes of one listener, behind their layers.
fn listener(mounted: Vec<(Surface, Router)>, parts: &Parts<'_>, port: u16) -> Application {
    let edge = Edge::new(parts, port);
    let unknown = || Router::new().fallback(async || StatusCode::NOT_FOUND);
    let mut routes = Router::new();
    for (surface, part) in mounted {
        if let Some(beginning) = surface.unknown_paths {
            let surface = surface.clone().with_limits(Limits::None);
            let under = Router::new().nest(beginning, unknown());
            routes = routes.merge(edge.around(&surface, under));
        }
        routes = routes.merge(edge.around(&surface, part));
    }
    // Nobody without a key learns which routes there are.
    let keyed = Surface::keyed(&[Scope::Read, Scope::Api]).with_limits(Limits::None);
    let routes = routes.merge(edge.around(&keyed, unknown()));
    // Around the router, which adds `Allow` outside all of its layers.
    MapResponse::new(routes, tell_methods_with_405)
}

/// Drops `Allow` from all other answers: who may not use a route does not learn its methods.
fn tell_methods_with_405(mut response: Response) -> Response {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().remove(ALLOW);
    }
    response
}
