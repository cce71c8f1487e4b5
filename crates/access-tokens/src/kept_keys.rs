//! The issuer's keys, kept and refreshed behind: no request waits for the issuer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use opentelemetry::metrics::Meter;
use tokio::{
    select,
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

use crate::{
    fetch::Source,
    instruments::Fetches,
    key_set::{Key, KeySet},
    refused::Refused,
};

/// From one good fetch to the next. Keys that the issuer publishes so long before it signs with
/// them are known in time.
const REFRESH: Duration = Duration::from_mins(5);
/// Between two fetches at least: after one that failed, and for key ids that are unknown, however
/// many there are.
const COOLDOWN: Duration = Duration::from_secs(30);
/// Longest time that the first fetch is waited for.
const FIRST: Duration = Duration::from_secs(10);
/// How long keys are good without their issuer.
const LONGEST_ALONE: Duration = Duration::from_hours(24);

/// How it is with the issuer's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysState {
    /// The last fetch was good.
    Fresh,
    /// The last fetch failed; the keys of an earlier one are in force.
    Stale,
    /// The last good fetch was 24 h ago: tokens are refused.
    Expired,
    /// There was no good fetch yet: tokens are refused.
    Missing,
    /// The first fetch has not ended. It is so for 10 s at most: tokens are refused.
    Fetching,
    /// The issuer publishes no key that can be used: tokens are refused.
    Empty,
}

struct Kept {
    set: KeySet,
    fetched: Instant,
}

pub(crate) struct KeptKeys {
    source: Source,
    begun: Instant,
    kept: Arc<ArcSwapOption<Kept>>,
    /// Whether the last fetch failed.
    failing: AtomicBool,
    /// A token had an id that is unknown.
    asked: Notify,
    /// Whether there was a fetch, good or not.
    tried: watch::Sender<bool>,
    fetches: Fetches,
}

impl KeptKeys {
    pub(crate) fn new(source: Source, meter: &Meter) -> Self {
        let kept: Arc<ArcSwapOption<Kept>> = Arc::default();
        let aged = kept.clone();
        let age = move || aged.load().as_ref().map(|it| it.fetched.elapsed());
        Self {
            source,
            begun: Instant::now(),
            kept,
            failing: AtomicBool::new(false),
            asked: Notify::new(),
            tried: watch::Sender::new(false),
            fetches: Fetches::new(meter, age),
        }
    }

    /// The key of this id. One that is unknown is fetched behind, if the issuer has it by now.
    pub(crate) fn find(&self, id: &str) -> Result<Arc<Key>, Refused> {
        let kept = self.kept.load();
        let kept = kept.as_ref().filter(|it| !it.is_expired());
        let kept = kept.ok_or(Refused::NoKeys)?;
        let key = kept.set.keys.get(id).cloned();
        key.ok_or_else(|| {
            self.asked.notify_one();
            Refused::UnknownKey
        })
    }

    pub(crate) fn state(&self) -> KeysState {
        match &*self.kept.load() {
            None if !*self.tried.borrow() && self.begun.elapsed() < FIRST => KeysState::Fetching,
            None => KeysState::Missing,
            Some(kept) if kept.is_expired() => KeysState::Expired,
            Some(kept) if kept.set.keys.is_empty() => KeysState::Empty,
            Some(_) if self.failing.load(Ordering::Relaxed) => KeysState::Stale,
            Some(_) => KeysState::Fresh,
        }
    }

    /// Waits for the end of the first fetch.
    pub(crate) async fn tried(&self) {
        // Fails only when the sender is gone, which is ours.
        let _ = self.tried.subscribe().wait_for(|tried| *tried).await;
    }

    /// Fetches the keys now and again, for as long as it is polled.
    pub(crate) async fn keep(&self) {
        loop {
            let begun = Instant::now();
            let pause = if self.fetch().await {
                REFRESH
            } else {
                COOLDOWN
            };
            self.tried.send_replace(true);
            let cooled = sleep_until(begun + COOLDOWN);
            select! {
                () = sleep_until(begun + pause) => {}
                () = async { self.asked.notified().await; cooled.await } => {}
            }
        }
    }

    async fn fetch(&self) -> bool {
        let result = self.source.fetch().await;
        self.fetches.ended(&result);
        let good = result.is_ok();
        let failed_before = self.failing.swap(!good, Ordering::Relaxed);
        match result {
            // A set without a usable key is one, too: the issuer has taken its keys back.
            Ok(set) => {
                if failed_before || self.kept.load().as_ref().is_none_or(|it| !it.has(&set)) {
                    let (keys, left_out) = (set.keys.len(), set.left_out);
                    tracing::info!(keys, left_out, "the keys of tokens were fetched");
                }
                let fetched = Instant::now();
                self.kept.store(Some(Arc::new(Kept { set, fetched })));
            }
            // Once, and not every 30 s for as long as the issuer is away.
            Err(error) if !failed_before => {
                tracing::warn!(error = %error, "the keys of tokens could not be fetched");
            }
            Err(_) => {}
        }
        good
    }
}

impl Kept {
    /// Whether these are the same keys, by their ids.
    fn has(&self, other: &KeySet) -> bool {
        let own = &self.set.keys;
        own.len() == other.keys.len() && other.keys.keys().all(|id| own.contains_key(id))
    }

    fn is_expired(&self) -> bool {
        self.fetched.elapsed() >= LONGEST_ALONE
    }
}
