//! A Vehicle that has the cars and tells the events that a test says.

use serde_json::{Value, json};
use test_support::{Reply, Request};

/// Id of the event of this number, from 1 on; that of 0 is the log's.
pub(super) fn id(number: usize) -> String {
    format!("00000000-0000-7000-8000-{number:012}")
}

/// The car of this number.
fn car(number: usize) -> Value {
    json!({ "registrationNumber": format!("C{number:06}"), "make": "Volvo", "model": null,
            "modelYear": 2021, "version": number })
}

/// The event of this number at this place: of a car of its own.
pub(super) fn event(number: usize, place: usize) -> String {
    let event = json!({
        "specversion": "1.0", "id": id(number), "type": "vehicle.registered.v1",
        "subject": format!("vehicle/C{number:06}"), "sequence": format!("{place:020}"),
        "aggregateversion": number, "method": null, "data": car(number),
    });
    event.to_string()
}

/// The same of a later version, for the car of the event of this number.
pub(super) fn later(number: usize, place: usize) -> String {
    let event = event(number, place).replace(".v1", ".v2");
    event.replace(&id(number), &id(place))
}

/// One that is none, about a car.
pub(super) fn unreadable(place: usize, car: &str) -> String {
    json!({ "sequence": format!("{place:020}"), "subject": format!("vehicle/{car}") }).to_string()
}

/// Events at these places.
pub(super) fn events(places: &[usize]) -> Vec<String> {
    let places = (1..).zip(places);
    places
        .map(|(number, place)| event(number, *place))
        .collect()
}

pub(super) fn is_of_register(request: &Request) -> bool {
    request.path.starts_with("/api/v1/vehicles")
}

/// A page of a register with a car on each: the next one, up to the last.
pub(super) fn next_car(request: &Request, last: usize) -> Reply {
    let after = request.path.split_once("after=C");
    let number = after.map_or(1, |(_, after)| after.parse::<usize>().unwrap() + 1);
    let car = car(number);
    let next = (number < last).then(|| car["registrationNumber"].clone());
    register(&json!({ "vehicles": [car], "next": next }))
}

fn register(page: &Value) -> Reply {
    let headers = [
        ("log-id", id(0)),
        ("content-type", "application/json".to_owned()),
        ("log-position", "0".to_owned()),
    ];
    Reply::Answer(200, headers.to_vec(), page.to_string())
}

/// What Vehicle says where its log has these events and ends at this place.
pub(super) fn answer(request: &Request, events: &[String], end: usize) -> Reply {
    if is_of_register(request) {
        return register(&json!({ "vehicles": [], "next": null }));
    }
    let path = request.path.as_str();
    let mut headers = vec![("log-id", id(0))];
    let named = path.split_once("lastEventId=00000000-0000-7000-8000-");
    let after = named.map_or(0, |(_, number)| number[..12].parse().unwrap());
    let (_, limit) = path.split_once("limit=").unwrap();
    let limit = limit.split('&').next().unwrap().parse().unwrap();
    let page: Vec<_> = events.iter().skip(after).take(limit).cloned().collect();
    let kind = "application/cloudevents-batch+json".to_owned();
    headers.push(("content-type", kind));
    headers.push(("log-position", end.to_string()));
    headers.push(("next-event-id", id(after + page.len())));
    Reply::Answer(200, headers, format!("[{}]", page.join(",")))
}

/// The same, for as long as it is asked.
pub(super) fn telling(
    events: Vec<String>,
    end: usize,
) -> impl FnMut(&Request) -> Reply + Send + 'static {
    move |request| answer(request, &events, end)
}
