//! Which requests the edge lets through to which routes.
//!
//! A service hands its routes over as [`Routes`], each with its [`Surface`]: a route that nobody
//! gave an access rule does not compile.

use std::time::Duration;

use axum::{Router, http::HeaderValue};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::{openapi, scope::Scope};

/// Nothing of an answer may be shown as a page, or in one.
const NO_PAGE: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// What the edge asks of the requests to some routes.
#[derive(Clone, Debug)]
pub struct Surface {
    pub(crate) access: Access,
    pub(crate) limits: Limits,
    pub(crate) content_policy: HeaderValue,
    pub(crate) is_routine: bool,
    pub(crate) unknown_paths: Option<&'static str>,
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Who has a key with one of these scopes. The first is the route's own, the others are aliases.
    Key(&'static [Scope]),
}

/// What bounds the requests to some routes, beside the limits on each request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// Nothing: a service that refuses everything else still says how it is.
    None,
    /// The settings: the rate of each key, the body, and the time and the places of all surfaces
    /// with these limits together.
    Shared,
    /// The settings for rate and body, but a time and places of its own, for requests that wait.
    Own {
        /// Longest time from a request's head to its answer.
        deadline: Duration,
        /// Requests in progress at once. They do not become fewer under load.
        places: usize,
    },
}

impl Surface {
    /// Routes that need a key with one of these scopes, within the limits of the settings. The first
    /// scope is the routes' own, the others are aliases.
    pub fn keyed(scopes: &'static [Scope]) -> Self {
        Self {
            access: Access::Key(scopes),
            limits: Limits::Shared,
            content_policy: NO_PAGE,
            is_routine: false,
            unknown_paths: None,
        }
    }

    /// Routes that need no key and have no limits.
    pub fn open() -> Self {
        Self {
            access: Access::Open,
            limits: Limits::None,
            ..Self::keyed(&[])
        }
    }

    /// With these limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// With this `Content-Security-Policy`.
    #[must_use]
    pub fn with_content_policy(mut self, policy: HeaderValue) -> Self {
        self.content_policy = policy;
        self
    }

    /// For routes that the platform calls every few seconds: a request that does not fail is a line
    /// of the log at `debug` only.
    #[must_use]
    pub fn routine(mut self) -> Self {
        self.is_routine = true;
        self
    }

    /// Whoever may use these routes, and nobody else, learns that a path with this beginning is
    /// none of them. It ends with a slash.
    #[must_use]
    pub fn with_unknown_paths(mut self, beginning: &'static str) -> Self {
        self.unknown_paths = Some(beginning);
        self
    }
}

/// The routes of a service with their surfaces, and the document that describes them.
pub struct Routes {
    pub(crate) document: OpenApi,
    pub(crate) mounted: Vec<(Surface, Router)>,
}

impl Routes {
    /// None yet, of a service that this document introduces.
    pub fn new(document: OpenApi) -> Self {
        let mounted = Vec::new();
        Self { document, mounted }
    }

    /// Adds routes. Where surfaces share a path, the last one also answers the methods that the path
    /// lacks.
    #[must_use]
    pub fn with(mut self, surface: Surface, routes: OpenApiRouter) -> Self {
        let (routes, mut document) = routes.split_for_parts();
        openapi::ask_for_key(&mut document, surface.access);
        self.document.merge(document);
        self.mounted.push((surface, routes));
        self
    }
}
