use std::collections::HashSet;

use contracts::{BatchAnswer, BatchRequest, InvalidEntry, RegistrationNumber};

use crate::store::StoredVehicle;

/// A batch request sorted out: what to look up, once each and in order, and what cannot be.
pub(crate) struct Batch {
    pub(crate) numbers: Vec<RegistrationNumber>,
    invalid: Vec<InvalidEntry>,
}

impl From<BatchRequest> for Batch {
    fn from(request: BatchRequest) -> Self {
        let mut seen = HashSet::new();
        let mut batch = Self {
            numbers: Vec::new(),
            invalid: Vec::new(),
        };
        for entry in request.registration_numbers {
            let parsed = match entry.as_deref() {
                None => Err("a registration number is a text, not null".to_owned()),
                Some(text) => text
                    .parse::<RegistrationNumber>()
                    .map_err(|error| error.to_string()),
            };
            match parsed {
                Ok(number) if seen.insert(number.clone()) => batch.numbers.push(number),
                Ok(_) => {}
                Err(reason) => {
                    batch.invalid.push(InvalidEntry {
                        registration_number: entry,
                        reason,
                    });
                }
            }
        }
        batch
    }
}

impl Batch {
    /// Puts every number that was looked up in exactly one list, in the request's order.
    pub(crate) fn answer(self, found: Vec<Option<StoredVehicle>>) -> BatchAnswer {
        let mut answer = BatchAnswer {
            vehicles: Vec::new(),
            not_found: Vec::new(),
            invalid: self.invalid,
        };
        for (number, row) in self.numbers.into_iter().zip(found) {
            match row {
                Some(row) => answer.vehicles.push(row.into_vehicle(number)),
                None => answer.not_found.push(number),
            }
        }
        answer
    }
}
