//! What the log says of a vehicle beside what the copy says.

use std::collections::BTreeMap;

use contracts::{ComparisonOutcome, RegistrationNumber};
use serde::{Deserialize, Serialize};
use vehicle_client::VehicleEvent;

/// What a register says of a vehicle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Details {
    pub(super) make: Option<String>,
    pub(super) model: Option<String>,
    pub(super) model_year: Option<i16>,
}

/// A vehicle of the copy; without details it is a tombstone.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) version: i64,
    pub(super) details: Option<Details>,
}

/// A vehicle that differs: how, and in which members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Difference {
    pub(super) outcome: String,
    pub(super) fields: Vec<String>,
}

/// Vehicles that differ, by registration number; by a mere number once a replay has ended.
pub(super) type Differences = BTreeMap<String, Difference>;

/// More of them make a dry run pointless: the copy is to be rebuilt.
pub(super) const MOST_DIFFERENCES: usize = 1_000;

/// What was found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    pub(super) equal: i64,
    /// The copy has what came after the events that were read.
    pub(super) newer: i64,
    pub(super) differences: Differences,
}

impl Findings {
    /// Takes the last states that a page tells, with what the copy has of the same vehicles. A
    /// vehicle that differs counts once, by its last state that was read.
    pub(super) fn take(
        &mut self,
        told: &BTreeMap<RegistrationNumber, VehicleEvent>,
        kept: &BTreeMap<String, Kept>,
    ) {
        for (number, event) in told {
            let (outcome, fields) = compare(event, kept.get(number.as_str()));
            self.differences.remove(number.as_str());
            match outcome {
                ComparisonOutcome::Equal => self.equal += 1,
                ComparisonOutcome::ReplicaAhead => self.newer += 1,
                _ => {
                    let difference = Difference {
                        outcome: outcome.name().to_owned(),
                        fields: fields.into_iter().map(str::to_owned).collect(),
                    };
                    self.differences
                        .insert(number.as_str().to_owned(), difference);
                }
            }
        }
    }
}

fn compare(event: &VehicleEvent, kept: Option<&Kept>) -> (ComparisonOutcome, Vec<&'static str>) {
    let told = event.vehicle.as_ref().map(|vehicle| Details {
        make: vehicle.make.clone(),
        model: vehicle.model.clone(),
        model_year: vehicle.model_year,
    });
    let newer = kept.is_some_and(|kept| kept.version > event.version);
    if newer {
        return (ComparisonOutcome::ReplicaAhead, Vec::new());
    }
    let same_version = kept.is_some_and(|kept| kept.version == event.version);
    match (told, kept.and_then(|kept| kept.details.as_ref())) {
        // Tombstones are swept, so that none need be there.
        (None, None) => (ComparisonOutcome::Equal, Vec::new()),
        (Some(_), None) => (ComparisonOutcome::OnlyLive, Vec::new()),
        (None, Some(_)) => (ComparisonOutcome::OnlyReplica, Vec::new()),
        (Some(told), Some(kept)) => {
            let fields = differing(&told, kept);
            let outcome = match (same_version, fields.is_empty()) {
                (true, true) => ComparisonOutcome::Equal,
                (true, false) => ComparisonOutcome::Different,
                (false, _) => ComparisonOutcome::ReplicaBehind,
            };
            (outcome, fields)
        }
    }
}

fn differing(told: &Details, kept: &Details) -> Vec<&'static str> {
    let members = [
        ("make", told.make == kept.make),
        ("model", told.model == kept.model),
        ("modelYear", told.model_year == kept.model_year),
    ];
    let differing = members.into_iter().filter(|(_, same)| !same);
    differing.map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use contracts::{RegistrationNumber, Vehicle};
    use vehicle_client::VehicleEvent;

    use super::{Details, Findings, Kept};

    fn event(version: i64, model: Option<&str>) -> VehicleEvent {
        let number: RegistrationNumber = "ABC123".parse().unwrap();
        VehicleEvent {
            id: uuid::Uuid::nil(),
            position: 1,
            registration_number: number.clone(),
            version,
            vehicle: model.map(|model| Vehicle {
                registration_number: number,
                make: None,
                model: Some(model.to_owned()),
                model_year: Some(2021),
            }),
        }
    }

    fn kept(version: i64, model: Option<&str>) -> Kept {
        let details = model.map(|model| Details {
            model: Some(model.to_owned()),
            model_year: Some(2021),
            ..Details::default()
        });
        Kept { version, details }
    }

    fn take(findings: &mut Findings, event: VehicleEvent, kept: Option<Kept>) {
        let told = BTreeMap::from([(event.registration_number.clone(), event)]);
        let kept = kept.map(|kept| ("ABC123".to_owned(), kept));
        findings.take(&told, &kept.into_iter().collect());
    }

    #[test]
    fn each_state_of_the_copy_is_told_from_the_others() {
        for (told, copy, expected) in [
            (event(2, Some("a")), Some(kept(2, Some("a"))), "equal"),
            (event(2, None), Some(kept(2, None)), "equal"),
            (event(2, None), None, "equal"),
            (event(2, None), Some(kept(1, None)), "equal"),
            (event(2, Some("a")), Some(kept(3, Some("b"))), "newer"),
            (event(2, None), Some(kept(3, Some("b"))), "newer"),
            (event(2, Some("a")), Some(kept(3, None)), "newer"),
            (event(2, Some("a")), None, "only_live"),
            (event(2, Some("a")), Some(kept(1, None)), "only_live"),
            (event(2, Some("a")), Some(kept(2, None)), "only_live"),
            (event(2, None), Some(kept(1, Some("a"))), "only_replica"),
            (event(2, None), Some(kept(2, Some("a"))), "only_replica"),
            (
                event(2, Some("a")),
                Some(kept(1, Some("a"))),
                "replica_behind",
            ),
            (
                event(2, Some("a")),
                Some(kept(2, Some("b"))),
                "different model",
            ),
            (
                event(2, Some("a")),
                Some(kept(1, Some("b"))),
                "replica_behind model",
            ),
        ] {
            let mut findings = Findings::default();
            take(&mut findings, told.clone(), copy.clone());
            let found = match (findings.equal, findings.newer) {
                (1, 0) => "equal".to_owned(),
                (0, 1) => "newer".to_owned(),
                _ => {
                    let only = &findings.differences["ABC123"];
                    let mut words = vec![only.outcome.clone()];
                    words.extend(only.fields.clone());
                    words.join(" ")
                }
            };
            assert_eq!(found, expected, "{told:?} {copy:?}");
        }
    }

    #[test]
    fn a_vehicle_counts_once_by_its_last_state() {
        let mut findings = Findings::default();
        take(&mut findings, event(2, Some("a")), Some(kept(1, Some("a"))));
        take(&mut findings, event(3, Some("b")), Some(kept(1, Some("a"))));
        assert_eq!(findings.differences.len(), 1);
        take(&mut findings, event(4, Some("c")), Some(kept(4, Some("c"))));
        assert_eq!((findings.equal, findings.differences.len()), (1, 0));
    }
}
