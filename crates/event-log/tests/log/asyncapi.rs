//! The `AsyncAPI` document of the events: every type that a service can write, with what it says.

use std::{collections::BTreeSet, fs, path::Path};

use contracts::{
    CloudEvent, PolicyActivated, PolicyCancelled, PolicyChanged, PolicyDrafted, PolicyEnded,
    PolicyImported, PolicyMoved, PriceSet, VersionedVehicle,
};
use serde_json::{Map, Value, json};
use test_support::assert_committed;
use utoipa::ToSchema;

/// A type of event: what it says, and the schema of its data; none where the data is `null`.
type Kind = (
    &'static str,
    &'static str,
    Option<fn(&mut Map<String, Value>) -> String>,
);

const VEHICLE: [Kind; 3] = [
    (
        "vehicle.registered.v1",
        "A vehicle was registered; with its whole state.",
        Some(add::<VersionedVehicle>),
    ),
    (
        "vehicle.changed.v1",
        "A vehicle was changed; with its whole state.",
        Some(add::<VersionedVehicle>),
    ),
    ("vehicle.deregistered.v1", "A vehicle is gone.", None),
];

const INSURANCE: [Kind; 11] = [
    (
        "policy.imported.v1",
        "A policy came from elsewhere, or was there before the log.",
        Some(add::<PolicyImported>),
    ),
    (
        "policy.drafted.v1",
        "A policy was drafted.",
        Some(add::<PolicyDrafted>),
    ),
    (
        "policy.changed.v1",
        "A draft was changed, or a policy in force from a day on.",
        Some(add::<PolicyChanged>),
    ),
    (
        "policy.activated.v1",
        "A policy was activated, and its cost frozen.",
        Some(add::<PolicyActivated>),
    ),
    (
        "policy.suspended.v1",
        "A policy was suspended.",
        Some(add::<PolicyMoved>),
    ),
    (
        "policy.resumed.v1",
        "A policy was resumed.",
        Some(add::<PolicyMoved>),
    ),
    (
        "policy.cancelled.v1",
        "A draft was cancelled, or the end of a policy in force was decided.",
        Some(add::<PolicyCancelled>),
    ),
    (
        "policy.ended.v1",
        "The day of a policy's cancellation came, or its person was erased before it.",
        Some(add::<PolicyEnded>),
    ),
    (
        "policy.expired.v1",
        "The day after a policy's last came.",
        Some(add::<PolicyEnded>),
    ),
    (
        "policy.removed.v1",
        "A policy was deleted by hand. Its number is not given again.",
        None,
    ),
    (
        "price.set.v1",
        "A product costs something else from a day on.",
        Some(add::<PriceSet>),
    ),
];

/// Adds the schemas that a type needs: its own name.
fn add<T: ToSchema>(schemas: &mut Map<String, Value>) -> String {
    let name = T::name().into_owned();
    let mut found = Vec::new();
    T::schemas(&mut found);
    found.push((name.clone(), T::schema()));
    schemas.extend(
        found
            .into_iter()
            .map(|(name, schema)| (name, json!(schema))),
    );
    name
}

/// The events of the recorded examples of a service's feed.
fn recorded(examples: &str) -> Vec<Value> {
    let examples: Map<String, Value> = serde_json::from_str(examples).unwrap();
    let feed = examples
        .iter()
        .filter(|(name, _)| name.starts_with("get_events.200."));
    let pages = feed.map(|(_, example)| example["value"].as_array().unwrap().clone());
    pages.flatten().collect()
}

fn message(
    (kind, summary, data): Kind,
    schemas: &mut Map<String, Value>,
    recorded: &[Value],
) -> Value {
    let data = match data {
        Some(add) => json!({ "$ref": format!("#/components/schemas/{}", add(schemas)) }),
        None => json!({ "type": "null" }),
    };
    let is_gone = data["type"] == "null";
    let method = if is_gone {
        json!("DELETE")
    } else {
        Value::Null
    };
    let examples: Vec<_> = recorded
        .iter()
        .filter(|event| event["type"] == kind)
        .collect();
    let mut message = json!({
        "name": kind, "summary": summary, "contentType": "application/cloudevents+json",
        "payload": { "allOf": [
            { "$ref": "#/components/schemas/Event" },
            { "type": "object", "properties": {
                "type": { "const": kind }, "method": { "const": method }, "data": data,
            } },
        ] },
    });
    if let Some(event) = examples.first() {
        message["examples"] = json!([{ "name": "recorded", "payload": event }]);
    }
    message
}

fn document() -> Value {
    let mut document = json!({
        "asyncapi": "3.1.0",
        "info": {
            "title": "ThreadPilot events", "version": env!("CARGO_PKG_VERSION"),
            "description": "Every change of a vehicle and of a policy, as CloudEvents 1.0. Each service \
                gives its own in the order of its log over HTTP: `GET /api/v1/events` answers a batch of \
                them, as the service's OpenAPI document tells. An event may come again, and none is left \
                out. New members may come; a changed meaning is a new version of the type. None names a \
                person.",
        },
        "defaultContentType": "application/cloudevents+json",
        "components": { "schemas": {}, "messages": {}, "securitySchemes": { "api_key": {
            "type": "httpApiKey", "in": "header", "name": "X-Api-Key",
            "description": "A key with the scope `feed`.",
        } } },
    });
    let mut schemas = Map::new();
    add::<CloudEvent>(&mut schemas);
    for (service, host, kinds, examples) in [
        (
            "vehicle",
            "127.0.0.1:5081",
            &VEHICLE[..],
            include_str!("../../../vehicle-service/src/examples.json"),
        ),
        (
            "insurance",
            "127.0.0.1:5082",
            &INSURANCE[..],
            include_str!("../../../insurance-service/src/examples.json"),
        ),
    ] {
        document["servers"][service] = json!({
            "host": host, "protocol": "http", "description": "The local stack",
            "security": [{ "$ref": "#/components/securitySchemes/api_key" }],
        });
        let recorded = recorded(examples);
        let mut messages = Map::new();
        for kind in kinds {
            let name = kind.0.to_owned();
            let reference = json!({ "$ref": format!("#/components/messages/{name}") });
            document["components"]["messages"][&name] = message(*kind, &mut schemas, &recorded);
            messages.insert(name, reference);
        }
        document["channels"][service] = json!({
            "address": "/api/v1/events", "messages": messages,
            "servers": [{ "$ref": format!("#/servers/{service}") }],
        });
        document["operations"][format!("follow_{service}")] = json!({
            "action": "send", "channel": { "$ref": format!("#/channels/{service}") },
            "summary": "Events in the order of the log",
            "bindings": { "http": { "method": "GET" } },
        });
    }
    document["components"]["schemas"] = schemas.into();
    document
}

#[test]
fn the_document_of_the_events_is_what_the_code_says() {
    assert_committed("api/events.asyncapi.json", &document());
}

/// Whatever code or migration can write stands in one of them.
#[test]
fn every_type_that_a_service_can_write_is_in_the_document() {
    let kinds = VEHICLE.iter().chain(&INSURANCE);
    let documented: BTreeSet<_> = kinds.map(|(kind, ..)| (*kind).to_owned()).collect();
    let mut written = BTreeSet::new();
    for folder in [
        "migrations",
        "crates/contracts/src",
        "crates/insurance-service/src",
        "crates/vehicle-service/src",
    ] {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        types_in(&top.join(folder), &mut written);
    }
    assert_eq!(written, documented);
}

/// Every type of event that a file names.
fn types_in(path: &Path, types: &mut BTreeSet<String>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            types_in(&entry.unwrap().path(), types);
        }
        return;
    }
    let is_source = path.extension().is_some_and(|it| it == "rs" || it == "sql");
    let text = if is_source {
        fs::read_to_string(path).unwrap()
    } else {
        String::new()
    };
    let is_part = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == '.';
    let is_version = |it: &str| {
        it.strip_prefix('v')
            .is_some_and(|it| it.parse::<u32>().is_ok())
    };
    for word in text.split(|it| !is_part(it)) {
        let parts: Vec<_> = word.trim_end_matches('.').split('.').collect();
        if let [thing, change, version] = parts[..]
            && !thing.is_empty()
            && !change.is_empty()
            && is_version(version)
        {
            types.insert(parts.join("."));
        }
    }
}

/// An example of each type has the members that its schema tells, and no others. That their types fit, the parser says in `.ci/run api`.
#[test]
fn recorded_events_have_the_members_of_their_schemas() {
    let document = document();
    let messages = document["components"]["messages"].as_object().unwrap();
    for (kind, message) in messages {
        let payload = &message["examples"][0]["payload"];
        assert!(payload.is_object(), "{kind} has no example");
        let data = &message["payload"]["allOf"][1]["properties"]["data"];
        for (schema, value) in [
            (data, &payload["data"]),
            (&message["payload"]["allOf"][0], payload),
        ] {
            let given: Option<BTreeSet<_>> =
                value.as_object().map(|it| it.keys().cloned().collect());
            assert_eq!(
                given.unwrap_or_default(),
                members(&document, schema),
                "{kind}"
            );
        }
    }
}

/// The members that a schema demands, which are all that it has.
fn members(document: &Value, schema: &Value) -> BTreeSet<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return members(document, document.pointer(&reference[1..]).unwrap());
    }
    let parts = schema["allOf"].as_array().into_iter().flatten();
    let mut all: BTreeSet<_> = parts.flat_map(|part| members(document, part)).collect();
    let names = schema["properties"]
        .as_object()
        .into_iter()
        .flat_map(Map::keys);
    let demanded: Vec<_> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    for name in names {
        assert!(
            demanded.iter().any(|it| *it == name),
            "{name} is always there"
        );
        all.insert(name.clone());
    }
    all
}
