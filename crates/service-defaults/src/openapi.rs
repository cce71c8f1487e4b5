//! What every operation has in common in the OpenAPI documents.

use contracts::{FieldError, MAX_DEADLINE_MS, Problem, X_DEADLINE_MS};
use utoipa::{
    OpenApi as _, ToSchema,
    openapi::{
        Content, HttpMethod, ObjectBuilder, OpenApi, Ref, RefOr, Required, Response,
        ResponseBuilder,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem},
        schema::Type,
        security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme},
    },
};

use crate::scope::Scope;

/// Name of the security scheme for `X-Api-Key`.
pub const API_KEY: &str = "apiKey";

/// Answers that the edge itself may give on every keyed route, with when.
const EDGE_ANSWERS: [(&str, &str); 8] = [
    ("400", "The request breaks a rule; `errors` says which"),
    ("401", "The key is missing, unknown or expired"),
    ("403", "The key lacks the scope of the route"),
    ("414", "The URI is over the size limit"),
    (
        "429",
        "The key makes more requests than it may; `Retry-After` says when to come back",
    ),
    ("431", "The headers are over the size limit"),
    ("500", "The service failed"),
    (
        "503",
        "The service is busy, or the database is; `Retry-After` says when to come back",
    ),
];

/// Answers for routes that take a body.
const BODY_ANSWERS: [(&str, &str); 3] = [
    ("408", "The body did not arrive in time"),
    ("413", "The body is over the size limit"),
    (
        "415",
        "The body is not `application/json`, or it has a `Content-Encoding`",
    ),
];

/// Adds the key with the scope that the route asks for, the deadline and the answers of the edge to
/// every operation that does not say it is open.
pub(crate) fn complete(mut document: OpenApi) -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(components(schemas(Problem, FieldError)))]
    struct Shared;
    document.merge(Shared::openapi());
    let key = ApiKey::Header(ApiKeyValue::with_description(
        "X-Api-Key",
        "A key of this service",
    ));
    document
        .components
        .get_or_insert_default()
        .add_security_scheme(API_KEY, SecurityScheme::ApiKey(key));
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            if operation.security.is_some() {
                continue;
            }
            let scope = Scope::of(path).name();
            operation.security = Some(vec![SecurityRequirement::new(API_KEY, [scope])]);
            operation
                .parameters
                .get_or_insert_default()
                .push(RefOr::T(deadline()));
            add(operation, &EDGE_ANSWERS);
            if operation.request_body.is_some() {
                add(operation, &BODY_ANSWERS);
            }
        }
    }
    document
}

/// The header that [`crate::limits`] reads.
fn deadline() -> Parameter {
    let milliseconds = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(0_u64))
        .maximum(Some(MAX_DEADLINE_MS));
    ParameterBuilder::new()
        .name(X_DEADLINE_MS)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "How many milliseconds the caller still waits. The service works no longer than that; \
             with 0 the answer is 503 at once",
        ))
        .schema(Some(milliseconds))
        .build()
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

fn add(operation: &mut Operation, answers: &[(&str, &str)]) {
    for (status, when) in answers {
        operation
            .responses
            .responses
            .entry((*status).to_owned())
            .or_insert_with(|| RefOr::T(problem(when)));
    }
}

/// The documentation of a problem answer.
pub fn problem(when: &str) -> Response {
    ResponseBuilder::new()
        .description(when)
        .content(
            "application/problem+json",
            Content::new(Some(Ref::from_schema_name(Problem::name()))),
        )
        .build()
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
