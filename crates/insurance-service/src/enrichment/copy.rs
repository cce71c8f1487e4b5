//! What the copy of Vehicle's register may say of a car. It never says more than it knows: one that
//! is not caught up does not say that there is no such vehicle.

use std::{sync::Arc, time::Duration};

use contracts::{Cause, EnrichmentStatus, Source, Vehicle};

use super::outcome::Outcome;
pub(crate) use crate::replica::CONSUMER;

/// What the copy holds of a car, as a statement read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    /// The vehicle, if it has one of this number.
    pub(crate) vehicle: Option<Arc<Vehicle>>,
    /// How long ago it was up to date.
    pub(crate) age: Duration,
    /// How long it has lacked a change of the car for certain: an event of it is a dead letter.
    pub(crate) lacks_change_for: Option<Duration>,
}

/// For how long the copy is good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// After this, vehicles are `stale`.
    pub(crate) max_age: Duration,
    /// After this, nothing of it is told.
    pub(crate) unusable_after: Duration,
}

/// What is told of a car by the copy.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// This, and Vehicle is not asked.
    Now(Outcome),
    /// This, unless Vehicle can be asked and answers.
    Failing(Outcome),
}

/// What there is to say where the copy says nothing.
const NOTHING: Outcome = Outcome::Unavailable {
    cause: Cause::ReplicaStale,
    // Nobody knows.
    retry_after_seconds: None,
};

impl Bounds {
    /// What of the copy is told; `None` is no copy.
    pub(super) fn tell(self, copied: Option<&Copied>) -> Told {
        let Some(copied) = copied.filter(|copied| copied.age <= self.unusable_after) else {
            return Told::Failing(NOTHING);
        };
        let lacks_change = copied.lacks_change_for.is_some();
        let is_caught_up = copied.age <= self.max_age && !lacks_change;
        let Some(vehicle) = &copied.vehicle else {
            return if is_caught_up {
                Told::Now(Outcome::NotFound(Source::Replica))
            } else {
                Told::Failing(NOTHING)
            };
        };
        let vehicle = Outcome::Vehicle {
            vehicle: vehicle.clone(),
            status: if is_caught_up {
                EnrichmentStatus::Enriched
            } else {
                EnrichmentStatus::Stale
            },
            source: Source::Replica,
            age: copied.age.max(copied.lacks_change_for.unwrap_or_default()),
        };
        if lacks_change {
            Told::Failing(vehicle)
        } else {
            Told::Now(vehicle)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use contracts::{EnrichmentStatus, Source, Vehicle};

    use super::{Bounds, Copied, NOTHING, Told};
    use crate::enrichment::outcome::Outcome;

    fn told(age: u64, known: bool, lacks_change_for: Option<u64>) -> Told {
        let bounds = Bounds {
            max_age: Duration::from_mins(1),
            unusable_after: Duration::from_mins(10),
        };
        bounds.tell(Some(&Copied {
            vehicle: known.then(vehicle),
            age: Duration::from_secs(age),
            lacks_change_for: lacks_change_for.map(Duration::from_secs),
        }))
    }

    fn vehicle() -> Arc<Vehicle> {
        Arc::new(Vehicle {
            registration_number: "ABC123".parse().unwrap(),
            make: None,
            model: None,
            model_year: None,
        })
    }

    fn known(status: EnrichmentStatus, age: u64) -> Outcome {
        Outcome::Vehicle {
            vehicle: vehicle(),
            status,
            source: Source::Replica,
            age: Duration::from_secs(age),
        }
    }

    #[test]
    fn a_vehicle_is_enriched_then_stale_then_nothing() {
        use EnrichmentStatus::{Enriched, Stale};
        assert_eq!(told(60, true, None), Told::Now(known(Enriched, 60)));
        assert_eq!(told(61, true, None), Told::Now(known(Stale, 61)));
        assert_eq!(told(600, true, None), Told::Now(known(Stale, 600)));
        assert_eq!(told(601, true, None), Told::Failing(NOTHING));
    }

    #[test]
    fn only_a_copy_that_is_caught_up_says_that_there_is_none() {
        let none = Told::Now(Outcome::NotFound(Source::Replica));
        assert_eq!(told(60, false, None), none);
        assert_eq!(told(61, false, None), Told::Failing(NOTHING));
        assert_eq!(told(0, false, Some(0)), Told::Failing(NOTHING));
    }

    #[test]
    fn a_car_with_a_dead_letter_is_stale_however_new_the_copy_is() {
        let stale = |age| Told::Failing(known(EnrichmentStatus::Stale, age));
        assert_eq!(told(1, true, Some(0)), stale(1));
        // An old letter makes no copy unusable that is up to date.
        assert_eq!(told(1, true, Some(601)), stale(601));
        assert_eq!(told(601, true, Some(1)), Told::Failing(NOTHING));
    }
}
