use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use validator::{Validate, ValidationError};

use crate::{Currency, Day, Money, Product, RegistrationNumber, UncheckedText, wire_enum};

wire_enum! {
    /// What has become of a policy, by its dates and what was decided.
    pub enum PolicyStatus {
        /// It was never in force and may still be changed as a whole.
        Draft = "draft",
        /// It was activated; whether it covers a day is said by its periods.
        Active = "active",
        /// It is active, but suspended: its car stays covered by nobody else.
        Suspended = "suspended",
        /// It was cancelled, and the day of the cancellation has come.
        Cancelled = "cancelled",
        /// Its last day is over.
        Expired = "expired",
    }
}

wire_enum! {
    /// Why a policy changes its status. There is no free text, which could name a person.
    pub enum TransitionReason {
        /// The customer asked for it.
        RequestedByCustomer = "requested_by_customer",
        /// The car was sold.
        VehicleSold = "vehicle_sold",
        /// The car was taken off the register.
        VehicleDeregistered = "vehicle_deregistered",
        /// A payment is missing.
        NotPaid = "not_paid",
        /// A missing payment came.
        Paid = "paid",
        /// The customer moved abroad.
        MovedAbroad = "moved_abroad",
        /// The customer died.
        Deceased = "deceased",
        /// The policy should not exist.
        EnteredByMistake = "entered_by_mistake",
        /// None of these.
        Other = "other",
    }
}

/// A policy, without its person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// The policy's number.
    #[schema(example = 1_000_005)]
    pub insurance_id: i64,
    /// What is insured.
    pub product: Product,
    /// Its status today.
    pub status: PolicyStatus,
    /// The first day with cover.
    pub valid_from: Day,
    /// The first day without cover; `null` where no end is known.
    #[schema(required)]
    pub valid_until: Option<Day>,
    /// What it costs a month today; before its first day what it will cost, after its last day
    /// what it cost.
    pub monthly_cost: Money,
    /// The currency of every amount in this policy.
    pub currency: Currency,
    /// The car insured today, by the same rule; `null` unless the product is `car`.
    #[schema(value_type = Option<String>, pattern = "^[A-ZÅÄÖ0-9]{2,7}$", example = "ABC123", required)]
    pub car_registration_number: Option<RegistrationNumber>,
    /// The days that it covers, by their order. A draft has none.
    pub periods: Vec<PolicyPeriod>,
    /// Whether another policy covers the car on the same days. Such policies came from elsewhere:
    /// the service makes none.
    pub cover_overlaps: bool,
    /// Rises by one with every change.
    #[schema(example = 1)]
    pub version: i64,
    /// To which statuses the policy may be taken now.
    pub allowed: Vec<PolicyStatus>,
}

/// Days that a policy covers with one car at one cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyPeriod {
    /// The first day.
    pub from: Day,
    /// The first day after it; `null` where no end is known.
    #[schema(required)]
    pub until: Option<Day>,
    /// The car; `null` unless the product is `car`.
    #[schema(value_type = Option<String>, pattern = "^[A-ZÅÄÖ0-9]{2,7}$", example = "ABC123", required)]
    pub car_registration_number: Option<RegistrationNumber>,
    /// What it costs a month.
    pub monthly_cost: Money,
}

/// Some policies of many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyPage {
    /// The policies, by `insuranceId`.
    pub policies: Vec<Policy>,
    /// Numbers of policies of the page that the service cannot read, because what is stored of them
    /// breaks its own rules. Absent while there is none, as it should be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!([1_000_000]))]
    pub unreadable_insurances: Vec<i64>,
    /// What to send as `after` for those that follow; `null` after the last ones.
    #[schema(required, example = 1_000_005)]
    pub next: Option<i64>,
}

/// A policy that is to be drafted.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyDraft {
    /// Whom it is for: 12 digits `YYYYMMDDNNNC`, with an optional hyphen before the last four.
    #[schema(value_type = String, pattern = "^[0-9]{8}-?[0-9]{4}$", example = "199001011234")]
    pub personal_identity_number: UncheckedText,
    /// What is to be insured.
    #[schema(value_type = Product)]
    pub product: String,
    /// The car, for the product `car` and for no other, in any spelling.
    #[schema(value_type = Option<String>, max_length = 64, example = "GHI789")]
    pub car_registration_number: Option<RegistrationNumber>,
    /// The first day with cover.
    pub valid_from: Day,
    /// The first day without cover; `null` where no end is known.
    pub valid_until: Option<Day>,
}

/// What is to be different in a draft, as a merge patch (RFC 7396): a member that is missing stays
/// as it is, one that is `null` is taken away. A draft always has its product and its first day.
#[derive(Debug, Default, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PolicyPatch {
    /// What is to be insured.
    #[serde(deserialize_with = "some")]
    #[schema(value_type = Product)]
    pub product: Option<String>,
    /// The car.
    #[serde(deserialize_with = "some")]
    #[schema(value_type = Option<String>, max_length = 64, example = "GHI789")]
    pub car_registration_number: Option<Option<RegistrationNumber>>,
    /// The first day with cover.
    #[serde(deserialize_with = "some")]
    #[schema(value_type = Day)]
    pub valid_from: Option<Day>,
    /// The first day without cover.
    #[serde(deserialize_with = "some")]
    #[schema(value_type = Option<Day>)]
    pub valid_until: Option<Option<Day>>,
}

/// Another status for a policy.
#[derive(Clone, Copy, Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyTransition {
    /// The status.
    pub to: PolicyStatus,
    /// Why.
    pub reason: TransitionReason,
    /// The first day on which a policy in force is `cancelled`, from today to the day before
    /// `validUntil`; without it, today. Other transitions are made at once and have none.
    pub effective_on: Option<Day>,
}

/// Another car or another end for a policy in force, from a day on. At least one of the two.
#[derive(Clone, Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyChange {
    /// The first day that is different, from today and `validFrom` on and not after `validUntil`. On
    /// the day `validUntil` itself the policy is renewed, at the list price of that day.
    pub effective_on: Day,
    /// The other car, in any spelling.
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = String, max_length = 64, example = "GHI789")]
    pub car_registration_number: Option<RegistrationNumber>,
    /// The other end, after `effectiveOn`; `null` where it is not known.
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = Option<Day>)]
    pub valid_until: Option<Option<Day>>,
}

/// What a product costs a month from a day on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Price {
    /// The product.
    pub product: Product,
    /// The first day; the price holds until the next one of the product begins.
    pub valid_from: Day,
    /// What it costs a month.
    pub monthly_cost: Money,
    /// The currency.
    pub currency: Currency,
}

/// The price list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PriceList {
    /// By product and day.
    pub prices: Vec<Price>,
}

/// A person who is to be forgotten.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ErasureRequest {
    /// 12 digits `YYYYMMDDNNNC`, with an optional hyphen before the last four.
    #[schema(value_type = String, pattern = "^[0-9]{8}-?[0-9]{4}$", example = "199001011234")]
    pub personal_identity_number: UncheckedText,
}

/// What was erased. Zeros where there was nothing, as when it is asked for once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Erasure {
    /// Policies that name nobody any more.
    #[schema(minimum = 0, example = 2)]
    pub policies: u64,
    /// Answers that were kept about them.
    #[schema(minimum = 0, example = 1)]
    pub answers: u64,
}

/// A price that is to be set.
#[derive(Clone, Copy, Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewPrice {
    /// What it costs a month, at most 9999999999.99.
    #[validate(custom(function = "can_be_kept"))]
    pub monthly_cost: Money,
}

fn can_be_kept(cost: &Money) -> Result<(), ValidationError> {
    if *cost <= Money::MOST {
        return Ok(());
    }
    let rule = "an amount is at most 9999999999.99";
    Err(ValidationError::new("invalid_monthly_cost").with_message(rule.into()))
}

/// Lets a member that is `null` differ from one that is missing; refuses it where its type has none.
fn some<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
