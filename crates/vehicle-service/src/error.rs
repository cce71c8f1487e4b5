use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use service_defaults::problem::Rejection;

/// Why the service has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No vehicle has the registration number.
    #[error("no such vehicle")]
    NotFound,
    /// The vehicle has none of the versions that the caller takes.
    #[error("another version")]
    OtherVersion,
    /// The database gave no rows.
    #[error(transparent)]
    Database(#[from] service_database::Error),
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match self {
            Self::NotFound => Rejection::new(
                StatusCode::NOT_FOUND,
                "vehicle_not_found",
                "Vehicle not found",
                "There is no vehicle with this registration number.",
            ),
            Self::OtherVersion => Rejection::new(
                StatusCode::PRECONDITION_FAILED,
                "precondition_failed",
                "Precondition failed",
                "The vehicle has none of the versions that If-Match names.",
            ),
            Self::Database(error) => error.into(),
        }
        .into_response()
    }
}
