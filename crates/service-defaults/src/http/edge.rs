//! The edge of a service: what every request passes before it reaches a handler.

use std::{convert::Infallible, panic::AssertUnwindSafe, pin::pin, sync::Arc};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
    routing::Route,
};
use futures_util::FutureExt;

use super::{
    admission::Admission, credentials::Credentials, head, observe::Observer, secure::Headers,
};
use crate::{
    cors::CrossOrigin, limits::call, metrics::RouteSeries, problem::Rejection, rate_limit::Buckets,
    request_context::RequestContext, scope::Scope,
};

/// What the requests to one surface pass.
pub(crate) struct Passage {
    pub(crate) observer: Observer,
    pub(crate) headers: Headers,
    pub(crate) cross_origin: Option<CrossOrigin>,
    pub(crate) credentials: Option<(Credentials, &'static [Scope])>,
    pub(crate) buckets: Option<Arc<Buckets>>,
    pub(crate) admission: Option<Arc<Admission>>,
}

/// One route behind the edge.
pub(crate) struct Entrance {
    pub(crate) passage: Arc<Passage>,
    pub(crate) route: Route,
    pub(crate) series: RouteSeries,
}

impl Entrance {
    /// From a request to its answer. Ids, span, metrics, problem documents, security headers and
    /// the closing log line are for every answer, that of a panic included.
    pub(crate) async fn lead(
        self: Arc<Self>,
        mut request: Request,
    ) -> Result<Response, Infallible> {
        let Passage {
            observer, headers, ..
        } = &*self.passage;
        let observed = observer.begin(&mut request, &self.series);
        let context = observed.context().clone();
        // Pinned, so that what wraps it moves a pointer and not all of it.
        let answered = pin!(self.passage.cross(request, &self.route, &context));
        let caught = observed.within(AssertUnwindSafe(answered).catch_unwind());
        let failed = |_| Rejection::internal().into_response();
        let mut response = caught.await.unwrap_or_else(failed);
        headers.write(response.headers_mut());
        Ok(observed.end(response))
    }
}

impl Passage {
    /// CORS answers preflights of allowed origins by itself: they carry no key.
    async fn cross(&self, request: Request, route: &Route, context: &RequestContext) -> Response {
        let inner = |request| self.enter(request, route, context);
        match &self.cross_origin {
            None => inner(request).await,
            Some(cross_origin) => cross_origin.answer(request, inner).await,
        }
    }

    /// What comes before the handler, in this order:
    ///
    /// 1. what the head alone decides, before anything reads it;
    /// 2. the key or token, unless the surface is open: without one, no further;
    /// 3. its rate: a noisy caller takes no place from another one;
    /// 4. a place in progress, the body and its bounds, the time of the handler and its queries.
    async fn enter(&self, request: Request, route: &Route, context: &RequestContext) -> Response {
        if let Err(rejection) = self.identify(&request, context) {
            return rejection.into_response();
        }
        let Some(buckets) = &self.buckets else {
            return self.serve(request, route).await;
        };
        let rate = buckets.take(context.key_id().unwrap_or_default());
        let mut response = match rate.check() {
            Ok(()) => self.serve(request, route).await,
            Err(rejection) => rejection.into_response(),
        };
        buckets.tell(rate, response.headers_mut());
        response
    }

    fn identify(&self, request: &Request, context: &RequestContext) -> Result<(), Rejection> {
        head::check(request)?;
        match &self.credentials {
            Some((credentials, scopes)) => {
                credentials.authenticate(request.headers(), scopes, context)
            }
            None => Ok(()),
        }
    }

    async fn serve(&self, request: Request, route: &Route) -> Response {
        match &self.admission {
            Some(admission) => admission.pass(request, route).await,
            None => call(route, request).await,
        }
    }
}
