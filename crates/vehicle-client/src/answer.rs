use std::{collections::HashMap, sync::Arc};

use contracts::{RegistrationNumber, Vehicle};

use crate::Failure;

/// What Vehicle says about one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The vehicle.
    Vehicle(Arc<Vehicle>),
    /// There is none.
    Nothing,
    /// The answer says nothing usable about this number.
    Failure(Failure),
}

impl Found {
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failure(failure) => Some(failure),
            Self::Vehicle(_) | Self::Nothing => None,
        }
    }
}

/// What Vehicle says about every number that was asked for, and about no other.
pub(crate) type Answer = HashMap<RegistrationNumber, Found>;

/// What came back: an answer for every number of the call, or why there is none.
pub(crate) type CallResult = Result<Arc<Answer>, Failure>;
