//! How many requests are in progress at once: so many that each can be served in time.

mod limit;

use std::{
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::HttpBody,
    extract::Request,
    response::{IntoResponse, Response},
    routing::Route,
};
use futures_util::FutureExt;
use opentelemetry::metrics::Counter;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use self::limit::Ended;
pub(crate) use self::limit::Limit;
use super::limits::{RequestDeadline, call, callers_limit, receive};
use crate::problem::Rejection;

/// Longest wait for a place. It holds back callers that would ask again at once: a connection is
/// refused twice a second at most, so that the refusals of all of them cost little.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// A request whose time was up after so long on its place did not get what it needed: what a
/// request waits for in here takes milliseconds.
const LONG: Duration = Duration::from_millis(100);

/// Bounds on the API requests that are worked on, and on the time and the memory of each.
pub(crate) struct Admission {
    places: Semaphore,
    limit: Mutex<Limit>,
    refused: Counter<u64>,
    request_deadline: Duration,
}

impl Admission {
    pub(crate) fn new(request_deadline: Duration, limit: Limit, refused: Counter<u64>) -> Self {
        Self {
            places: Semaphore::new(limit.whole()),
            limit: Mutex::new(limit),
            refused,
            request_deadline,
        }
    }

    /// Has a request answered as soon as there is a place for it; refuses it (503) when there is
    /// none in time. Reads its body, in bounds (413, 408), and ends it (503) when it takes longer
    /// than the service allows or its caller waits, whichever is less.
    pub(crate) async fn pass(&self, request: Request, route: &Route) -> Response {
        let admitted = self.admit(request, route).await;
        admitted.unwrap_or_else(IntoResponse::into_response)
    }

    async fn admit(&self, mut request: Request, route: &Route) -> Result<Response, Rejection> {
        let limit = callers_limit(request.headers())?.map_or(self.request_deadline, |callers| {
            callers.min(self.request_deadline)
        });
        // Its caller no longer waits.
        if limit.is_zero() {
            return Err(deadline_exceeded());
        }
        let now = Instant::now();
        let (deadline, wait_until) = (now + limit, now + LONGEST_WAIT.min(limit / 2));
        let mut place = self.place(now, wait_until).await?;
        if !request.body().is_end_stream() {
            let mut received = pin!(receive(request, deadline));
            request = if let Some(there) = received.as_mut().now_or_never() {
                there?
            } else {
                // Slow bodies of one caller would take all places from the others. There are no
                // more of them than connections.
                drop(place);
                let late = received.await?;
                place = self.place(Instant::now(), wait_until).await?;
                late
            };
        }
        request.extensions_mut().insert(RequestDeadline(deadline));
        let answered = timeout_at(deadline, call(route, request)).await;
        place.end(answered.as_ref().ok());
        answered.map_err(|_| deadline_exceeded())
    }

    /// Waits for a place, in turn. One that is free is taken also when the time is up.
    async fn place(&self, now: Instant, until: Instant) -> Result<Place<'_>, Rejection> {
        let (place, taken) = if let Ok(free) = self.places.try_acquire() {
            (free, now)
        } else {
            let waited = timeout_at(until, self.places.acquire()).await;
            let Ok(Ok(place)) = waited else {
                self.refused.add(1, &[]);
                return Err(overloaded());
            };
            (place, Instant::now())
        };
        // Whether it is given back is said by the limit.
        place.forget();
        Ok(Place {
            admission: self,
            taken,
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
    taken: Instant,
    ended: Ended,
}

impl Place<'_> {
    /// Says how the request ended: with an answer, or because its time was up.
    fn end(mut self, response: Option<&Response>) {
        self.ended = match response {
            Some(response) => of(response),
            None if self.taken.elapsed() >= LONG => Ended::Overloaded,
            None => Ended::Unknown,
        };
    }
}

fn of(response: &Response) -> Ended {
    let refusal = response.extensions().get::<Rejection>();
    if refusal.is_some_and(Rejection::is_for_overload) {
        Ended::Overloaded
    } else if response.status().is_server_error() {
        Ended::Unknown
    } else {
        Ended::Served
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Admission { places, .. } = self.admission;
        let all_taken = places.available_permits() == 0;
        let mut limit = self.admission.limit();
        let free = limit.ended(self.ended, all_taken, self.taken, Instant::now());
        places.add_permits(free);
    }
}
