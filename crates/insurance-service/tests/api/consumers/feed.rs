//! A Vehicle whose log is told by a test: the car `C000001` is registered at the place 1 with the
//! version 1, and so on, one a day in the first month.

use serde_json::{Value, json};
use test_support::{FakeVehicle, Gate, Reply, Request};

pub(super) const LOG: &str = "0192f3c4-5b8f-7a60-9d5c-0c3f5e7d2b11";

/// Id of the event at this place.
pub(super) fn id(position: usize) -> String {
    format!("0192f3c4-5b8f-7a60-9d5c-{position:012}")
}

fn event(position: usize, car: usize, day: usize) -> Value {
    let number = format!("C{car:06}");
    let subject = format!("vehicle/{number}");
    // From the first of January 2026 on.
    let time = humantime::format_rfc3339_seconds(
        std::time::UNIX_EPOCH + std::time::Duration::from_secs((20_453 + day as u64) * 86_400),
    );
    json!({
        "specversion": "1.0", "id": id(position), "source": "/local/vehicle",
        "type": "vehicle.registered.v1", "subject": subject, "time": time.to_string(),
        "datacontenttype": "application/json", "sequence": format!("{position:020}"),
        "partitionkey": subject, "aggregateversion": position, "correlationid": "none",
        "causationid": null, "traceparent": null, "authtype": "system", "authid": "database/x",
        "method": null,
        "data": { "registrationNumber": number, "make": "Volvo", "model": "XC60",
                  "modelYear": 2021, "version": position },
    })
}

/// So many registrations.
pub(super) fn events(count: usize) -> Vec<Value> {
    (1..=count).map(|it| event(it, it, it.min(30))).collect()
}

/// The end of this car at this place.
pub(super) fn gone(position: usize, car: usize) -> Value {
    let mut event = event(position, car, position);
    event["type"] = json!("vehicle.deregistered.v1");
    event["method"] = json!("DELETE");
    event["data"] = Value::Null;
    event
}

/// What the feed says to a request.
pub(super) fn answer(events: &[Value], request: &Request) -> Reply {
    let query = request.path.split_once('?').map_or("", |(_, query)| query);
    let value = |name: &str| {
        let mut sent = query.split('&').filter_map(|it| it.split_once('='));
        let found = sent.find(|(known, _)| *known == name);
        found.map(|(_, value)| value.to_owned())
    };
    let number = |name: &str| value(name).map(|it| it.parse::<usize>().unwrap());
    let after = match (value("lastEventId"), number("fromPosition"), value("since")) {
        (Some(last), ..) => last[24..].parse().unwrap(),
        (_, Some(from), _) => from - 1,
        (.., Some(since)) => {
            let since = since
                .replace("%3A", ":")
                .replace("%2E", ".")
                .replace("%2D", "-");
            let before = events
                .iter()
                .filter(|it| it["time"].as_str().unwrap() < &*since);
            before.count()
        }
        _ => 0,
    };
    let page: Vec<_> = events
        .iter()
        .skip(after)
        .take(number("limit").unwrap())
        .collect();
    page_of(&page, after + page.len(), events.len())
}

fn page_of(page: &[&Value], last: usize, all: usize) -> Reply {
    let headers = vec![
        (
            "content-type",
            "application/cloudevents-batch+json".to_owned(),
        ),
        ("log-id", LOG.to_owned()),
        ("log-position", all.to_string()),
        ("next-event-id", id(last)),
    ];
    Reply::Answer(200, headers, json!(page).to_string())
}

/// A log of so many registrations.
pub(super) async fn of(count: usize) -> FakeVehicle {
    serving(events(count)).await
}

/// A log of these events.
pub(super) async fn serving(events: Vec<Value>) -> FakeVehicle {
    FakeVehicle::start(move |request| answer(&events, request)).await
}

/// A log of so many registrations that holds the page after this place back.
pub(super) async fn held(count: usize, after: usize, gate: &Gate) -> FakeVehicle {
    let (events, gate) = (events(count), gate.clone());
    FakeVehicle::start(move |request| {
        let page = answer(&events, request);
        if request.path.contains(&format!("lastEventId={}", id(after))) {
            page.held(&gate)
        } else {
            page
        }
    })
    .await
}

/// A log that ends at this place, so many days after its beginning; other pages never come.
pub(super) async fn far(last: usize, days: usize) -> FakeVehicle {
    FakeVehicle::start(move |request| {
        let first =
            request.path.contains("fromPosition=1&") || request.path.ends_with("fromPosition=1");
        if request.path.contains("limit=1&") {
            let (position, day) = if first { (1, 0) } else { (last, days) };
            page_of(&[&event(position, 1, day)], position, last)
        } else {
            Reply::Hang
        }
    })
    .await
}
