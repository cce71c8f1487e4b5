//! The OpenAPI document, and a page to read it and try it out.

use access_tokens::{TokenSettings, usable_endpoint};
use axum::{
    Router,
    http::{HeaderValue, header::CONTENT_TYPE},
    routing::get,
};
use settings::{Violations, section};
use url::Url;
use utoipa::openapi::{
    OpenApi,
    security::{
        AuthorizationCode, ClientCredentials, Flow, OAuth2, Scopes, SecurityRequirement,
        SecurityScheme,
    },
};
use utoipa_swagger_ui::{Config, SwaggerUi, oauth};

use crate::{openapi, scope::Scope, surface::Surface};

/// The name of the security scheme by which the page fetches tokens.
const OAUTH2: &str = "oauth2";

section! {
    /// The section `[swagger]`.
    pub struct SwaggerSettings checked by SwaggerSettings::contradictions {
        /// Serves /swagger/ and /openapi.json.
        pub enabled: bool = true;
        /// Where the page fetches tokens, from the browser, for programs (client credentials) and
        /// people (authorization code with PKCE); with tokens.issuer. Empty = tokens are pasted in.
        pub token_url: String = "", where usable_endpoint;
        /// Where people log in for it; empty = programs only.
        pub authorization_url: String = "", where usable_endpoint;
        /// The page's own name at the provider, which keeps no secret.
        pub client_id: String = "";
    }
}

impl SwaggerSettings {
    fn contradictions(&self, at: &str, violations: &mut Violations) {
        let mut missing = |key: &str, because: &str| {
            let rule = format_args!("is not set, but {at}.{because} is");
            violations.report(&format!("{at}.{key}"), rule);
        };
        if self.token_url.is_empty() && !self.authorization_url.is_empty() {
            missing("token_url", "authorization_url");
        }
        if self.client_id.is_empty() && !self.token_url.is_empty() {
            missing("client_id", "token_url");
        }
    }

    /// Its own scripts, styles and images, and calls to the service that serves it, and to where it
    /// fetches tokens.
    fn page_policy(&self, fetches_tokens: bool) -> HeaderValue {
        let issuer = Url::parse(&self.token_url).ok().filter(|_| fetches_tokens);
        let issuer = issuer.map(|url| format!(" {}", url.origin().ascii_serialization()));
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
             img-src 'self' data:; connect-src 'self'{}; frame-ancestors 'none'",
            issuer.unwrap_or_default(),
        );
        // Never needed: what an origin is written in is a part of ASCII.
        HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
    }
}

/// The page and the document.
pub(crate) fn routes(
    document: &OpenApi,
    settings: &SwaggerSettings,
    tokens: &TokenSettings,
) -> [(Surface, Router); 2] {
    let fetches_tokens = tokens.are_on() && !settings.token_url.is_empty();
    let config = Config::from("/openapi.json")
        // With what is typed in for a token the browser would keep the secret of a client.
        .persist_authorization(!fetches_tokens)
        .try_it_out_enabled(true);
    let mut page = SwaggerUi::new("/swagger").config(config);
    let mut document = document.clone();
    if fetches_tokens {
        add_flows(&mut document, settings, tokens);
        let page_itself = oauth::Config::new()
            .client_id(&settings.client_id)
            .use_pkce_with_authorization_code_grant(true);
        page = page.oauth(page_itself);
    }
    let text = document.to_json().unwrap_or_default();
    let answer = async move || ([(CONTENT_TYPE, "application/json")], text.clone());
    [
        (
            Surface::open().with_content_policy(settings.page_policy(fetches_tokens)),
            Router::from(page),
        ),
        (
            Surface::open(),
            Router::new().route("/openapi.json", get(answer)),
        ),
    ]
}

/// Says where the page fetches tokens, and with which scopes, as the provider calls them.
fn add_flows(document: &mut OpenApi, settings: &SwaggerSettings, tokens: &TokenSettings) {
    let called = |own: Scope| tokens.scopes.name_of(own.name());
    let names = Scope::OF_TOKENS.into_iter().filter_map(|own| {
        let about = format!("The scope `{}`", own.name());
        Some((called(own)?.to_owned(), about))
    });
    let scopes: Scopes = names.collect();
    let token_url = &settings.token_url;
    let mut flows = vec![Flow::ClientCredentials(ClientCredentials::new(
        token_url,
        scopes.clone(),
    ))];
    if !settings.authorization_url.is_empty() {
        let people = AuthorizationCode::new(&settings.authorization_url, token_url, scopes);
        flows.push(Flow::AuthorizationCode(people));
    }
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(OAUTH2, SecurityScheme::OAuth2(OAuth2::new(flows)));
    openapi::add_way_of_tokens(document, |own| {
        Some(SecurityRequirement::new(OAUTH2, [called(own)?]))
    });
}

#[cfg(test)]
mod tests {
    use settings::parse;

    use super::SwaggerSettings;

    #[test]
    fn flows_that_cannot_work_are_refused() {
        for (text, told) in [
            (
                "authorization_url = \"https://a.example\"",
                "swagger.token_url: is not set, but swagger.authorization_url is",
            ),
            (
                "token_url = \"https://a.example\"",
                "swagger.client_id: is not set, but swagger.token_url is",
            ),
            (
                "token_url = \"http://a.example\"\nclient_id = \"a\"",
                "swagger.token_url: `http://a.example` is no https URL",
            ),
        ] {
            let refused = parse::<SwaggerSettings>("swagger", text).unwrap_err();
            assert!(refused.to_string().starts_with(told), "{refused}");
        }
    }
}
