use axum::http::{HeaderMap, HeaderValue, header::ETAG};
use headers::{HeaderMapExt, IfMatch, IfNoneMatch};

use crate::{error::Error, routes::entity_tag};

/// What a change asks of the vehicle as it is (RFC 9110, 13.1).
#[derive(Debug)]
pub(crate) struct Precondition {
    /// `If-Match`, where it was sent; an unreadable one names no version.
    of: Option<Result<IfMatch, headers::Error>>,
    /// `If-None-Match: *`
    absent: bool,
}

impl Precondition {
    /// The precondition of a registration or a change.
    pub(crate) fn of_put(headers: &HeaderMap) -> Result<Self, Error> {
        let none = headers.typed_get::<IfNoneMatch>();
        let precondition = Self {
            of: if_match(headers),
            absent: none.is_some_and(|none| none == IfNoneMatch::any()),
        };
        if precondition.of.is_none() && !precondition.absent {
            return Err(Error::PreconditionRequired);
        }
        Ok(precondition)
    }

    /// The precondition of a deletion.
    pub(crate) fn of_delete(headers: &HeaderMap) -> Result<Self, Error> {
        let of = if_match(headers);
        if of.is_none() {
            return Err(Error::PreconditionRequired);
        }
        Ok(Self { of, absent: false })
    }

    /// Holds it to the version that there is, in the order of RFC 9110, 13.2.2.
    pub(crate) fn check(&self, version: Option<i64>) -> Result<(), Error> {
        let tag = version.and_then(entity_tag);
        let told = || -> Option<HeaderValue> {
            let mut headers = HeaderMap::new();
            headers.typed_insert(tag.clone()?);
            headers.remove(ETAG)
        };
        if let Some(wanted) = &self.of {
            let tag = tag.as_ref().ok_or(Error::NotFound)?;
            let passes = wanted.as_ref().is_ok_and(|it| it.precondition_passes(tag));
            if !passes {
                return Err(Error::VersionConflict { current: told() });
            }
        }
        if self.absent && tag.is_some() {
            return Err(Error::AlreadyRegistered { current: told() });
        }
        Ok(())
    }
}

fn if_match(headers: &HeaderMap) -> Option<Result<IfMatch, headers::Error>> {
    headers.typed_try_get().transpose()
}
