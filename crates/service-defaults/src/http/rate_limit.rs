//! A token bucket for each API key and each subject of tokens, so that one noisy caller costs the
//! others nothing.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::RETRY_AFTER};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DefaultKeyedStateStore,
};
use settings::section;

use crate::problem::Rejection;

pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

section! {
    /// The section `[rate_limit]`.
    pub struct RateLimitSettings {
        /// Requests a second that each key, or subject of tokens, may make, after a pause as many
        /// at once; then 429 with Retry-After. 0 = no limit.
        pub requests_per_second: u32 = 0, in 0..=1_000_000;
    }
    removed {
        "burst" => "is requests_per_second",
    }
}

impl RateLimitSettings {
    pub(crate) fn buckets(&self) -> Option<Arc<Buckets>> {
        let rate = NonZeroU32::new(self.requests_per_second)?;
        let limiter = RateLimiter::keyed(Quota::per_second(rate))
            .with_middleware::<StateInformationMiddleware>();
        let policy = format!("\"per-key\";q={rate};w=1");
        let policy = HeaderValue::from_str(&policy).ok()?;
        Some(Arc::new(Buckets {
            limiter,
            policy,
            clock: DefaultClock::default(),
            taken: AtomicUsize::new(0),
        }))
    }
}

/// So often those buckets are forgotten that are full again: an issuer may name any number of
/// subjects.
const TAKEN_BETWEEN_SWEEPS: usize = 10_000;

/// The buckets of all callers.
pub(crate) struct Buckets {
    limiter: RateLimiter<
        String,
        DefaultKeyedStateStore<String>,
        DefaultClock,
        StateInformationMiddleware,
    >,
    policy: HeaderValue,
    clock: DefaultClock,
    taken: AtomicUsize,
}

/// What is left of a key's rate.
#[derive(Clone, Copy)]
pub(crate) struct Rate {
    left: u32,
    /// Until there is more.
    seconds: u64,
    exhausted: bool,
}

impl Rate {
    /// Refuses a request (429) whose key had no token left.
    pub(crate) fn check(self) -> Result<(), Rejection> {
        if self.exhausted {
            return Err(too_many_requests(self.seconds));
        }
        Ok(())
    }
}

impl Buckets {
    /// Takes a token of this caller, if it has one left.
    pub(crate) fn take(&self, key_id: &str) -> Rate {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        if taken.is_multiple_of(TAKEN_BETWEEN_SWEEPS) {
            self.limiter.retain_recent();
        }
        match self.limiter.check_key(&key_id.to_owned()) {
            Ok(state) => Rate {
                left: state.remaining_burst_capacity(),
                seconds: 1,
                exhausted: false,
            },
            Err(refusal) => {
                let wait = refusal.wait_time_from(self.clock.now());
                Rate {
                    left: 0,
                    seconds: wait.as_secs() + u64::from(wait.subsec_nanos() > 0),
                    exhausted: true,
                }
            }
        }
    }

    /// Tells a caller what is left (`RateLimit` and `RateLimit-Policy`,
    /// draft-ietf-httpapi-ratelimit-headers).
    pub(crate) fn tell(&self, rate: Rate, headers: &mut HeaderMap) {
        let Rate { left, seconds, .. } = rate;
        if let Ok(value) = HeaderValue::from_str(&format!("\"per-key\";r={left};t={seconds}")) {
            headers.insert(RATE_LIMIT, value);
        }
        headers.insert(RATE_LIMIT_POLICY, self.policy.clone());
    }
}

fn too_many_requests(seconds: u64) -> Rejection {
    Rejection::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate_limited",
        "Too many requests",
        "This caller makes more requests than it may; Retry-After says when to come back.",
    )
    .with_header(RETRY_AFTER, seconds.max(1))
}
