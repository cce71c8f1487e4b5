use jsonwebtoken::errors::{Error, ErrorKind};

/// Why a token was refused. It says nothing that the token holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is over 8 KiB.
    #[error("it is too large")]
    TooLarge,
    /// It is no signed JWT of an algorithm that is known.
    #[error("it is no signed token that can be read")]
    Malformed,
    /// Its header demands something that is not understood (RFC 7515, 4.1.11).
    #[error("its header demands what is not understood")]
    Critical,
    /// Its `typ` is not one that is taken.
    #[error("its type is not taken here")]
    WrongType,
    /// It does not say which key signed it.
    #[error("it names no key")]
    NoKeyId,
    /// The issuer's keys have not been fetched, or too long ago.
    #[error("the keys of its issuer are not known at present")]
    NoKeys,
    /// The issuer had no such key when its keys were fetched last.
    #[error("its key is not known")]
    UnknownKey,
    /// The key is not for the algorithm that the header names.
    #[error("its key is not for its algorithm")]
    WrongAlgorithm,
    /// The key did not sign it.
    #[error("its signature is wrong")]
    WrongSignature,
    /// A claim that is needed is missing or of the wrong kind.
    #[error("a claim is missing, or is not what it should be")]
    WrongClaim,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its time has not come, or it was issued in the future.
    #[error("its time has not come")]
    TooEarly,
    /// It is of another issuer.
    #[error("it is of another issuer")]
    WrongIssuer,
    /// It is for others.
    #[error("it is not for this service")]
    WrongAudience,
    /// It is bound to a key that its bearer does not prove to have (RFC 8705, RFC 9449).
    #[error("it is bound to a key, and its bearer need not have that")]
    Bound,
    /// It says who somebody is, and not what its bearer may do.
    #[error("it is an ID token")]
    IdToken,
}

impl Refused {
    /// What it is in a metric.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Critical => "critical",
            Self::WrongType => "type",
            Self::NoKeyId => "no_key_id",
            Self::NoKeys => "no_keys",
            Self::UnknownKey => "unknown_key",
            Self::WrongAlgorithm => "algorithm",
            Self::WrongSignature => "signature",
            Self::WrongClaim => "claim",
            Self::Expired => "expired",
            Self::TooEarly => "too_early",
            Self::WrongIssuer => "issuer",
            Self::WrongAudience => "audience",
            Self::Bound => "bound",
            Self::IdToken => "id_token",
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidSignature => Self::WrongSignature,
            ErrorKind::InvalidAlgorithm => Self::WrongAlgorithm,
            ErrorKind::ExpiredSignature => Self::Expired,
            ErrorKind::ImmatureSignature => Self::TooEarly,
            ErrorKind::InvalidIssuer => Self::WrongIssuer,
            ErrorKind::InvalidAudience => Self::WrongAudience,
            ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => {
                Self::WrongClaim
            }
            _ => Self::Malformed,
        }
    }
}
