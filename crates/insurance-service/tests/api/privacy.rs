//! Personal identity numbers leave the service in the body of a profile and nowhere else.

use axum::body::Body;
use http::{Method, Request};
use test_support::{API_KEY, Answer, Api, FakeVehicle, Reply};
use tracing_subscriber::filter::LevelFilter;

use super::{
    capture::Capture,
    service::{LOOKUP, Service},
};

/// Known and unknown persons, with and without cars.
pub(crate) const PERSONS: [&str; 4] = [
    "199001011234",
    "198505155678",
    "200310209876",
    "197702299993",
];

/// Everything that the digits of one person may look like.
pub(crate) fn forms(person: &str) -> Vec<String> {
    let (date, last) = person.split_at(8);
    let encoded: Vec<_> = person.bytes().map(|byte| format!("%{byte:02X}")).collect();
    vec![
        person.to_owned(),
        format!("{date}-{last}"),
        format!("{date}%2D{last}"),
        format!("{}-{last}", &date[2..]),
        format!("request-{person}"),
        person[2..].to_owned(),
        encoded.concat(),
    ]
}

pub(crate) fn assert_free_of_persons(text: &str, what: &str) {
    for form in PERSONS.into_iter().flat_map(forms) {
        assert!(!text.contains(&form), "{what}: {form} in {text}");
    }
}

/// Requests that carry a person in every place where a caller could put one.
fn requests(person: &str) -> Vec<Request<Body>> {
    let mut requests = Vec::new();
    for form in forms(person) {
        let built = |method, path: &str, body: String| {
            Request::builder()
                .method(method)
                .uri(path)
                .header("x-api-key", API_KEY)
                .header("content-type", "application/json")
                .header("x-request-id", &form)
                .header("traceparent", &form)
                .header("user-agent", &form)
                .header("prefer", "handling=strict")
                .body(Body::from(body))
                .unwrap()
        };
        for path in [
            format!("/api/v1/insurances/{form}"),
            format!("/api/v1/insurances/{form}x"),
            format!("/api/v1/insurances/{form}/{form}"),
            format!("/api/v1/persons/{form}"),
            format!("/{form}"),
            format!("/healthz?personalIdentityNumber={form}"),
            format!("/api/v1/insurances/1?personalIdentityNumber={form}"),
        ] {
            requests.push(built(Method::GET, &path, String::new()));
            requests.push(built(Method::DELETE, &path, String::new()));
        }
        for body in [
            format!("{{\"personalIdentityNumber\":\"{form}\"}}"),
            format!("{{\"personalIdentityNumber\":\"{form}x\"}}"),
            format!("{{\"personalIdentityNumber\":{person}}}"),
            format!("{{\"personalIdentityNumber\":[\"{form}\"]}}"),
            format!("{{\"{form}\":\"{form}\"}}"),
            format!("{{\"personalIdentityNumber\":\"{form}\",\"{form}\":1}}"),
            format!("{{\"personalIdentityNumber\":\"{form}\""),
            format!("\"{form}\""),
            form.repeat(6_000),
            form.clone(),
        ] {
            requests.push(built(Method::POST, LOOKUP, body.clone()));
            let mut other = built(Method::POST, LOOKUP, body);
            other.headers_mut().remove("content-type");
            requests.push(other);
        }
        let mut keyed = built(
            Method::GET,
            &format!("/api/v1/insurances/{form}"),
            String::new(),
        );
        keyed
            .headers_mut()
            .insert("x-api-key", form.parse().unwrap());
        requests.push(keyed);
    }
    requests
}

/// Sends everything and looks at every answer: how many profiles there were.
async fn send_all(api: &Api, persons: &[&str]) -> usize {
    let mut profiles = 0;
    for request in persons.iter().copied().flat_map(requests) {
        let Answer {
            status,
            headers,
            body,
        } = api.send(request).await;
        assert_free_of_persons(&format!("{headers:?}"), "headers");
        if status == 200 {
            profiles += 1;
        } else {
            assert_free_of_persons(&String::from_utf8(body).unwrap(), "body");
        }
    }
    profiles
}

#[tokio::test]
async fn no_failure_names_a_person() {
    let (capture, _guard) = Capture::start(LevelFilter::TRACE);
    let vehicle = FakeVehicle::start(|request| match request.number % 4 {
        0 => Reply::status(500),
        1 => Reply::status(401),
        2 => Reply::Close,
        _ => Reply::json(200, &serde_json::Value::Null),
    })
    .await;
    let service = Service::with(vehicle, &[]).await;
    send_all(&service.api, &PERSONS[..1]).await;
    service
        .database
        .execute("alter table insurance.insurances rename to moved")
        .await;
    send_all(&service.api, &PERSONS[..1]).await;
    let log = capture.text();
    assert!(log.contains("the request failed") && log.contains("a call to Vehicle failed"));
    assert_free_of_persons(&log, "log");
    assert!(!log.contains("ABC123"), "{log}");
    assert_free_of_persons(&service.api.get("/metrics").await.text(), "metrics");
}
