//! The OpenAPI document, and a page to read it and try it out.

use axum::{
    Router,
    http::{HeaderValue, header::CONTENT_TYPE},
    routing::get,
};
use settings::section;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::surface::Surface;

/// Its own scripts, styles and images, and calls to the service that serves it.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'",
);

section! {
    /// The section `[swagger]`.
    pub struct SwaggerSettings {
        /// Serves /swagger/ and /openapi.json.
        pub enabled: bool = true;
    }
}

/// The page and the document.
pub(crate) fn routes(document: &OpenApi) -> [(Surface, Router); 2] {
    let config = Config::from("/openapi.json")
        .persist_authorization(true)
        .try_it_out_enabled(true);
    let page = SwaggerUi::new("/swagger").config(config);
    let text = document.to_json().unwrap_or_default();
    let answer = async move || ([(CONTENT_TYPE, "application/json")], text.clone());
    [
        (
            Surface::open().with_content_policy(PAGE_POLICY),
            Router::from(page),
        ),
        (
            Surface::open(),
            Router::new().route("/openapi.json", get(answer)),
        ),
    ]
}
