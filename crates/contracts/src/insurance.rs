use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::{Validate, ValidationError};

use crate::{Money, PersonalIdentityNumber, RegistrationNumber, UncheckedText, Vehicle};

/// Everything one person is insured for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InsuranceProfile {
    /// The person, in canonical form.
    #[serde(serialize_with = "PersonalIdentityNumber::serialize_exposed")]
    pub personal_identity_number: PersonalIdentityNumber,
    /// The policies, by `insuranceId`.
    pub insurances: Vec<Insurance>,
    /// The exact sum of the monthly costs of `insurances`.
    pub total_monthly_cost: Money,
    /// The currency of every amount in this profile.
    pub currency: Currency,
    /// How far the car policies could be enriched.
    pub enrichment: ProfileEnrichment,
    /// Numbers of the person's policies that the service cannot read, because what is stored of
    /// them breaks its own rules: they are neither in `insurances` nor in `totalMonthlyCost`.
    /// Absent while there is none, as it should be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!([1_000_000]))]
    pub unreadable_insurances: Vec<i64>,
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Insurance {
    /// The policy's number.
    #[schema(example = 1_000_000)]
    pub insurance_id: i64,
    /// What is insured.
    pub product: Product,
    /// What the policy costs a month.
    pub monthly_cost: Money,
    /// The currency of the cost.
    pub currency: Currency,
    /// The insured car; `null` unless the product is `car`.
    #[schema(value_type = Option<String>, pattern = "^[A-ZÅÄÖ0-9]{2,7}$", example = "ABC123", required)]
    pub car_registration_number: Option<RegistrationNumber>,
    /// The insured car as Vehicle knows it; why it is `null` is said by `enrichment`.
    #[schema(required)]
    pub vehicle: Option<Vehicle>,
    /// How `vehicle` came to be what it is.
    pub enrichment: Enrichment,
}

/// What can be insured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Product {
    /// A pet.
    Pet,
    /// A person's health.
    PersonalHealth,
    /// A car.
    Car,
}

/// ISO 4217 currency code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Currency {
    /// Swedish krona.
    Sek,
}

/// How the vehicle of one policy came to be what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Enrichment {
    /// The outcome.
    pub status: EnrichmentStatus,
    /// Why the vehicle is unavailable; `null` for every other status.
    #[schema(required)]
    pub cause: Option<Cause>,
    /// Where the outcome comes from; `null` when Vehicle was not asked or did not answer.
    #[schema(required)]
    pub source: Option<Source>,
    /// How old the vehicle's data is, in seconds; `null` without a vehicle.
    #[schema(required, minimum = 0)]
    pub age_seconds: Option<u64>,
    /// After how many seconds asking again makes sense; `null` where it does not or nobody knows.
    #[schema(required, minimum = 0)]
    pub retry_after_seconds: Option<u64>,
}

/// The outcome of enriching one policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnrichmentStatus {
    /// The vehicle is there and fresh.
    Enriched,
    /// The vehicle is the last known good one; `ageSeconds` says how old.
    Stale,
    /// Vehicle answered that it has no such vehicle.
    NotFound,
    /// Vehicle could not be asked or gave no usable answer; `cause` says why.
    Unavailable,
    /// Enrichment is switched off.
    Disabled,
    /// The policy has no car.
    NotApplicable,
}

/// Why a vehicle is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// No answer within the time there was.
    Timeout,
    /// The circuit breaker is open; Vehicle was not called.
    BreakerOpen,
    /// No connection to Vehicle, or it broke before an answer began.
    Connection,
    /// Vehicle answered with a server error (5xx).
    ServerError,
    /// Too many calls are waiting already; Vehicle was not called.
    Overloaded,
    /// Vehicle refused for its rate limit (429).
    RateLimited,
    /// Vehicle refused our key (401, 403). The on-call people are told.
    Unauthorized,
    /// Vehicle's answer breaks its contract and cannot be trusted.
    ContractViolation,
}

/// Where an outcome comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A call for this one number.
    Live,
    /// A batch call.
    Batch,
    /// Another request's call that was already in flight.
    Shared,
    /// The cache, fresh enough.
    Cache,
    /// The cache, past its freshness, because Vehicle failed.
    LastKnownGood,
}

/// How far the car policies of a profile could be enriched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProfileEnrichment {
    /// Every car policy is enriched, stale or not found.
    Complete,
    /// Some car policies are unavailable.
    Partial,
    /// All car policies are unavailable.
    None,
    /// Enrichment is switched off.
    Disabled,
    /// There is no car policy.
    NotApplicable,
}

/// Asks for a person's policies with the number in the body, where it stays out of URLs, proxy
/// logs and browser histories.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LookupRequest {
    /// 12 digits `YYYYMMDDNNNC`, with an optional hyphen before the last four.
    #[validate(custom(function = "is_personal_identity_number"))]
    #[schema(value_type = String, pattern = "^[0-9]{8}-?[0-9]{4}$", example = "199001011234")]
    pub personal_identity_number: UncheckedText,
}

fn is_personal_identity_number(text: &UncheckedText) -> Result<(), ValidationError> {
    match text.expose().parse::<PersonalIdentityNumber>() {
        Ok(_) => Ok(()),
        Err(error) => Err(ValidationError::new("invalid_personal_identity_number")
            .with_message(Cow::Owned(error.to_string()))),
    }
}
