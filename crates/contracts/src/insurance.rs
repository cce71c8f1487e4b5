use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use crate::{
    Day, Money, PersonalIdentityNumber, PolicyStatus, RegistrationNumber, UncheckedText, Vehicle,
    wire_enum,
};

/// Everything one person is insured for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InsuranceProfile {
    /// The person, in canonical form.
    #[serde(serialize_with = "PersonalIdentityNumber::serialize_exposed")]
    pub personal_identity_number: PersonalIdentityNumber,
    /// The policies whose cover holds today, by `insuranceId`.
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

/// One policy whose cover holds today (in Sweden).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Insurance {
    /// The policy's number.
    #[schema(example = 1_000_000)]
    pub insurance_id: i64,
    /// What is insured.
    pub product: Product,
    /// `active`, or `suspended`: a profile has only policies that cover today.
    pub status: PolicyStatus,
    /// The first day with cover.
    pub valid_from: Day,
    /// The first day without cover; `null` where no end is known.
    #[schema(required)]
    pub valid_until: Option<Day>,
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

wire_enum! {
    /// What can be insured.
    pub enum Product {
        /// A pet.
        Pet = "pet",
        /// A person's health.
        PersonalHealth = "personal_health",
        /// A car.
        Car = "car",
    }
}

wire_enum! {
    /// ISO 4217 currency code.
    pub enum Currency {
        /// Swedish krona.
        Sek = "SEK",
    }
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
    /// Where the outcome comes from; `null` where nobody could answer.
    #[schema(required)]
    pub source: Option<Source>,
    /// How old the vehicle's data is, in seconds; `null` without a vehicle. With the source
    /// `replica`: since when the copy may lack a change.
    #[schema(required, minimum = 0)]
    pub age_seconds: Option<u64>,
    /// After how many seconds asking again makes sense; `null` where it does not or nobody knows.
    #[schema(required, minimum = 0)]
    pub retry_after_seconds: Option<u64>,
}

wire_enum! {
    /// The outcome of enriching one policy.
    pub enum EnrichmentStatus {
        /// `vehicle` is what Vehicle says; `source` and `ageSeconds` tell how new.
        Enriched = "enriched",
        /// Vehicle failed, and `vehicle` is its last good answer, or what a copy holds that follows
        /// Vehicle no more or lacks a change of it; `ageSeconds` tells how old.
        Stale = "stale",
        /// Vehicle answered that it has no such vehicle, or a copy that is up to date has none.
        NotFound = "not_found",
        /// Vehicle could not be asked or gave no usable answer; `cause` tells why,
        /// `retryAfterSeconds` when to ask again.
        Unavailable = "unavailable",
        /// An operator has switched enrichment off (`feature_toggles.enable_vehicle_enrichment`).
        Disabled = "disabled",
        /// The policy has no car.
        NotApplicable = "not_applicable",
    }
}

wire_enum! {
    /// Why a vehicle is unavailable.
    pub enum Cause {
        /// Vehicle gave no answer in the time that there was.
        Timeout = "timeout",
        /// Vehicle was not called, because it does not work at present or because an operator says so.
        BreakerOpen = "breaker_open",
        /// There was no connection to Vehicle, or it broke before an answer began.
        Connection = "connection",
        /// Vehicle answered with a server error (5xx).
        ServerError = "server_error",
        /// Vehicle was not called, because too many calls wait for it already.
        Overloaded = "overloaded",
        /// Vehicle refused the call for its rate limit (429).
        RateLimited = "rate_limited",
        /// Vehicle refused the key of this service (401, 403); it does not pass by itself.
        Unauthorized = "unauthorized",
        /// Vehicle's answer breaks its contract and cannot be trusted.
        ContractViolation = "contract_violation",
        /// Vehicle is not asked (`enrichment.strategy`), and the copy of its register is not there,
        /// too old, or not new enough to say that there is no such vehicle.
        ReplicaStale = "replica_stale",
    }
}

wire_enum! {
    /// Where an outcome comes from.
    pub enum Source {
        /// A call to Vehicle for this one vehicle, made for this request.
        Live = "live",
        /// A call to Vehicle for several vehicles at once.
        Batch = "batch",
        /// A call to Vehicle that another request had made already and this one joined.
        Shared = "shared",
        /// An earlier answer of Vehicle, fresh enough not to ask again.
        Cache = "cache",
        /// An earlier answer of Vehicle, no longer fresh, because Vehicle failed.
        LastKnownGood = "last_known_good",
        /// The copy of Vehicle's register that this service keeps by Vehicle's events.
        Replica = "replica",
    }
}

wire_enum! {
    /// How far the car policies of a profile could be enriched.
    pub enum ProfileEnrichment {
        /// Every car policy is `enriched`, `stale` or `not_found`.
        Complete = "complete",
        /// Some car policies are `unavailable`.
        Partial = "partial",
        /// All car policies are `unavailable`.
        None = "none",
        /// An operator has switched enrichment off.
        Disabled = "disabled",
        /// There is no car policy.
        NotApplicable = "not_applicable",
    }
}

/// Asks for a person's policies with the number in the body, where it stays out of URLs, proxy
/// logs and browser histories.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LookupRequest {
    /// 12 digits `YYYYMMDDNNNC`, with an optional hyphen before the last four.
    #[schema(value_type = String, pattern = "^[0-9]{8}-?[0-9]{4}$", example = "199001011234")]
    pub personal_identity_number: UncheckedText,
}
