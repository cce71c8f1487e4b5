use std::collections::BTreeSet;

use axum::body::Body;
use http::{HeaderValue, Method, Request, header::CONTENT_TYPE};

use crate::{API_KEY, Collector, Ended, Remote};

/// People who are in no sample data: old and young, one of a leap day that never was, two with
/// coordination numbers.
pub const PEOPLE: [&str; 8] = [
    "184502033217",
    "189001019802",
    "191212121212",
    "197702299993",
    "198811237745",
    "199304914456",
    "200107685521",
    "202402293349",
];

/// How the 12 digits may be grouped.
const GROUPINGS: [&[usize]; 6] = [
    &[8, 4],
    &[4, 2, 2, 4],
    &[2, 6, 4],
    &[2, 2, 2, 2, 2, 2],
    &[6, 6],
    &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
];

/// What may stand between the groups.
const SEPARATORS: [&str; 14] = [
    "", "-", "+", "_", ".", ":", "/", "=", "~", " ", "--", "a", "T", "-x-",
];

/// Headers that take any text.
const HEADERS: [&str; 18] = [
    "x-request-id",
    "user-agent",
    "baggage",
    "b3",
    "referer",
    "origin",
    "if-none-match",
    "prefer",
    "cookie",
    "authorization",
    "accept",
    "accept-language",
    "x-forwarded-for",
    "forwarded",
    "idempotency-key",
    "x-correlation-id",
    "access-control-request-headers",
    "content-type",
];

/// Headers that end a request early when they hold such a text.
const FATAL_HEADERS: [&str; 4] = ["x-deadline-ms", "x-api-key", "host", "if-match"];

/// Over 800 texts that hold a personal identity number of somebody who is in no sample data: in
/// many spellings, and as request ids, trace ids and parents.
pub fn canaries() -> Vec<String> {
    PEOPLE.into_iter().flat_map(canaries_of).collect()
}

fn canaries_of(person: &str) -> BTreeSet<String> {
    let mut texts: BTreeSet<_> = GROUPINGS
        .into_iter()
        .flat_map(|grouping| SEPARATORS.map(|separator| grouped(person, grouping, separator)))
        .collect();
    let (date, last) = person.split_at(8);
    let (year, day) = date.split_at(4);
    let short = &date[2..];
    texts.extend([
        format!("{short}-{last}"),
        format!("{short}+{last}"),
        format!("{short}T{last}"),
        format!("request-{person}"),
        format!("{person}-0001"),
        format!("{date}T{last}Z"),
        format!("{short}.{last}"),
        format!("{year}-{day}-{last}"),
        format!("urn:uuid:{date}-{last}-4bcd-8bcd-abcdefabcdef"),
        // Groups of a UUID, of a version that exists and of one that does not.
        format!("{date}-{last}-abcd-abcd-abcdefabcdef"),
        format!("{date}-{last}-4bcd-8bcd-abcdefabcdef"),
        format!("abcdefab-abcd-4abc-8abc-{person}"),
        format!("abcdefab-{year}-{day}-{last}-abcdefabcdef"),
        // Trace ids and parents.
        format!("{person:0>32}"),
        format!("{person:0<32}"),
        format!("{person:a<32}"),
        format!("abcdef{person}abcdef00f067aa"),
        format!("{date}a{last}bcdef00f067aacdefab"),
        format!("{:b<32}", grouped(person, GROUPINGS[1], "a")),
        format!("{:c<32}", grouped(person, GROUPINGS[5], "f")),
        format!("{person}abcd"),
        format!("abcd{person}"),
    ]);
    texts
}

fn grouped(person: &str, grouping: &[usize], separator: &str) -> String {
    let mut rest = person;
    let groups = grouping.iter().map(|length| {
        let (group, others) = rest.split_at(*length);
        rest = others;
        group
    });
    groups.collect::<Vec<_>>().join(separator)
}

/// Sends each canary in every header, in the method and wherever a path has `{}`, percent-encoded
/// or not, and some of them posted to a path in a body that has `{}`. Looks for it in the answer:
/// its headers, and the body of an error. Returns how many answers were no error.
pub async fn send_canaries(at: Remote, paths: &[&str], post: (&str, &str)) -> usize {
    let mut answered = 0;
    for (index, canary) in canaries().iter().enumerate() {
        let path = paths[index % paths.len()].replace("{}", &escaped(canary, index % 2 == 0));
        let mut request = request(index, canary, &path);
        if index % 6 == 3 {
            *request.method_mut() = Method::POST;
            *request.uri_mut() = post.0.parse().unwrap();
            *request.body_mut() = Body::from(post.1.replace("{}", canary));
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, json);
        }
        let answer = at.send(request).await.unwrap();
        assert_ne!(answer.header("x-request-id"), canary);
        let mut shown = format!("{:?}", answer.headers);
        if answer.status.is_success() {
            answered += 1;
        } else {
            shown.push_str(&answer.text());
        }
        assert_free_of_canaries(&shown, "an answer");
    }
    answered
}

fn request(index: usize, canary: &str, path: &str) -> Request<Body> {
    let mut request = Request::builder().uri(path);
    for name in HEADERS {
        request = request.header(name, canary);
    }
    request = request.header("tracestate", format!("core={canary}"));
    // By its length it can be one of the two, or neither.
    let (trace, parent) = match canary.len() {
        32 => (canary, "00f067aa0ba902b7"),
        16 => ("4bf92f3577b34da6a3ce929d0e0e4736", canary),
        _ => ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"),
    };
    request = request.header("traceparent", format!("00-{trace}-{parent}-01"));
    let fatal = (index % 8 == 7).then(|| FATAL_HEADERS[index / 8 % FATAL_HEADERS.len()]);
    if let Some(name) = fatal {
        request = request.header(name, canary);
    }
    if fatal != Some("x-api-key") {
        request = request.header("x-api-key", API_KEY);
    }
    if index % 10 == 9 {
        let digits: String = canary.chars().filter(char::is_ascii_digit).collect();
        request = request.method(format!("M{digits}").as_str());
    }
    request.body(Body::empty()).unwrap()
}

/// A text as a part of a path: all of it percent-encoded, or only what has to be.
fn escaped(text: &str, whole: bool) -> String {
    let escape = |byte: u8| match byte {
        byte if !whole && byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// Looks for the digits of every canary, whatever stands between them in a line.
pub fn assert_free_of_canaries(text: &str, what: &str) {
    for line in text.lines() {
        let digits: String = line.chars().filter(char::is_ascii_digit).collect();
        for person in PEOPLE {
            assert!(
                !digits.contains(person) && !line.contains(&person[2..]),
                "{what} names {person}: {line}"
            );
        }
    }
}

/// Looks for canaries in everything that a service logged and exported, which has to tell of most
/// requests: some may be refused before they are one.
pub fn assert_log_and_spans_free_of_canaries(ended: &Ended, collector: &Collector) {
    let most = canaries().len() * 9 / 10;
    let closing = ended.lines.iter();
    let closing = closing.filter(|line| line["message"] == "request ended");
    assert!(closing.count() > most);
    for line in &ended.lines {
        assert_free_of_canaries(&line.to_string(), "the log");
    }
    let spans = collector.spans();
    assert!(spans.len() > most, "{}", spans.len());
    for span in &spans {
        assert_free_of_canaries(&format!("{span:?}"), "a span");
    }
    let exported = collector.text();
    assert_free_of_canaries(&exported, "what is exported");
    assert!(!exported.contains("core="), "a trace state is exported");
}
