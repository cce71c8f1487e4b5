//! A token bucket for each API key, so that one noisy caller costs the others nothing.

use std::{num::NonZeroU32, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header::RETRY_AFTER},
    middleware::Next,
    response::{IntoResponse, Response},
};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DefaultKeyedStateStore,
};
use settings::section;

use crate::{problem::Rejection, request_context::RequestContext};

pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

section! {
    /// The section `[rate_limit]`.
    pub struct RateLimitSettings {
        /// Requests a second that each key may make; then 429 with Retry-After. 0 = no limit.
        pub requests_per_second: u32 = 0, in 0..=1_000_000;
        /// Requests that a key may make at once after a pause.
        pub burst: u32 = 100, in 1..=1_000_000;
    }
}

impl RateLimitSettings {
    pub(crate) fn buckets(&self) -> Option<Arc<Buckets>> {
        let rate = NonZeroU32::new(self.requests_per_second)?;
        let burst = NonZeroU32::new(self.burst)?;
        let limiter = RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst))
            .with_middleware::<StateInformationMiddleware>();
        let window = u64::from(burst.get()).div_ceil(u64::from(rate.get()));
        let policy = format!("\"per-key\";q={burst};w={window}");
        let policy = HeaderValue::from_str(&policy).ok()?;
        Some(Arc::new(Buckets {
            limiter,
            policy,
            clock: DefaultClock::default(),
        }))
    }
}

/// The buckets of all keys. Their number is that of the configured keys.
pub(crate) struct Buckets {
    limiter: RateLimiter<
        String,
        DefaultKeyedStateStore<String>,
        DefaultClock,
        StateInformationMiddleware,
    >,
    policy: HeaderValue,
    clock: DefaultClock,
}

/// Refuses a request (429) whose key has no token left, and tells every caller what is left
/// (`RateLimit` and `RateLimit-Policy`, draft-ietf-httpapi-ratelimit-headers).
pub(crate) async fn per_key(
    State(buckets): State<Arc<Buckets>>,
    request: Request,
    next: Next,
) -> Response {
    let key_id = request
        .extensions()
        .get::<RequestContext>()
        .and_then(RequestContext::key_id)
        .unwrap_or_default()
        .to_owned();
    let (mut response, left, seconds) = match buckets.limiter.check_key(&key_id) {
        Ok(state) => (next.run(request).await, state.remaining_burst_capacity(), 1),
        Err(refusal) => {
            let wait = refusal.wait_time_from(buckets.clock.now());
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            (too_many_requests(seconds).into_response(), 0, seconds)
        }
    };
    if let Ok(value) = HeaderValue::from_str(&format!("\"per-key\";r={left};t={seconds}")) {
        response.headers_mut().insert(RATE_LIMIT, value);
    }
    response
        .headers_mut()
        .insert(RATE_LIMIT_POLICY, buckets.policy.clone());
    response
}

fn too_many_requests(seconds: u64) -> Rejection {
    Rejection::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate_limited",
        "Too many requests",
        "This key makes more requests than it may; Retry-After says when to come back.",
    )
    .with_header(RETRY_AFTER, seconds.max(1))
}
