use axum::{
    extract::{Request, State},
    http::{
        HeaderValue,
        header::{
            CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::Next,
    response::Response,
};

/// For a year (RFC 6797); not for subdomains, which may be somebody else's.
const STAY_WITH_HTTPS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// What the security headers of some routes depend on.
#[derive(Clone)]
pub(crate) struct Headers {
    pub(crate) https: bool,
    pub(crate) content_policy: HeaderValue,
}

/// Puts security headers on every answer.
pub(crate) async fn secure(
    State(secure): State<Headers>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CONTENT_SECURITY_POLICY, secure.content_policy);
    if secure.https {
        headers.insert(STRICT_TRANSPORT_SECURITY, STAY_WITH_HTTPS);
    }
    response
}
