//! How many requests are in progress at once: so many that each can be served in time.

mod limit;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::HttpBody,
    extract::Request,
    response::{IntoResponse, Response},
    routing::Route,
};
use opentelemetry::metrics::Counter;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};

use self::limit::{Ended, Limit};
use super::limits::{RequestDeadline, call, callers_limit, receive};
use crate::problem::Rejection;

/// Longest wait for a place. It holds back callers that would ask again at once: a connection is
/// refused twice a second at most, so that the refusals of all of them cost little.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Bounds on the API requests that are worked on, and on the time and the memory of each.
pub(crate) struct Admission {
    places: Semaphore,
    limit: Mutex<Limit>,
    refused: Counter<u64>,
    request_deadline: Duration,
}

impl Admission {
    pub(crate) fn new(request_deadline: Duration, places: usize, refused: Counter<u64>) -> Self {
        Self {
            places: Semaphore::new(places),
            limit: Mutex::new(Limit::new(places)),
            refused,
            request_deadline,
        }
    }

    /// Has a request answered as soon as there is a place for it; refuses it (503) when there is
    /// none in time. Reads its body, in bounds (413, 408), and ends it (503) when it takes longer
    /// than the service allows or its caller waits, whichever is less.
    pub(crate) async fn pass(&self, request: Request, route: Route) -> Response {
        let admitted = self.admit(request, route).await;
        admitted.unwrap_or_else(IntoResponse::into_response)
    }

    async fn admit(&self, mut request: Request, route: Route) -> Result<Response, Rejection> {
        let limit = callers_limit(request.headers())?.map_or(self.request_deadline, |callers| {
            callers.min(self.request_deadline)
        });
        // Its caller no longer waits.
        if limit.is_zero() {
            return Err(deadline_exceeded());
        }
        let deadline = Instant::now() + limit;
        let mut place = self.place(deadline).await?;
        if !request.body().is_end_stream() {
            // Slow bodies of one caller would take all places from the others. There are no more
            // of them than connections.
            drop(place);
            request = receive(request, deadline).await?;
            place = self.place(deadline).await?;
        }
        request.extensions_mut().insert(RequestDeadline(deadline));
        let answered = timeout_at(deadline, call(route, request)).await;
        let response = answered.map_err(|_| deadline_exceeded())?;
        place.end(&response);
        Ok(response)
    }

    /// Waits for a place, in turn, but for no more than half of the time that the request has left.
    async fn place(&self, deadline: Instant) -> Result<Place<'_>, Rejection> {
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = timeout(LONGEST_WAIT.min(left / 2), self.places.acquire()).await;
        let Ok(Ok(place)) = waited else {
            self.refused.add(1, &[]);
            return Err(overloaded());
        };
        // Whether it is given back is said by the limit.
        place.forget();
        Ok(Place {
            admission: self,
            ended: Ended::Unknown,
        })
    }

    fn limit(&self) -> MutexGuard<'_, Limit> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn overloaded() -> Rejection {
    let detail = "As many requests as the service takes are in progress already.";
    Rejection::unavailable("overloaded", detail, 1).for_overload()
}

fn deadline_exceeded() -> Rejection {
    let detail = "The request took longer than the service allows or its caller waits.";
    Rejection::unavailable("deadline_exceeded", detail, 1)
}

/// A place that a request has taken, until it is dropped.
struct Place<'a> {
    admission: &'a Admission,
    ended: Ended,
}

impl Place<'_> {
    fn end(mut self, response: &Response) {
        let refusal = response.extensions().get::<Rejection>();
        self.ended = if refusal.is_some_and(Rejection::is_for_overload) {
            Ended::Overloaded
        } else {
            Ended::Served
        };
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Admission { places, .. } = self.admission;
        let all_taken = places.available_permits() == 0;
        let mut limit = self.admission.limit();
        places.add_permits(limit.ended(self.ended, all_taken, Instant::now()));
    }
}
