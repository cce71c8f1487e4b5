use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use service_defaults::problem::Rejection;

use crate::prefer::{HANDLING_STRICT, PREFERENCE_APPLIED};

/// Why the service has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The request breaks a rule.
    #[error("the request is invalid")]
    Invalid(Rejection),
    /// Nobody has policies under the number.
    #[error("no policies")]
    NotFound,
    /// The caller wants all or nothing, and some cars are unavailable.
    #[error("not every car could be looked up")]
    Incomplete {
        /// After how many seconds asking again makes sense.
        retry_after_seconds: u64,
    },
    /// The caller wants all or nothing, and some policies cannot be read.
    #[error("not every policy could be read")]
    Unreadable {
        /// After how many seconds asking again makes sense.
        retry_after_seconds: u64,
    },
    /// The database gave no rows.
    #[error(transparent)]
    Database(#[from] service_database::Error),
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match self {
            Self::Invalid(rejection) => rejection,
            Self::NotFound => Rejection::new(
                StatusCode::NOT_FOUND,
                "insurances_not_found",
                "Insurances not found",
                "Nobody has insurances under this personal identity number.",
            ),
            Self::Incomplete {
                retry_after_seconds,
            } => Rejection::unavailable(
                "enrichment_incomplete",
                "Some cars could not be looked up, and handling=strict asks for all or nothing.",
                retry_after_seconds,
            )
            .with_header(PREFERENCE_APPLIED, HANDLING_STRICT),
            Self::Unreadable {
                retry_after_seconds,
            } => Rejection::unavailable(
                "insurances_incomplete",
                "Some policies cannot be read, and handling=strict asks for all or nothing.",
                retry_after_seconds,
            )
            .with_header(PREFERENCE_APPLIED, HANDLING_STRICT),
            Self::Database(error) => error.into(),
        }
        .into_response()
    }
}
