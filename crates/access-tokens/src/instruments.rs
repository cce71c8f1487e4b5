use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Meter},
};

use crate::{fetch::FetchError, key_set::KeySet, refused::Refused};

/// What is measured of the issuer's keys.
pub(crate) struct Fetches(Counter<u64>);

impl Fetches {
    pub(crate) fn new(
        meter: &Meter,
        age: impl Fn() -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        meter
            .f64_observable_gauge("jwks.age")
            .with_unit("s")
            .with_description("Time since the issuer's keys were fetched")
            .with_callback(move |observer| {
                if let Some(age) = age() {
                    observer.observe(age.as_secs_f64(), &[]);
                }
            })
            .build();
        let refreshes = meter
            .u64_counter("jwks.refreshes")
            .with_unit("{fetch}")
            .with_description("Fetches of the issuer's keys, by their outcome")
            .build();
        Self(refreshes)
    }

    pub(crate) fn ended(&self, result: &Result<KeySet, FetchError>) {
        let outcome = match result {
            Ok(set) if set.keys.is_empty() => "no_keys",
            Ok(_) => "good",
            Err(error) => error.outcome(),
        };
        self.0.add(1, &[KeyValue::new("outcome", outcome)]);
    }
}

/// What is measured of our own tokens.
pub(crate) struct Grants(Counter<u64>);

impl Grants {
    pub(crate) fn new(meter: &Meter) -> Self {
        let grants = meter
            .u64_counter("token.grants")
            .with_unit("{fetch}")
            .with_description("Fetches of a token of our own, by their outcome")
            .build();
        Self(grants)
    }

    pub(crate) fn ended<T>(&self, result: &Result<T, FetchError>) {
        let outcome = result.as_ref().err().map_or("good", FetchError::outcome);
        self.0.add(1, &[KeyValue::new("outcome", outcome)]);
    }
}

/// What is measured of the tokens.
pub(crate) struct Verified {
    refused: Counter<u64>,
    longest_life: Arc<AtomicU64>,
}

impl Verified {
    pub(crate) fn new(meter: &Meter) -> Self {
        let longest_life = Arc::new(AtomicU64::new(0));
        let seen = longest_life.clone();
        meter
            .u64_observable_gauge("token.life.max")
            .with_unit("s")
            .with_description("Longest life of a token that was taken, from its iat to its exp")
            .with_callback(move |observer| observer.observe(seen.load(Ordering::Relaxed), &[]))
            .build();
        let refused = meter
            .u64_counter("token.refused")
            .with_unit("{request}")
            .with_description("Tokens that were refused, by the reason")
            .build();
        Self {
            refused,
            longest_life,
        }
    }

    pub(crate) fn refused(&self, refused: Refused) {
        let reason = KeyValue::new("reason", refused.reason());
        self.refused.add(1, &[reason]);
    }

    /// A token was taken that lives for so many seconds, if it says when it was issued.
    pub(crate) fn taken(&self, life: Option<f64>) {
        let life = life.and_then(|life| Duration::try_from_secs_f64(life).ok());
        if let Some(life) = life {
            self.longest_life
                .fetch_max(life.as_secs(), Ordering::Relaxed);
        }
    }
}
