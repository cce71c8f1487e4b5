use axum::http::{
    HeaderMap, HeaderValue,
    header::{
        CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    },
};

/// For a year (RFC 6797); not for subdomains, which may be somebody else's.
const STAY_WITH_HTTPS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// What the security headers of some routes depend on.
pub(crate) struct Headers {
    pub(crate) https: bool,
    pub(crate) content_policy: HeaderValue,
}

impl Headers {
    /// Puts security headers on an answer.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(CONTENT_SECURITY_POLICY, self.content_policy.clone());
        if self.https {
            headers.insert(STRICT_TRANSPORT_SECURITY, STAY_WITH_HTTPS);
        }
    }
}
