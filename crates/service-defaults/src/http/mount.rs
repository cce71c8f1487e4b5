//! Puts the edge around routes, as their surfaces ask.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::Route};
use tower::{layer::layer_fn, service_fn};

use super::{
    admission::{Admission, Limit},
    edge::{Entrance, Passage},
    observe::{Observer, Sampler},
    secure::Headers,
};
use crate::{
    assembly::Parts,
    cors::CrossOrigin,
    metrics::{Origin, RouteSeries},
    rate_limit::Buckets,
    surface::{Access, Limits, Surface},
};

/// The edge of one listener, with what all of its surfaces share.
pub(crate) struct Edge<'a> {
    parts: &'a Parts<'a>,
    origin: Origin,
    admission: Arc<Admission>,
    buckets: Option<Arc<Buckets>>,
}

impl<'a> Edge<'a> {
    pub(crate) fn new(parts: &'a Parts<'a>, port: u16) -> Self {
        let (server, limits) = (&parts.settings.server, &parts.settings.limits);
        Self {
            parts,
            origin: Origin::new(server, port),
            admission: admission(
                parts,
                server.request_deadline,
                Limit::adaptive(limits.max_requests_in_progress),
            ),
            buckets: parts.settings.rate_limit.buckets(),
        }
    }

    /// Puts the edge around routes.
    pub(crate) fn around(&self, surface: &Surface, routes: Router) -> Router {
        let settings = self.parts.settings;
        let admission = match surface.limits {
            Limits::None => None,
            Limits::Shared => Some(self.admission.clone()),
            Limits::Own { deadline, places } => {
                Some(admission(self.parts, deadline, Limit::fixed(places)))
            }
        };
        let passage = Arc::new(Passage {
            observer: Observer {
                metrics: self.parts.metrics.clone(),
                origin: self.origin.clone(),
                shutdown: self.parts.shutdown.clone(),
                is_routine: surface.is_routine,
                refusals: Sampler::default(),
            },
            headers: Headers {
                https: settings.server.scheme() == "https",
                content_policy: surface.content_policy.clone(),
            },
            cross_origin: CrossOrigin::new(&settings.cors),
            credentials: match surface.access {
                Access::Open => None,
                Access::Key(scopes) => Some((self.parts.credentials.clone(), scopes)),
            },
            buckets: self.buckets.clone().filter(|_| admission.is_some()),
            admission,
        });
        // Without its state a handler would become a route, and get its layers, at each request.
        let routes = routes.with_state(());
        routes.layer(layer_fn(move |route: Route| {
            let entrance = Arc::new(Entrance {
                passage: passage.clone(),
                route,
                series: RouteSeries::default(),
            });
            service_fn(move |request| entrance.clone().lead(request))
        }))
    }
}

fn admission(parts: &Parts<'_>, deadline: Duration, limit: Limit) -> Arc<Admission> {
    Arc::new(Admission::new(deadline, limit, parts.metrics.refused()))
}
