use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use contracts::{RegistrationNumber, Vehicle};
use moka::sync::Cache as Store;
use tokio::time::Instant;

use crate::CacheOptions;

/// How full the cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheState {
    /// Numbers of which something is kept.
    pub entries: u64,
    /// Memory that they take, about.
    pub bytes: u64,
}

/// What an entry is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    Fresh,
    SoftStale,
    HardStale,
}

impl Freshness {
    /// The class as a metric label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::SoftStale => "soft_stale",
            Self::HardStale => "hard_stale",
        }
    }
}

/// An answer of Vehicle that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The vehicle, or that there is none.
    pub(crate) vehicle: Option<Arc<Vehicle>>,
    pub(crate) stored: Instant,
    fresh_until: Instant,
}

/// Answers by registration number; never by person. Time comes from outside, so that the classes
/// can be tested on a paused clock; the store below only bounds memory.
#[derive(Clone)]
pub(crate) struct Cache {
    options: CacheOptions,
    store: Store<RegistrationNumber, Entry>,
    /// Raised by every erasure, so that an answer that was on its way does not undo it.
    erasures: Arc<AtomicU64>,
}

/// Taken before Vehicle is asked, shown when its answer is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

impl Cache {
    pub(crate) fn new(options: CacheOptions) -> Self {
        let store = Store::builder()
            .max_capacity(options.max_bytes)
            .weigher(|_, entry: &Entry| weight(entry))
            .time_to_live(options.hard_stale)
            .build();
        Self {
            options,
            store,
            erasures: Arc::default(),
        }
    }

    /// What is kept of this number, and for what it is good now.
    pub(crate) fn get(
        &self,
        number: &RegistrationNumber,
        now: Instant,
    ) -> Option<(Freshness, Entry)> {
        let entry = self.store.get(number)?;
        let age = now.saturating_duration_since(entry.stored);
        let freshness = if now < entry.fresh_until {
            Freshness::Fresh
        } else if entry.vehicle.is_none() {
            return None;
        } else if age < self.options.soft_stale {
            Freshness::SoftStale
        } else if age < self.options.hard_stale {
            Freshness::HardStale
        } else {
            return None;
        };
        Some((freshness, entry))
    }

    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.erasures.load(Ordering::SeqCst))
    }

    /// Keeps an answer, unless something was erased since Vehicle was asked. `random` is in 0..1.
    pub(crate) fn put(
        &self,
        number: &RegistrationNumber,
        vehicle: Option<Arc<Vehicle>>,
        asked: Epoch,
        now: Instant,
        random: f64,
    ) {
        if asked != self.epoch() {
            return;
        }
        let base = if vehicle.is_some() {
            self.options.fresh
        } else {
            self.options.negative
        };
        let spread = 1.0 + self.options.jitter * (2.0 * random - 1.0);
        let fresh_until = now + base.mul_f64(spread);
        let entry = Entry {
            vehicle,
            stored: now,
            fresh_until,
        };
        self.store.insert(number.clone(), entry);
        // An erasure counts first and then removes: one that came between the look above and the
        // insertion is seen here.
        if asked != self.epoch() {
            self.store.invalidate(number);
        }
    }

    /// How full it is.
    pub(crate) fn state(&self) -> CacheState {
        // The store counts behind its own back otherwise.
        self.store.run_pending_tasks();
        CacheState {
            entries: self.store.entry_count(),
            bytes: self.store.weighted_size(),
        }
    }

    /// Forgets a number at once.
    pub(crate) fn erase(&self, number: &RegistrationNumber) {
        self.erasures.fetch_add(1, Ordering::SeqCst);
        self.store.invalidate(number);
    }
}

/// Bytes that an entry takes, about: the texts and what the store needs around them, which was
/// measured as resident memory (some 590 bytes for short texts).
fn weight(entry: &Entry) -> u32 {
    const OVERHEAD: usize = 700;
    let texts = entry.vehicle.as_ref().map_or(0, |vehicle| {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        length(&vehicle.make) + length(&vehicle.model)
    });
    u32::try_from(OVERHEAD + texts).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use contracts::{RegistrationNumber, Vehicle};
    use tokio::time::Instant;

    use super::{Cache, Freshness};
    use crate::CacheOptions;

    const OPTIONS: CacheOptions = CacheOptions {
        enabled: true,
        fresh: Duration::from_mins(1),
        soft_stale: Duration::from_mins(10),
        hard_stale: Duration::from_hours(24),
        negative: Duration::from_secs(30),
        jitter: 0.1,
        max_bytes: 1 << 20,
    };

    fn number(text: &str) -> RegistrationNumber {
        text.parse().unwrap()
    }

    fn vehicle(make: &str) -> Arc<Vehicle> {
        let registration_number = number("ABC123");
        let make = Some(make.to_owned());
        Arc::new(Vehicle {
            registration_number,
            make,
            model: None,
            model_year: None,
        })
    }

    fn class(cache: &Cache, now: Instant) -> Option<Freshness> {
        cache
            .get(&number("ABC123"), now)
            .map(|(freshness, _)| freshness)
    }

    #[test]
    fn an_answer_ages_through_its_classes() {
        let (cache, start) = (Cache::new(OPTIONS), Instant::now());
        cache.put(
            &number("ABC123"),
            Some(vehicle("Volvo")),
            cache.epoch(),
            start,
            0.5,
        );
        for (seconds, expected) in [
            (0, Some(Freshness::Fresh)),
            (59, Some(Freshness::Fresh)),
            (60, Some(Freshness::SoftStale)),
            (599, Some(Freshness::SoftStale)),
            (600, Some(Freshness::HardStale)),
            (86_399, Some(Freshness::HardStale)),
            (86_400, None),
        ] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(class(&cache, now), expected, "{seconds}");
        }
    }

    #[test]
    fn that_there_is_no_vehicle_is_good_for_a_short_time_only() {
        let (cache, start) = (Cache::new(OPTIONS), Instant::now());
        cache.put(&number("ABC123"), None, cache.epoch(), start, 0.5);
        assert_eq!(
            class(&cache, start + Duration::from_secs(29)),
            Some(Freshness::Fresh)
        );
        assert_eq!(class(&cache, start + Duration::from_secs(30)), None);
    }

    #[test]
    fn expiry_is_spread() {
        let (cache, start) = (Cache::new(OPTIONS), Instant::now());
        for (random, fresh) in [(0.0, 54), (0.999_999, 65)] {
            cache.put(
                &number("ABC123"),
                Some(vehicle("Volvo")),
                cache.epoch(),
                start,
                random,
            );
            let at = |seconds| class(&cache, start + Duration::from_secs(seconds));
            assert_eq!(at(fresh - 1), Some(Freshness::Fresh));
            assert_eq!(at(fresh + 1), Some(Freshness::SoftStale));
        }
    }

    #[test]
    fn an_answer_that_was_on_its_way_does_not_undo_an_erasure() {
        let (cache, now) = (Cache::new(OPTIONS), Instant::now());
        let asked = cache.epoch();
        cache.erase(&number("ABC123"));
        cache.put(&number("ABC123"), Some(vehicle("Volvo")), asked, now, 0.5);
        assert_eq!(class(&cache, now), None);
        cache.put(
            &number("ABC123"),
            Some(vehicle("Volvo")),
            cache.epoch(),
            now,
            0.5,
        );
        assert_eq!(class(&cache, now), Some(Freshness::Fresh));
    }

    #[test]
    fn memory_is_bounded() {
        let options = CacheOptions {
            max_bytes: 100_000,
            ..OPTIONS
        };
        let (cache, now) = (Cache::new(options), Instant::now());
        let long = vehicle(&"x".repeat(744));
        for index in 0..10_000 {
            let number = number(&format!("A{index:05}"));
            cache.put(&number, Some(long.clone()), cache.epoch(), now, 0.5);
        }
        cache.store.run_pending_tasks();
        assert!(cache.store.weighted_size() <= 100_000);
        assert!(cache.store.entry_count() <= 69);
    }

    #[test]
    fn an_entry_weighs_its_texts_and_what_is_around_them() {
        let (cache, now) = (Cache::new(OPTIONS), Instant::now());
        let mut volvo = Arc::unwrap_or_clone(vehicle("Volvo"));
        volvo.model = Some("XC60".to_owned());
        for (vehicle, bytes) in [(None, 700), (Some(Arc::new(volvo)), 709)] {
            cache.put(&number("ABC123"), vehicle, cache.epoch(), now, 0.5);
            cache.store.run_pending_tasks();
            assert_eq!(cache.store.weighted_size(), bytes);
        }
    }

    #[test]
    fn classes_have_the_names_of_the_metric() {
        let classes = [Freshness::Fresh, Freshness::SoftStale, Freshness::HardStale];
        let names = classes.map(Freshness::label);
        assert_eq!(names, ["fresh", "soft_stale", "hard_stale"]);
    }
}
