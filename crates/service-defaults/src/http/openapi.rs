//! What every operation has in common in the OpenAPI documents.
//!
//! A route says what is its own. The key that it asks for, the parameters, headers and problems
//! that the edge gives to every route, and the examples are added here.

mod edge_answers;
mod examples;

use contracts::{FieldError, Problem, X_DEADLINE_MS};
use http::StatusCode;
use utoipa::{
    OpenApi as _, ToSchema,
    openapi::{
        Components, Content, HttpMethod, OpenApi, Ref, RefOr, Response,
        path::{Operation, PathItem},
        security::{
            ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
        },
    },
};

use self::{
    edge_answers::{ANSWERS, HEADERS, To, parameters},
    examples::Examples,
};
pub use examples::with_examples;

use crate::{scope::Scope, surface::Access};

/// Told below what each service says about itself.
const ABOUT: &str = "\n\n\
    Without a new version of the API there may come: routes, optional members and headers of \
    requests, members and headers of answers, and **values of enumerations** (treat one that you \
    do not know like the most careful one that you know). What else holds, and how long a \
    deprecated route stays, is in `docs/api.md`.\n\n\
    Every error is a problem document (RFC 9457). Its `code` is for programs, its `type` leads to a \
    page of this service, and its `requestId` finds the reason in the log.";

const ABOUT_TOKENS: &str = "An access token (RFC 9068) with the scopes of the operations to call, \
    where the service trusts an issuer of tokens; a request has a key or a token, not both";

#[derive(utoipa::OpenApi)]
#[openapi(
    components(schemas(Problem, FieldError)),
    tags((name = "Problems", description = "What each kind of error means; open"))
)]
struct Shared;

/// Adds what the edge gives to every operation.
pub(crate) fn complete(mut document: OpenApi) -> OpenApi {
    document.merge(Shared::openapi());
    document
        .info
        .description
        .get_or_insert_default()
        .push_str(ABOUT);
    let components = document.components.get_or_insert_default();
    let examples = Examples(components.examples.clone());
    let codes = ("ProblemCode".to_owned(), examples.problem_codes());
    components.schemas.extend([codes]);
    for parameter in parameters() {
        let name = parameter.name.clone();
        components.parameters.insert(name, RefOr::T(parameter));
    }
    for (name, header, _) in HEADERS {
        let header = RefOr::T(header());
        components.headers.insert((*name).to_owned(), header);
    }
    let open = requirements(Access::Open);
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        let keyed = operation.security.as_ref() != Some(&open);
        complete_operation(operation, keyed, &examples, components);
    }
    document
}

/// The name of the security scheme of tokens.
const ACCESS_TOKEN: &str = "accessToken";

/// Says of all operations what key or token they ask for.
pub(crate) fn ask_for_key(document: &mut OpenApi, access: Access) {
    let asked = requirements(access);
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        operation.security = Some(asked.clone());
        if let Access::Key([own, ..]) = access {
            let about = operation.description.take().unwrap_or_default();
            let asked = format!("{about}\n\nScope of the key or token: `{}`.", own.name());
            operation.description = Some(asked.trim_start().to_owned());
        }
    }
    if let Access::Key([own, ..]) = access
        && !document.paths.paths.is_empty()
    {
        let header = ApiKeyValue::with_description("X-Api-Key", own.about());
        let scheme = SecurityScheme::ApiKey(ApiKey::Header(header));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(own.scheme(), scheme);
        let mut token = Http::new(HttpAuthScheme::Bearer);
        token.bearer_format = Some("JWT".to_owned());
        token.description = Some(ABOUT_TOKENS.to_owned());
        components.add_security_scheme(ACCESS_TOKEN, SecurityScheme::Http(token));
    }
}

/// Adds another way in to each operation that a token opens, made of the scope that it needs.
pub(crate) fn add_way_of_tokens(
    document: &mut OpenApi,
    way: impl Fn(Scope) -> Option<SecurityRequirement>,
) {
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        let ways = operation.security.get_or_insert_default();
        let own = Scope::OF_TOKENS
            .into_iter()
            .find(|own| ways.contains(&of_token(*own)));
        ways.extend(own.and_then(&way));
    }
}

/// A token of this scope.
fn of_token(own: Scope) -> SecurityRequirement {
    SecurityRequirement::new(ACCESS_TOKEN, [own.name()])
}

/// What opens a surface: any one of these.
fn requirements(access: Access) -> Vec<SecurityRequirement> {
    match access {
        Access::Open => vec![SecurityRequirement::default()],
        Access::Key(scopes) => {
            let with = |scope: &Scope| SecurityRequirement::new(scope.scheme(), [scope.name()]);
            // Tokens have no scopes of before there were the others.
            let token = scopes.first().copied().map(of_token);
            scopes.iter().map(with).chain(token).collect()
        }
    }
}

fn complete_operation(
    operation: &mut Operation,
    keyed: bool,
    examples: &Examples,
    components: &mut Components,
) {
    for parameter in parameters() {
        if keyed || parameter.name != X_DEADLINE_MS {
            let parameters = operation.parameters.get_or_insert_default();
            parameters.push(RefOr::Ref(shared("parameters", &parameter.name)));
        }
    }
    let id = operation.operation_id.clone().unwrap_or_default();
    let mut sources = vec![id.as_str(), "head"];
    if keyed {
        sources.push("edge");
    }
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        sources.push("body");
        examples.add(&mut body.content, &format!("{id}.request"));
    }
    let responses = &mut operation.responses.responses;
    for (status, response) in responses.iter_mut() {
        if let RefOr::T(response) = response {
            finish(status, response, &sources, examples);
        }
    }
    for (status, to, when) in ANSWERS {
        let given = match to {
            To::All => true,
            To::Keyed => keyed,
            To::Bodies => sources.contains(&"body"),
        };
        if !given || responses.contains_key(*status) {
            continue;
        }
        // Without anything of its own it is the answer that every operation has.
        let own = |source: &&str| *source != to.source() && examples.has(source, status);
        let response = if sources.iter().any(own) {
            RefOr::T(answer(status, when, &sources, examples))
        } else {
            let name = component(status);
            let reference = RefOr::Ref(shared("responses", &name));
            let response = answer(status, when, &[to.source()], examples);
            components.responses.insert(name, RefOr::T(response));
            reference
        };
        responses.insert((*status).to_owned(), response);
    }
}

fn answer(status: &str, when: &str, sources: &[&str], examples: &Examples) -> Response {
    let mut response = Response::new(when);
    finish(status, &mut response, sources, examples);
    response
}

/// Adds the headers that an answer of this status may have, the body of a problem, and examples.
fn finish(status: &str, response: &mut Response, sources: &[&str], examples: &Examples) {
    let Ok(code) = status.parse::<StatusCode>() else {
        return;
    };
    for (name, _, of) in HEADERS {
        if of(code) {
            let header = RefOr::Ref(shared("headers", name));
            response.headers.entry((*name).to_owned()).or_insert(header);
        }
    }
    let refused = code.is_client_error() || code.is_server_error();
    if refused && response.content.is_empty() {
        let schema = Ref::from_schema_name(Problem::name());
        let content = RefOr::T(Content::new(Some(schema)));
        let kind = "application/problem+json".to_owned();
        response.content.insert(kind, content);
    }
    for source in sources {
        examples.add(&mut response.content, &format!("{source}.{status}"));
    }
}

fn shared(kind: &str, name: &str) -> Ref {
    Ref::new(format!("#/components/{kind}/{name}"))
}

/// What the shared answer of a status is called, such as `TooManyRequests`.
fn component(status: &str) -> String {
    let code = status.parse::<StatusCode>().unwrap_or_default();
    let reason = code.canonical_reason().unwrap_or_default();
    reason.replace(' ', "")
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
        &mut item.patch,
    ]
    .into_iter()
    .flatten()
}

/// Every operation of a document as method, path and operation id; for tests that walk them all.
pub fn operation_ids(document: &OpenApi) -> Vec<(HttpMethod, String, String)> {
    let mut found = Vec::new();
    for (path, item) in &document.paths.paths {
        let by_method = [
            (HttpMethod::Get, &item.get),
            (HttpMethod::Put, &item.put),
            (HttpMethod::Post, &item.post),
            (HttpMethod::Delete, &item.delete),
            (HttpMethod::Patch, &item.patch),
        ];
        for (method, operation) in by_method {
            if let Some(id) = operation
                .as_ref()
                .and_then(|found| found.operation_id.clone())
            {
                found.push((method, path.clone(), id));
            }
        }
    }
    found
}
