//! What a request's head alone decides, before anything else reads it.

use std::net::Ipv6Addr;

use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderValue, StatusCode, Uri, Version,
        header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
        uri::Authority,
    },
};

use crate::{extract::invalid_parameter, limits::MAX_BODY_BYTES, problem::Rejection};

/// Longest request URI, in bytes. This limit and the next two are those of common proxies, and under
/// those of the HTTP parser, which would refuse by itself without a problem document.
const MAX_URI_BYTES: usize = 8_192;
/// Most bytes of request headers, names and values.
const MAX_HEADER_BYTES: usize = 16_384;
/// Most request headers.
const MAX_HEADERS: usize = 100;

/// Refuses a request whose head is too large (414, 431), does not say which host it is for or is
/// framed in a way that is not understood (400), or announces too large a body (413).
pub(crate) fn check(request: &Request) -> Result<(), Rejection> {
    let headers = request.headers();
    uri(request.uri())?;
    header_lines(headers)?;
    host(headers, request.version())?;
    transfer_coding(headers)?;
    announced_body(headers)
}

fn uri(uri: &Uri) -> Result<(), Rejection> {
    // Summed from its parts: writing it out would cost an allocation a request.
    let scheme = uri
        .scheme_str()
        .map_or(0, |scheme| scheme.len() + "://".len());
    let authority = uri
        .authority()
        .map_or(0, |authority| authority.as_str().len());
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    if scheme + authority + path <= MAX_URI_BYTES {
        return Ok(());
    }
    Err(Rejection::new(
        StatusCode::URI_TOO_LONG,
        "uri_too_long",
        "URI too long",
        format!("The request URI is over {MAX_URI_BYTES} bytes."),
    ))
}

fn header_lines(headers: &HeaderMap) -> Result<(), Rejection> {
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if headers.len() <= MAX_HEADERS && bytes <= MAX_HEADER_BYTES {
        return Ok(());
    }
    let detail = format!(
        "The request has over {MAX_HEADERS} headers or over {MAX_HEADER_BYTES} bytes of them."
    );
    Err(Rejection::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "headers_too_large",
        "Headers too large",
        detail,
    ))
}

/// RFC 9112, 3.2: exactly one `Host`, and a valid one; HTTP/1.0 may go without.
fn host(headers: &HeaderMap, version: Version) -> Result<(), Rejection> {
    let mut values = headers.get_all(HOST).iter();
    let valid = match (values.next(), values.next()) {
        (None, _) => version == Version::HTTP_10,
        (Some(only), None) => is_host(only),
        (Some(_), Some(_)) => false,
    };
    if valid {
        return Ok(());
    }
    let rule = "Host is sent once, as a name or an address and, if need be, a port";
    Err(invalid_parameter("Host", &rule))
}

/// RFC 9110, 7.2, without the empty host, which names nothing (4.2.1).
fn is_host(value: &HeaderValue) -> bool {
    let Ok(authority) = Authority::try_from(value.as_bytes()) else {
        return false;
    };
    let host = authority.host();
    let Some(port) = authority.as_str().strip_prefix(host) else {
        // User information.
        return false;
    };
    let address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let host_is_valid = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty(),
    };
    // Parsing alone would take a sign.
    let is_port = |digits: &str| {
        digits.bytes().all(|digit| digit.is_ascii_digit())
            && (digits.is_empty() || digits.parse::<u16>().is_ok())
    };
    let port_is_valid = port.strip_prefix(':').map_or(port.is_empty(), is_port);
    host_is_valid && port_is_valid
}

/// hyper looks for a `chunked` at the end and lets other codings before it pass, undecoded.
fn transfer_coding(headers: &HeaderMap) -> Result<(), Rejection> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let known = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    if known {
        return Ok(());
    }
    Err(Rejection::new(
        StatusCode::BAD_REQUEST,
        "unknown_transfer_coding",
        "Invalid request",
        "The only transfer coding that is understood is chunked, once.",
    ))
}

/// Nobody has to send a body that is refused (RFC 9110, 10.1.1).
fn announced_body(headers: &HeaderMap) -> Result<(), Rejection> {
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        return Err(Rejection::of_status(StatusCode::PAYLOAD_TOO_LARGE));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::is_host;

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        let valid = |text: &str| is_host(&HeaderValue::from_bytes(text.as_bytes()).unwrap());
        for host in [
            "localhost",
            "vehicle.example:5081",
            "vehicle_1.default.svc",
            "127.0.0.1:80",
            "[::1]",
            "[2001:db8::1]:443",
        ] {
            assert!(valid(host), "{host}");
        }
        for host in [
            "",
            ":80",
            "a b",
            "a/b",
            "http://a",
            "user@a",
            "user:password@a:80",
            "a:b",
            "a:80:90",
            "a:99999",
            "a:+1",
            "a?b",
            "a#b",
            "[::1",
            "[]",
            "[zz]",
            "::1",
            "a, b",
            "a\\b",
            "\u{e5}.example",
        ] {
            assert!(!valid(host), "{host}");
        }
    }
}
