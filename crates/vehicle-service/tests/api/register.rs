//! Registering, changing and deregistering vehicles.

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};
use sqlx::PgConnection;
use test_support::{Answer, TestDatabase, assert_free_of_canaries, canaries};

use super::service::Service;

pub(crate) const WRITER: [(&str, &str); 2] = [
    ("API_KEYS__WRITER__KEY", "write-key-0123456789"),
    ("API_KEYS__WRITER__SCOPES", "write,read"),
];
const KEY: &str = WRITER[0].1;
const PLATE: &str = "/api/v1/vehicles/NEW123";
const NEW: [(&str, &str); 1] = [("if-none-match", "*")];

pub(crate) async fn service() -> Service {
    Service::with(&WRITER).await
}

/// Sends a change with the writer's key.
pub(crate) async fn change(
    service: &Service,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.header("x-api-key", KEY);
    let request = request.header("content-type", "application/json");
    service
        .api
        .send(request.body(Body::from(body.to_string())).unwrap())
        .await
}

async fn put(service: &Service, path: &str, headers: &[(&str, &str)], make: &str) -> Answer {
    let body = json!({ "make": make, "model": null, "modelYear": 2024 });
    change(service, Method::PUT, path, headers, &body).await
}

async fn delete(service: &Service, path: &str, headers: &[(&str, &str)]) -> Answer {
    change(service, Method::DELETE, path, headers, &Value::Null).await
}

fn code(answer: &Answer) -> (u16, String) {
    let code = answer.problem()["code"].as_str().unwrap().to_owned();
    (answer.status.as_u16(), code)
}

/// What the log says beyond the sample data: id, type, version.
async fn told(database: &TestDatabase) -> Vec<(String, String, i64)> {
    let events = sqlx::query_as(
        "select event_id::text, event_type, version from vehicle_events.events
         where version > 3 order by version",
    );
    events
        .fetch_all(&mut database.connect().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_vehicle_is_registered_changed_and_deregistered_and_each_event_is_named() {
    let service = service().await;
    let registered = put(&service, "/api/v1/vehicles/new-123", &NEW, "Saab").await;
    assert_eq!(registered.status, 201, "{}", registered.text());
    assert_eq!(registered.header("location"), PLATE);
    let expected =
        json!({"registrationNumber":"NEW123","make":"Saab","model":null,"modelYear":2024});
    assert_eq!(registered.json(), expected);
    let read = service.api.get(PLATE).await;
    assert_eq!(read.json(), registered.json());
    assert_eq!(read.header("etag"), registered.header("etag"));

    let first = [("if-match", registered.header("etag"))];
    let changed = put(&service, PLATE, &first, "Volvo").await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(changed.json()["make"], "Volvo");
    let read = service.api.get(PLATE).await;
    assert_eq!(read.header("etag"), changed.header("etag"));
    assert_ne!(changed.header("etag"), registered.header("etag"));

    let second = [("if-match", changed.header("etag"))];
    let gone = delete(&service, PLATE, &second).await;
    assert_eq!((gone.status.as_u16(), gone.text().as_str()), (204, ""));
    assert_eq!(service.api.get(PLATE).await.status, 404);

    let ids = [&registered, &changed, &gone].map(|it| it.header("event-id").to_owned());
    let kinds = ["registered", "changed", "deregistered"].map(|it| format!("vehicle.{it}.v1"));
    let told = told(&service.database).await;
    let seen: Vec<_> = told.iter().map(|(id, kind, _)| (id, kind)).collect();
    assert_eq!(seen, ids.iter().zip(&kinds).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_the_register_says_already_is_no_change_and_no_event() {
    let service = service().await;
    let registered = put(&service, PLATE, &NEW, "Saab").await;
    let current = [("if-match", registered.header("etag"))];
    let again = put(&service, PLATE, &current, "Saab").await;
    assert_eq!(again.status, 200);
    assert_eq!(again.header("etag"), registered.header("etag"));
    assert_eq!(again.header("event-id"), "");
    assert_eq!(told(&service.database).await.len(), 1);
}

#[tokio::test]
async fn a_change_without_a_precondition_is_refused() {
    let service = service().await;
    for headers in [
        &[][..],
        &[("if-none-match", "\"1.1\"")],
        &[("if-unmodified-since", "x")],
    ] {
        let answer = put(&service, PLATE, headers, "Saab").await;
        assert_eq!(
            code(&answer),
            (428, "precondition_required".to_owned()),
            "{headers:?}"
        );
    }
    let answer = delete(&service, "/api/v1/vehicles/ABC123", &NEW).await;
    assert_eq!(code(&answer), (428, "precondition_required".to_owned()));
    assert_eq!(told(&service.database).await, []);
}

#[tokio::test]
async fn a_precondition_that_does_not_hold_changes_nothing() {
    let service = service().await;
    let volvo = "/api/v1/vehicles/ABC123";
    let tag = service.api.get(volvo).await.header("etag").to_owned();
    let weak = format!("W/{tag}");
    for wanted in ["\"0.0\"", weak.as_str(), "1.1", "", "\"1.2\", \"1.3\""] {
        for method in [Method::PUT, Method::DELETE] {
            let body = json!({ "make": "Saab", "model": null, "modelYear": null });
            let headers = [("if-match", wanted)];
            let answer = change(&service, method, volvo, &headers, &body).await;
            assert_eq!(
                code(&answer),
                (412, "version_conflict".to_owned()),
                "{wanted}"
            );
            assert_eq!(answer.header("etag"), tag);
        }
    }
    let answer = put(&service, volvo, &NEW, "Saab").await;
    assert_eq!(code(&answer), (412, "already_registered".to_owned()));
    assert_eq!(answer.header("etag"), tag);
    for headers in [[("if-match", "*")], [("if-match", "\"1.1\"")]] {
        for answer in [
            put(&service, PLATE, &headers, "Saab").await,
            delete(&service, PLATE, &headers).await,
        ] {
            assert_eq!(code(&answer), (404, "vehicle_not_found".to_owned()));
        }
    }
    assert_eq!(told(&service.database).await, []);
    assert_eq!(service.api.get(volvo).await.header("etag"), tag);
}

#[tokio::test]
async fn any_version_and_one_of_several_are_preconditions_too() {
    let service = service().await;
    let volvo = "/api/v1/vehicles/ABC123";
    let tag = service.api.get(volvo).await.header("etag").to_owned();
    let several = format!("\"0.0\", {tag}");
    let changed = put(&service, volvo, &[("if-match", &several)], "Saab").await;
    assert_eq!(changed.status, 200);
    assert_eq!(
        delete(&service, volvo, &[("if-match", "*")]).await.status,
        204
    );
}

#[tokio::test]
async fn one_of_many_who_change_the_same_version_succeeds() {
    let service = service().await;
    let volvo = "/api/v1/vehicles/ABC123";
    let tag = service.api.get(volvo).await.header("etag").to_owned();
    let makes: Vec<_> = (0..4).map(|number| format!("Make {number}")).collect();
    let headers = [("if-match", tag.as_str())];
    let answers = makes
        .iter()
        .map(|make| put(&service, volvo, &headers, make));
    let answers = futures_util::future::join_all(answers).await;
    let done = answers.iter().filter(|it| it.status == 200).count();
    let late = answers.iter().filter(|it| it.status == 412).count();
    assert_eq!((done, late), (1, 3));
    let registrations = makes.iter().map(|make| put(&service, PLATE, &NEW, make));
    let answers = futures_util::future::join_all(registrations).await;
    let done = answers.iter().filter(|it| it.status == 201).count();
    let late = answers.iter().filter(|it| it.status == 412).count();
    assert_eq!((done, late), (1, 3));
    assert_eq!(told(&service.database).await.len(), 2);
}

#[tokio::test]
async fn the_key_the_request_and_its_cause_are_in_the_event() {
    let service = service().await;
    let cause = "0192f3c4-0000-7000-8000-00000000abcd";
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [
        ("if-none-match", "*"),
        ("x-request-id", "order-42"),
        ("traceparent", &parent),
        ("x-causation-id", cause),
    ];
    let answer = put(&service, PLATE, &headers, "Saab").await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let event: (String, String, String, String) = sqlx::query_as(
        "select actor, correlation_id, causation_id::text, traceparent
         from vehicle_events.events where version > 3",
    )
    .fetch_one(&mut service.database.connect().await)
    .await
    .unwrap();
    assert_eq!(event.0, "key/writer");
    assert_eq!((event.1.as_str(), event.2.as_str()), ("order-42", cause));
    assert_eq!(event.3, answer.header("traceparent"));
    assert!(event.3.contains(trace));
}

#[tokio::test]
async fn a_longest_request_id_fits_into_the_event_and_no_cause_is_guessed() {
    let service = service().await;
    let longest = "r".repeat(128);
    for (plate, cause) in [
        ("AA1", "no-uuid"),
        ("AA2", "19900101-1234-4bcd-8bcd-abcdefabcdef"),
    ] {
        let path = format!("/api/v1/vehicles/{plate}");
        let headers = [
            ("if-none-match", "*"),
            ("x-request-id", &longest),
            ("x-causation-id", cause),
        ];
        assert_eq!(put(&service, &path, &headers, "Saab").await.status, 201);
    }
    let events: Vec<(String, Option<String>)> = sqlx::query_as(
        "select correlation_id, causation_id::text from vehicle_events.events where version > 3",
    )
    .fetch_all(&mut service.database.connect().await)
    .await
    .unwrap();
    assert_eq!(events, vec![(longest, None); 2]);
}

/// An event is never erased.
#[tokio::test]
async fn no_change_carries_a_person_into_an_event() {
    let service = service().await;
    let volvo = "/api/v1/vehicles/ABC123";
    let canaries = canaries();
    let mut changes = 0;
    for (number, canary) in canaries.iter().enumerate().step_by(8) {
        let parent = format!("00-{canary}-00f067aa0ba902b7-01");
        let headers = [
            ("if-match", "*"),
            ("x-request-id", canary),
            ("x-causation-id", canary),
            ("traceparent", &parent),
            ("user-agent", canary),
            ("baggage", canary),
        ];
        let told = put(&service, volvo, &headers, &format!("Make {number}")).await;
        assert_eq!(told.status, 200, "{}", told.text());
        let refused = put(&service, volvo, &headers, canary).await;
        assert_eq!(refused.status, 400, "{canary}: {}", refused.text());
        changes += 1;
    }
    let select = "select row_to_json(events)::text from vehicle_events.events where version > 3";
    let mut connection = service.database.connect().await;
    let events: Vec<String> = sqlx::query_scalar(select)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(events.len(), changes);
    for event in events {
        assert_free_of_canaries(&event, "an event");
    }
}

#[tokio::test]
async fn a_body_that_breaks_a_rule_is_refused() {
    let service = service().await;
    let with = |member: &str, value: Value| {
        let mut body = json!({ "make": "Saab", "model": "900", "modelYear": 1990 });
        body[member] = value;
        body
    };
    let mut incomplete = with("make", json!("Saab"));
    incomplete.as_object_mut().unwrap().remove("model");
    for (body, expected) in [
        (with("make", json!("")), "invalid_make"),
        (with("make", json!(" ")), "invalid_make"),
        (with("make", json!("x".repeat(101))), "invalid_make"),
        (with("make", json!("a\u{202e}b")), "invalid_make"),
        (with("make", json!("of 19900101-1234")), "invalid_make"),
        (with("model", json!("199001011234")), "invalid_model"),
        (with("model", json!("a\nb")), "invalid_model"),
        (with("modelYear", json!(1884)), "invalid_model_year"),
        (with("modelYear", json!(2101)), "invalid_model_year"),
        (with("version", json!(1)), "invalid_body"),
        (with("modelYear", json!("x")), "invalid_body"),
        (incomplete, "invalid_body"),
    ] {
        let answer = change(&service, Method::PUT, PLATE, &NEW, &body).await;
        assert_eq!(code(&answer), (400, expected.to_owned()), "{body}");
        assert!(!answer.text().contains("1990"), "{}", answer.text());
    }
    assert_eq!(told(&service.database).await, []);
}

#[tokio::test]
async fn swedish_letters_have_their_place_in_the_location() {
    let service = service().await;
    let answer = put(
        &service,
        "/api/v1/vehicles/%C3%A5%C3%84%C3%96",
        &NEW,
        "Saab",
    )
    .await;
    assert_eq!(
        answer.header("location"),
        "/api/v1/vehicles/%C3%85%C3%84%C3%96"
    );
    let found = service.api.get(answer.header("location")).await;
    assert_eq!(found.json()["registrationNumber"], "ÅÄÖ");
}

#[tokio::test]
async fn a_change_that_waits_too_long_for_its_row_is_refused_and_leaves_nothing() {
    let settings = [
        WRITER[0],
        WRITER[1],
        ("DATABASE__STATEMENT_TIMEOUT", "50ms"),
    ];
    let service = Service::with(&settings).await;
    let volvo = "/api/v1/vehicles/ABC123";
    let mut other: PgConnection = service.database.connect().await;
    let hold = "begin; select from vehicle.vehicles for update";
    sqlx::raw_sql(hold).execute(&mut other).await.unwrap();
    let answer = put(&service, volvo, &[("if-match", "*")], "Saab").await;
    assert_eq!(code(&answer), (503, "database_timeout".to_owned()));
    assert_eq!(answer.header("retry-after"), "1");
    sqlx::raw_sql("rollback").execute(&mut other).await.unwrap();
    assert_eq!(service.api.get(volvo).await.json()["make"], "Volvo");
    assert_eq!(told(&service.database).await, []);
}

#[tokio::test]
async fn a_vehicle_that_somebody_else_changes_is_busy() {
    let service = service().await;
    let volvo = "/api/v1/vehicles/ABC123";
    let mut other: PgConnection = service.database.connect().await;
    let hold = "begin; select from vehicle.vehicles for update";
    sqlx::raw_sql(hold).execute(&mut other).await.unwrap();
    let answer = put(&service, volvo, &[("if-match", "*")], "Saab").await;
    assert_eq!(code(&answer), (409, "busy".to_owned()));
    assert_eq!(answer.header("retry-after"), "1");
}
