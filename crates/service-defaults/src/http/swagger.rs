//! The OpenAPI document, and a page to read it and try it out.

use access_tokens::TokenSettings;
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
        pub token_url: String = "", where usable_url;
        /// Where people log in for it; empty = programs only.
        pub authorization_url: String = "", where usable_url;
        /// The page's own name at the provider, which keeps no secret.
        pub client_id: String = "";
    }
}

fn usable_url(url: &String, at: &str, violations: &mut Violations) {
    let usable = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    if !url.is_empty() && !Url::parse(url).as_ref().is_ok_and(usable) {
        violations.report(at, format_args!("`{url}` is no http or https URL"));
    }
}

impl SwaggerSettings {
    fn contradictions(&self, at: &str, violations: &mut Violations) {
        if self.token_url.is_empty() && !self.authorization_url.is_empty() {
            let rule = format_args!("is not set, but {at}.authorization_url is");
            violations.report(&format!("{at}.token_url"), rule);
        }
    }

    /// Its own scripts, styles and images, and calls to the service that serves it and to where
    /// tokens are fetched.
    fn page_policy(&self) -> HeaderValue {
        let issuer = Url::parse(&self.token_url).map(|url| url.origin().ascii_serialization());
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
             img-src 'self' data:; connect-src 'self'{}{}; frame-ancestors 'none'",
            if issuer.is_ok() { " " } else { "" },
            issuer.unwrap_or_default(),
        );
        HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
    }
}

/// The page and the document.
pub(crate) fn routes(
    document: &OpenApi,
    settings: &SwaggerSettings,
    tokens: &TokenSettings,
) -> [(Surface, Router); 2] {
    let config = Config::from("/openapi.json")
        .persist_authorization(true)
        .try_it_out_enabled(true);
    let mut page = SwaggerUi::new("/swagger").config(config);
    let mut document = document.clone();
    if tokens.are_on() && !settings.token_url.is_empty() {
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
            Surface::open().with_content_policy(settings.page_policy()),
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
    let scopes = Scopes::from_iter(names);
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
