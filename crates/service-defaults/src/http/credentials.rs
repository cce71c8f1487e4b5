//! Who a request is from: a key in `X-Api-Key`, or the token of a trusted issuer in
//! `Authorization: Bearer` (RFC 6750). Every route needs one, with a scope of its surface, unless
//! that is open.

use std::{sync::Arc, time::SystemTime};

use access_tokens::{Refused, Tokens};
use axum::http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};

use crate::{
    access::{Held, KeyRing, X_API_KEY},
    problem::Rejection,
    request_context::RequestContext,
    scope::Scope,
};

const API_KEY: HeaderValue = HeaderValue::from_static("ApiKey");
/// The scheme stands with a parameter always (RFC 6750, 3).
const BEARER: HeaderValue = HeaderValue::from_static(r#"Bearer realm="threadpilot""#);
const BAD_TOKEN: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="threadpilot", error="invalid_token""#);
const BAD_REQUEST: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="threadpilot", error="invalid_request""#);

/// What callers are known by. Clones share it.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) keys: KeyRing,
    /// Nothing where no issuer is trusted: then the header `Authorization` means nothing.
    pub(crate) tokens: Option<Tokens>,
}

impl Credentials {
    /// Refuses a request without a valid key or token that has one of these scopes. Its context
    /// learns whose it is.
    pub(crate) fn authenticate(
        &self,
        headers: &HeaderMap,
        scopes: &[Scope],
        context: &RequestContext,
    ) -> Result<(), Rejection> {
        let token = match &self.tokens {
            None => None,
            Some(tokens) => presented(headers)?.map(|token| (tokens, token)),
        };
        let is_token = token.is_some();
        let held = match token {
            None => {
                let key = self.keys.identify(headers, SystemTime::now());
                key.ok_or_else(|| self.unauthorized())?
            }
            Some((tokens, token)) => {
                let bearer = tokens.verify(token).map_err(invalid_token)?;
                Arc::new(Held::of_token(bearer))
            }
        };
        let opens = held.scopes.iter().any(|scope| scopes.contains(scope));
        context.set_key(held);
        if opens {
            return Ok(());
        }
        Err(insufficient_scope(scopes, is_token))
    }

    fn unauthorized(&self) -> Rejection {
        let refusal = |detail| {
            let (status, title) = (StatusCode::UNAUTHORIZED, "Unauthorized");
            Rejection::new(status, "unauthorized", title, detail)
        };
        let refusal = match &self.tokens {
            None => refusal("Send a valid key in the X-Api-Key header."),
            Some(_) => refusal(
                "Send a valid key in the X-Api-Key header, or a valid token as Authorization: \
                 Bearer.",
            )
            .with_header(WWW_AUTHENTICATE, BEARER),
        };
        refusal.with_header(WWW_AUTHENTICATE, API_KEY)
    }
}

/// The token that came with a request. One credential has to be the only one (RFC 6750, 2), also
/// beside a token of the scheme `DPoP`, which is not taken here (RFC 9449, 7.1). Other schemes, such
/// as `Basic`, are for proxies on the way.
fn presented(headers: &HeaderMap) -> Result<Option<&[u8]>, Rejection> {
    let all = || {
        let values = headers.get_all(AUTHORIZATION).iter();
        values.map(HeaderValue::as_bytes)
    };
    let token = all().find_map(|value| behind("Bearer", value));
    let is_alone = all().count() < 2 && !headers.contains_key(X_API_KEY);
    let has_token = token.is_some() || all().any(|value| behind("DPoP", value).is_some());
    if has_token && !is_alone {
        return Err(ambiguous_credentials());
    }
    Ok(token)
}

/// What stands behind this scheme, whose case means nothing (RFC 9110, 11.1).
fn behind<'a>(scheme: &str, value: &'a [u8]) -> Option<&'a [u8]> {
    let (own, token) = value.split_at_checked(scheme.len())?;
    let fits = own.eq_ignore_ascii_case(scheme.as_bytes());
    (fits && token.first().is_none_or(|next| *next == b' ')).then(|| token.trim_ascii())
}

fn ambiguous_credentials() -> Rejection {
    Rejection::new(
        StatusCode::BAD_REQUEST,
        "ambiguous_credentials",
        "Ambiguous credentials",
        "Send a key or one token, not both.",
    )
    .with_header(WWW_AUTHENTICATE, BAD_REQUEST)
}

fn invalid_token(refused: Refused) -> Rejection {
    Rejection::new(
        StatusCode::UNAUTHORIZED,
        "invalid_token",
        "Invalid token",
        format!("The token is refused: {refused}."),
    )
    .with_header(WWW_AUTHENTICATE, BAD_TOKEN)
    .with_header(WWW_AUTHENTICATE, API_KEY)
}

fn insufficient_scope(scopes: &[Scope], is_token: bool) -> Rejection {
    let wanted = scopes.first().map_or("", |scope| scope.name());
    let credential = if is_token { "token" } else { "key" };
    let refusal = Rejection::new(
        StatusCode::FORBIDDEN,
        "insufficient_scope",
        "Insufficient scope",
        format!("This route needs a {credential} with the scope `{wanted}`."),
    );
    let challenge =
        format!(r#"Bearer realm="threadpilot", error="insufficient_scope", scope="{wanted}""#);
    match HeaderValue::try_from(challenge) {
        Ok(challenge) if is_token => refusal.with_header(WWW_AUTHENTICATE, challenge),
        _ => refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::behind;

    #[test]
    fn a_scheme_is_known_in_any_case_and_ends_with_a_blank() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("BEARER", Some("")),
            ("Bearer ", Some("")),
            ("Bearers abc", None),
            ("Basic abc", None),
            ("Bear", None),
            ("", None),
        ] {
            assert_eq!(
                behind("Bearer", value.as_bytes()),
                token.map(str::as_bytes),
                "{value}"
            );
        }
    }
}
