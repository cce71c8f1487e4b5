use std::ops::RangeInclusive;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use validator::{Validate, ValidationError};

use crate::{RegistrationNumber, UncheckedText, operations::is_loggable};

/// The most entries of one batch request.
pub const MAX_BATCH_SIZE: usize = 500;

/// A vehicle of the national register as the legacy system knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Vehicle {
    /// The registration number in canonical form.
    pub registration_number: RegistrationNumber,
    /// Manufacturer; `null` when the register does not say.
    #[serde(deserialize_with = "present")]
    #[schema(example = "Volvo", required)]
    pub make: Option<String>,
    /// Model; `null` when the register does not say.
    #[serde(deserialize_with = "present")]
    #[schema(example = "XC60", required)]
    pub model: Option<String>,
    /// Model year; `null` when the register does not say.
    #[serde(deserialize_with = "present")]
    #[schema(example = 2021, required)]
    pub model_year: Option<i16>,
}

/// The most characters of a make or a model.
const MAX_TEXT_LENGTH: usize = 100;

/// The first car was built in 1885; the upper bound leaves room.
const MODEL_YEARS: RangeInclusive<i16> = 1885..=2100;

impl Vehicle {
    /// Whether the texts have at most 100 characters and no control characters among them, and the
    /// model year is 1885 to 2100. The `vehicle` schema holds its rows to the same.
    pub fn is_plausible(&self) -> bool {
        let texts = [&self.make, &self.model].into_iter().flatten();
        texts
            .into_iter()
            .all(|text| text.chars().count() <= MAX_TEXT_LENGTH && !text.contains(char::is_control))
            && self
                .model_year
                .is_none_or(|year| MODEL_YEARS.contains(&year))
    }
}

/// What the register is to say of a vehicle: the body of a registration and of a change.
#[derive(Clone, Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VehicleDetails {
    /// Manufacturer: 1 to 100 characters, not all blank, and nothing invisible. Every event that
    /// tells of the vehicle keeps it, so it holds no 10 or 12 digits that could be a personal
    /// identity number. `null` when the register does not say.
    #[serde(deserialize_with = "present")]
    #[validate(
        length(
            min = 1,
            max = 100,
            code = "invalid_make",
            message = "has 1 to 100 characters, not all blank"
        ),
        custom(function = "is_loggable", code = "invalid_make")
    )]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 100, example = "Volvo", required)]
    pub make: Option<UncheckedText>,
    /// Model, by the same rules.
    #[serde(deserialize_with = "present")]
    #[validate(
        length(
            min = 1,
            max = 100,
            code = "invalid_model",
            message = "has 1 to 100 characters, not all blank"
        ),
        custom(function = "is_loggable", code = "invalid_model")
    )]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 100, example = "XC60", required)]
    pub model: Option<UncheckedText>,
    /// Model year, 1885 to 2100; `null` when the register does not say.
    #[serde(deserialize_with = "present")]
    #[validate(range(
        min = 1885,
        max = 2100,
        code = "invalid_model_year",
        message = "a model year is 1885 to 2100"
    ))]
    #[schema(minimum = 1885, maximum = 2100, example = 2021, required)]
    pub model_year: Option<i16>,
}

/// The most vehicles of one page of the register.
pub const MAX_PAGE_SIZE: u64 = 1000;

/// A page of all vehicles, in the order of their registration numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VehiclePage {
    /// The vehicles.
    pub vehicles: Vec<VersionedVehicle>,
    /// Where the next page begins (`after`); `null` at the end.
    #[schema(required)]
    pub next: Option<RegistrationNumber>,
}

/// A vehicle with its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionedVehicle {
    /// What the register says.
    #[serde(flatten)]
    pub vehicle: Vehicle,
    /// The version, which rises with every change of the register, also from a vehicle that was
    /// deleted to one that is registered again. Of two states the one with the higher version
    /// counts; the next one need not be the next number.
    #[schema(minimum = 1, example = 7)]
    pub version: i64,
}

/// Lets a value be `null` but not missing (serde would take a missing `Option` for `None`).
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// Asks for several vehicles at once.
#[derive(Clone, Debug, Serialize, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchRequest {
    /// 1 to 500 registration numbers in any spelling. Spellings of one vehicle count once;
    /// an entry that is no registration number is reported and never fails the others.
    #[validate(custom(function = "has_batch_size"))]
    #[schema(min_items = 1, max_items = 500, example = json!(["abc123", "DEF456", "ZZZ999", "?"]))]
    pub registration_numbers: Vec<Option<String>>,
}

fn has_batch_size(entries: &[Option<String>]) -> Result<(), ValidationError> {
    let (code, rule) = match entries.len() {
        0 => ("batch_empty", "a batch has at least 1 entry"),
        1..=MAX_BATCH_SIZE => return Ok(()),
        _ => ("batch_too_large", "a batch has at most 500 entries"),
    };
    Err(ValidationError::new(code).with_message(rule.into()))
}

/// Answers a batch request, in its order. Every entry sent is in exactly one of the three lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchAnswer {
    /// The vehicles that were found.
    pub vehicles: Vec<Vehicle>,
    /// The registration numbers, in canonical form, that no vehicle has.
    #[schema(value_type = Vec<String>, example = json!(["ZZZ999"]))]
    pub not_found: Vec<RegistrationNumber>,
    /// The entries that are no registration numbers.
    pub invalid: Vec<InvalidEntry>,
}

/// An entry of a batch request that is no registration number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InvalidEntry {
    /// The entry as it was sent.
    #[schema(example = "?", required)]
    pub registration_number: Option<String>,
    /// Why it is none.
    #[schema(example = "a registration number has 2 to 7 characters")]
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::{BatchRequest, MAX_BATCH_SIZE, Vehicle};
    use validator::Validate;

    #[test]
    fn a_vehicle_without_one_of_its_members_is_refused() {
        for text in [
            r#"{"make":"Volvo","model":"XC60","modelYear":2021}"#,
            r#"{"registrationNumber":"ABC123","model":"XC60","modelYear":2021}"#,
            r#"{"registrationNumber":"ABC123","make":"Volvo","modelYear":2021}"#,
            r#"{"registrationNumber":"ABC123","make":"Volvo","model":"XC60"}"#,
        ] {
            assert!(serde_json::from_str::<Vehicle>(text).is_err(), "{text}");
        }
        let all =
            r#"{"registrationNumber":"abc 123","make":null,"model":null,"modelYear":null,"new":1}"#;
        assert_eq!(
            serde_json::from_str::<Vehicle>(all)
                .unwrap()
                .registration_number
                .as_str(),
            "ABC123"
        );
    }

    #[test]
    fn the_stated_batch_bound_is_the_checked_one() {
        let of = |entries| BatchRequest {
            registration_numbers: vec![None; entries],
        };
        assert!(of(MAX_BATCH_SIZE).validate().is_ok());
        assert!(of(MAX_BATCH_SIZE + 1).validate().is_err());
        assert!(of(0).validate().is_err());
    }
}
