//! What the provider publishes about itself, fetched within limits.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
    time::Duration,
};

use jsonwebtoken::Algorithm;
use reqwest::{
    Certificate, Client, RequestBuilder, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
    redirect::Policy,
};
use rustls::crypto::ring;
use serde::Deserialize;
use settings::{Violations, read_file};
use url::Url;

use crate::{
    key_set::{self, KeySet},
    settings::is_safe,
};

/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time for one document, from the look-up of its host to its last byte.
pub const LONGEST_FETCH: Duration = Duration::from_secs(5);
/// Largest document in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// Why the issuer gave nothing that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{0} cannot be reached: {1}")]
    Unreachable(Url, String),
    #[error("{0} answered {1}")]
    Status(Url, StatusCode),
    #[error("{0} answered something that is not JSON")]
    ContentType(Url),
    #[error("{0} answered more than {MAX_BYTES} bytes")]
    TooLarge(Url),
    #[error("{0} answered JSON that cannot be used")]
    Json(Url, #[source] serde_json::Error),
    #[error("the discovery document is of another issuer")]
    OtherIssuer,
    #[error(
        "the address of the keys is not https, nor http on this machine for an issuer that is there"
    )]
    Unsafe,
    #[error("there are {0} keys, over {most}", most = key_set::MOST_KEYS)]
    TooManyKeys(usize),
    #[error("the issuer answered something that is no bearer token")]
    NoBearer,
}

impl FetchError {
    /// What it is in a metric.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Unreachable(..) => "unreachable",
            Self::Status(..) => "status",
            Self::TooLarge(_) | Self::TooManyKeys(_) => "too_large",
            Self::ContentType(_) | Self::Json(..) | Self::OtherIssuer | Self::Unsafe => "invalid",
            Self::NoBearer => "no_bearer",
        }
    }
}

/// Why tokens cannot be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The certificates or the TLS set-up cannot be used.
    #[error("TLS to the provider of tokens cannot be set up")]
    Tls(#[from] reqwest::Error),
    /// The certificates cannot be read.
    #[error("the certificates of the provider of tokens: {path} cannot be read: {reason}")]
    Certificate {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// There is no certificate where some were named.
    #[error("the file for the certificates of the provider of tokens holds none")]
    NoCertificate,
    /// The provider's address is no URL.
    #[error("the address of the provider of tokens is no URL")]
    Issuer,
}

/// Reports a file of PEM certificates that cannot be used.
pub fn usable_certificates(path: &String, at: &str, violations: &mut Violations) {
    if path.is_empty() {
        return;
    }
    match client(path) {
        Ok(_) => {}
        Err(BuildError::Certificate { path, reason }) => {
            violations.report(at, format_args!("{path} cannot be read: {reason}"));
        }
        Err(_) => violations.report(at, format_args!("{path} holds no usable PEM certificates")),
    }
}

/// A client that follows no redirect and uses no proxy of the environment.
pub(crate) fn client(ca_certificate: &str) -> Result<Client, BuildError> {
    // Fails only when one is installed already.
    let _ = ring::default_provider().install_default();
    let mut client = Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        // Is this machine, whatever a resolver says (RFC 6761, 6.3); the port is the URL's.
        .resolve_to_addrs(
            "localhost",
            &[
                (Ipv4Addr::LOCALHOST, 0).into(),
                (Ipv6Addr::LOCALHOST, 0).into(),
            ],
        )
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(LONGEST_FETCH)
        // The next request is minutes away.
        .pool_max_idle_per_host(0);
    if !ca_certificate.is_empty() {
        let pem =
            read_file(Path::new(ca_certificate)).map_err(|reason| BuildError::Certificate {
                path: ca_certificate.to_owned(),
                reason,
            })?;
        let certificates = Certificate::from_pem_bundle(&pem)?;
        if certificates.is_empty() {
            return Err(BuildError::NoCertificate);
        }
        client = client.tls_certs_only(certificates);
    }
    Ok(client.build()?)
}

/// Where the keys of one issuer are fetched.
#[derive(Debug)]
pub(crate) struct Source {
    client: Client,
    issuer: String,
    discovery: Url,
    /// What keys without an `alg` are good for.
    algorithms: Vec<Algorithm>,
}

/// The part of a discovery document that counts here (OpenID Connect Discovery 1.0, 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: Url,
}

impl Source {
    pub(crate) fn new(
        issuer: &str,
        ca_certificate: &str,
        algorithms: Vec<Algorithm>,
    ) -> Result<Self, BuildError> {
        let base = issuer.trim_end_matches('/');
        let discovery = Url::parse(&format!("{base}/.well-known/openid-configuration"));
        Ok(Self {
            client: client(ca_certificate)?,
            issuer: issuer.to_owned(),
            discovery: discovery.map_err(|_| BuildError::Issuer)?,
            algorithms,
        })
    }

    /// Asks the issuer where its keys are, and fetches them.
    pub(crate) async fn fetch(&self) -> Result<KeySet, FetchError> {
        let body = self.document(&self.discovery).await?;
        let found: Discovery = serde_json::from_slice(&body)
            .map_err(|error| FetchError::Json(self.discovery.clone(), error))?;
        // OpenID Connect Discovery, 4.3: else one issuer could speak for another.
        if found.issuer != self.issuer {
            return Err(FetchError::OtherIssuer);
        }
        if !may_name(&self.discovery, &found.jwks_uri) {
            return Err(FetchError::Unsafe);
        }
        let body = self.document(&found.jwks_uri).await?;
        let keys = key_set::read(&body, &self.algorithms);
        keys.map_err(|error| error.into_fetch_error(&found.jwks_uri))
    }

    async fn document(&self, url: &Url) -> Result<Vec<u8>, FetchError> {
        json(url, self.client.get(url.clone())).await
    }
}

/// Whether keys may be fetched there because this discovery document says so: one that came over TLS
/// names nothing that comes without.
fn may_name(discovery: &Url, keys: &Url) -> bool {
    is_safe(keys) && (keys.scheme() == "https" || discovery.scheme() == "http")
}

/// The JSON that this request to this URL is answered with.
pub(crate) async fn json(url: &Url, request: RequestBuilder) -> Result<Vec<u8>, FetchError> {
    let unreachable = |error| FetchError::Unreachable(url.clone(), reason(error));
    let request = request.header(ACCEPT, "application/json");
    let mut response = request.send().await.map_err(unreachable)?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(url.clone(), response.status()));
    }
    if !is_json(&response) {
        return Err(FetchError::ContentType(url.clone()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(FetchError::TooLarge(url.clone()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// `application/json` or one of its kinds, such as `application/jwk-set+json`.
fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// What lies at the bottom: the rest says that a request failed.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut deepest: &dyn std::error::Error = &error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    if error.is_timeout() {
        return format!("no answer within {} s", LONGEST_FETCH.as_secs());
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests {
    use super::may_name;

    #[test]
    fn an_issuer_behind_tls_names_no_address_without_it() {
        for (issuer, keys, expected) in [
            ("https://a.example", "https://a.example/keys", true),
            ("https://a.example", "https://b.example/keys", true),
            ("https://a.example", "http://127.0.0.1/keys", false),
            ("https://a.example", "http://localhost/keys", false),
            ("https://a.example", "http://a.example/keys", false),
            ("http://127.0.0.1", "http://127.0.0.1:1/keys", true),
            ("http://127.0.0.1", "https://a.example/keys", true),
            ("http://127.0.0.1", "http://a.example/keys", false),
        ] {
            let named = may_name(&issuer.parse().unwrap(), &keys.parse().unwrap());
            assert_eq!(named, expected, "{issuer} {keys}");
        }
    }
}
