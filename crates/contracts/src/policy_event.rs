//! What the event log holds of policies: the `data` of each event, by its type. None of it names a
//! person.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Day, Money, PolicyStatus, Product, RegistrationNumber, TransitionReason};

/// Something that happened to a policy. Folding a policy's events gives the policy, without its
/// person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PolicyEvent {
    /// It came from elsewhere, or was there before the log.
    Imported(PolicyImported),
    /// It was drafted.
    Drafted(PolicyDrafted),
    /// A draft was changed, or a policy in force from a day on.
    Changed(PolicyChanged),
    /// It was activated, and its cost frozen.
    Activated(PolicyActivated),
    /// It was suspended.
    Suspended(PolicyMoved),
    /// It was resumed.
    Resumed(PolicyMoved),
    /// A draft was cancelled, or the end of a policy in force was decided.
    Cancelled(PolicyCancelled),
    /// The day of its cancellation came.
    Ended(PolicyEnded),
    /// The day after its last came.
    Expired(PolicyEnded),
    /// Its row was deleted by hand. The data is `null`, and its number is not given again.
    Removed,
}

/// The data of `policy.imported.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyImported {
    /// The policy's number.
    pub insurance_id: i64,
    /// What is insured.
    pub product: Product,
    /// The status that it came with.
    pub status: PolicyStatus,
    /// The first day with cover.
    pub valid_from: Day,
    /// The first day without cover.
    #[schema(required)]
    pub valid_until: Option<Day>,
    /// The day of a decided cancellation.
    #[schema(required)]
    pub cancelled_on: Option<Day>,
    /// What it costs a month.
    pub monthly_cost: Money,
    /// The car.
    #[schema(required)]
    pub car_registration_number: Option<RegistrationNumber>,
    /// Whether another policy covered the car on the same days when it came.
    pub cover_overlaps: bool,
}

/// The data of `policy.drafted.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyDrafted {
    /// The policy's number.
    pub insurance_id: i64,
    /// What is to be insured.
    pub product: Product,
    /// The first day with cover.
    pub valid_from: Day,
    /// The first day without cover.
    #[schema(required)]
    pub valid_until: Option<Day>,
    /// What the price list says for the first day.
    pub monthly_cost: Money,
    /// The car.
    #[schema(required)]
    pub car_registration_number: Option<RegistrationNumber>,
}

/// The data of `policy.changed.v1`: what the policy is from a day on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyChanged {
    /// The policy's number.
    pub insurance_id: i64,
    /// The first day that is different; `null` for a draft, which changes as a whole.
    #[schema(required)]
    pub effective_on: Option<Day>,
    /// What is insured.
    pub product: Product,
    /// The first day with cover.
    pub valid_from: Day,
    /// The first day without cover.
    #[schema(required)]
    pub valid_until: Option<Day>,
    /// What it costs a month.
    pub monthly_cost: Money,
    /// The car.
    #[schema(required)]
    pub car_registration_number: Option<RegistrationNumber>,
}

/// The data of `policy.activated.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyActivated {
    /// The policy's number.
    pub insurance_id: i64,
    /// The status before.
    pub from: PolicyStatus,
    /// The status now.
    pub to: PolicyStatus,
    /// Why.
    pub reason: TransitionReason,
    /// The first day with cover.
    pub valid_from: Day,
    /// The first day without cover.
    #[schema(required)]
    pub valid_until: Option<Day>,
    /// What it costs a month from now on, whatever becomes of the price list.
    pub monthly_cost: Money,
    /// The car.
    #[schema(required)]
    pub car_registration_number: Option<RegistrationNumber>,
}

/// The data of `policy.suspended.v1` and `policy.resumed.v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyMoved {
    /// The policy's number.
    pub insurance_id: i64,
    /// The status before.
    pub from: PolicyStatus,
    /// The status now.
    pub to: PolicyStatus,
    /// Why.
    pub reason: TransitionReason,
}

/// The data of `policy.cancelled.v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyCancelled {
    /// The policy's number.
    pub insurance_id: i64,
    /// The status before.
    pub from: PolicyStatus,
    /// The status from the day on.
    pub to: PolicyStatus,
    /// Why.
    pub reason: TransitionReason,
    /// The day from which it is cancelled.
    pub effective_on: Day,
    /// The first day without cover.
    #[schema(required)]
    pub valid_until: Option<Day>,
}

/// The data of `policy.ended.v1` and `policy.expired.v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyEnded {
    /// The policy's number.
    pub insurance_id: i64,
    /// The status before.
    pub from: PolicyStatus,
    /// The status now.
    pub to: PolicyStatus,
    /// The day since when.
    pub since: Day,
}

/// The data of `price.set.v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PriceSet {
    /// The product.
    pub product: Product,
    /// The first day of the price.
    pub valid_from: Day,
    /// What it costs a month.
    pub monthly_cost: Money,
}

/// Why an event of the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PolicyEventError {
    /// A newer release may know it.
    #[error("the type of the event is unknown")]
    UnknownType,
    /// The data is not that of its type.
    #[error("the data is not that of its type")]
    Data(#[from] serde_json::Error),
}

impl PolicyEvent {
    /// The type of the event.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Imported(_) => "policy.imported.v1",
            Self::Drafted(_) => "policy.drafted.v1",
            Self::Changed(_) => "policy.changed.v1",
            Self::Activated(_) => "policy.activated.v1",
            Self::Suspended(_) => "policy.suspended.v1",
            Self::Resumed(_) => "policy.resumed.v1",
            Self::Cancelled(_) => "policy.cancelled.v1",
            Self::Ended(_) => "policy.ended.v1",
            Self::Expired(_) => "policy.expired.v1",
            Self::Removed => "policy.removed.v1",
        }
    }

    /// Reads the data of an event of this type.
    pub fn parse(kind: &str, data: &str) -> Result<Self, PolicyEventError> {
        Ok(match kind {
            "policy.imported.v1" => Self::Imported(serde_json::from_str(data)?),
            "policy.drafted.v1" => Self::Drafted(serde_json::from_str(data)?),
            "policy.changed.v1" => Self::Changed(serde_json::from_str(data)?),
            "policy.activated.v1" => Self::Activated(serde_json::from_str(data)?),
            "policy.suspended.v1" => Self::Suspended(serde_json::from_str(data)?),
            "policy.resumed.v1" => Self::Resumed(serde_json::from_str(data)?),
            "policy.cancelled.v1" => Self::Cancelled(serde_json::from_str(data)?),
            "policy.ended.v1" => Self::Ended(serde_json::from_str(data)?),
            "policy.expired.v1" => Self::Expired(serde_json::from_str(data)?),
            "policy.removed.v1" => Self::Removed,
            _ => return Err(PolicyEventError::UnknownType),
        })
    }
}
