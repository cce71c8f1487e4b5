use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{ETAG, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use service_defaults::problem::Rejection;
use sqlx::error::DatabaseError;

/// After how many seconds a change is worth another try.
const BUSY_RETRY_AFTER_SECONDS: u64 = 1;

/// Why the service has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No vehicle has the registration number.
    #[error("no such vehicle")]
    NotFound,
    /// The vehicle has none of the versions that the caller takes.
    #[error("another version")]
    OtherVersion,
    /// The vehicle has another version than the caller has seen.
    #[error("changed meanwhile")]
    VersionConflict {
        /// Entity tag of the one that it has.
        current: Option<HeaderValue>,
    },
    /// The vehicle is there, and the caller wanted a new one.
    #[error("registered already")]
    AlreadyRegistered {
        /// Entity tag of the one that is there, where it is known.
        current: Option<HeaderValue>,
    },
    /// Somebody else changes the same vehicle.
    #[error("busy")]
    Busy,
    /// The caller named no version.
    #[error("no precondition")]
    PreconditionRequired,
    /// The request breaks a rule.
    #[error("the request breaks a rule")]
    Refused(Rejection),
    /// The database gave no rows.
    #[error(transparent)]
    Database(#[from] service_database::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(DatabaseError::code);
        match code.as_deref() {
            // lock_not_available, deadlock_detected
            Some("55P03" | "40P01") => Self::Busy,
            _ => Self::Database(error.into()),
        }
    }
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

/// A refused precondition, with the entity tag that there is.
fn conflict(
    code: &'static str,
    title: &'static str,
    detail: &'static str,
    current: Option<HeaderValue>,
) -> Rejection {
    let refusal = Rejection::new(StatusCode::PRECONDITION_FAILED, code, title, detail);
    match current {
        Some(current) => refusal.with_header(ETAG, current),
        None => refusal,
    }
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
            Self::VersionConflict { current } => {
                let tag = current.as_ref().and_then(|tag| tag.to_str().ok());
                let tag = tag.map(str::to_owned);
                let refusal = conflict(
                    "version_conflict",
                    "Version conflict",
                    "The vehicle has none of the versions that If-Match names.",
                    current,
                );
                refusal.with_member("currentETag", tag)
            }
            Self::AlreadyRegistered { current } => conflict(
                "already_registered",
                "Already registered",
                "There is a vehicle with this registration number already.",
                current,
            ),
            Self::Busy => Rejection::new(
                StatusCode::CONFLICT,
                "busy",
                "Busy",
                "Somebody else changes the same vehicle.",
            )
            .with_header(RETRY_AFTER, BUSY_RETRY_AFTER_SECONDS),
            Self::PreconditionRequired => Rejection::new(
                StatusCode::PRECONDITION_REQUIRED,
                "precondition_required",
                "Precondition required",
                "Send If-Match with the entity tag of the vehicle to change, or If-None-Match: * to \
                 register a new one.",
            ),
            Self::Refused(rejection) => rejection,
            Self::Database(error) => error.into(),
        }
        .into_response()
    }
}
