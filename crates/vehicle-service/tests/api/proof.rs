//! Proofs, as somebody verifies them who has the public key and nothing else of ours: by the
//! recursive definitions of RFC 9162, which the service does not use.

use std::time::UNIX_EPOCH;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::Method;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use test_support::{Answer, LOG, keyless, send, until};

use super::{
    register::{WRITER, change},
    service::Service,
};

const AUDIT: &str = "/api/v1/audit";

type Hash = [u8; 32];

/// What a checkpoint says that was signed with the key of [`LOG`].
#[derive(Clone, Debug, PartialEq)]
struct Checkpoint {
    note: String,
    size: u64,
    root: Hash,
}

impl Checkpoint {
    fn open(note: &str) -> Self {
        let (text, signature) = note.split_once("\n\n— threadpilot/vehicle ").unwrap();
        let text = format!("{text}\n");
        let signature = BASE64_STANDARD.decode(signature.trim_end()).unwrap();
        let seed = hex::decode(LOG[2].1).unwrap();
        let key = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let key = key.public_key().as_ref();
        let id = Sha256::digest([b"threadpilot/vehicle\n\x01", key].concat());
        assert_eq!(signature[..4], id[..4], "another key");
        UnparsedPublicKey::new(&ED25519, key)
            .verify(text.as_bytes(), &signature[4..])
            .unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("threadpilot/vehicle/"), "{note}");
        Self {
            note: note.to_owned(),
            size: lines[1].parse().unwrap(),
            root: hash(lines[2]),
        }
    }
}

fn hash(base64: &str) -> Hash {
    BASE64_STANDARD.decode(base64).unwrap().try_into().unwrap()
}

fn hashes(proof: &Value) -> Vec<Hash> {
    let hashes = proof["hashes"].as_array().unwrap().iter();
    hashes.map(|it| hash(it.as_str().unwrap())).collect()
}

fn node(left: Hash, right: Hash) -> Hash {
    Sha256::digest([&[1], &left[..], &right[..]].concat()).into()
}

/// The largest power of two below a size.
fn split(size: u64) -> u64 {
    size.next_power_of_two() / 2
}

/// The root that an inclusion proof leads to (the inverse of PATH, RFC 9162, 2.1.3).
fn root_of(leaf: Hash, index: u64, size: u64, path: &mut Vec<Hash>) -> Hash {
    if size == 1 {
        return leaf;
    }
    let (last, left) = (path.pop().unwrap(), split(size));
    if index < left {
        node(root_of(leaf, index, left, path), last)
    } else {
        node(last, root_of(leaf, index - left, size - left, path))
    }
}

/// The roots that a consistency proof leads to (the inverse of SUBPROOF, RFC 9162, 2.1.4). `old`
/// is the root of the smaller tree where that is a subtree of its own.
fn roots_of(from: u64, to: u64, old: Option<Hash>, path: &mut Vec<Hash>) -> (Hash, Hash) {
    if from == to {
        let root = old.unwrap_or_else(|| path.pop().unwrap());
        return (root, root);
    }
    let (last, left) = (path.pop().unwrap(), split(to));
    if from <= left {
        let (old, new) = roots_of(from, left, old, path);
        (old, node(new, last))
    } else {
        let (old, new) = roots_of(from - left, to - left, None, path);
        (node(last, old), node(last, new))
    }
}

/// The hash of an event's leaf, of nothing but what was answered.
fn leaf(answer: &Answer) -> Hash {
    let (shown, text) = (answer.json(), answer.text());
    let event = &shown["event"];
    let mut bytes = vec![0, 1];
    let mut put = |field: Option<Vec<u8>>| match field {
        None => bytes.push(0),
        Some(field) => {
            bytes.push(1);
            bytes.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
            bytes.extend(field);
        }
    };
    let number = |value: &Value| Some(value.as_i64().unwrap().to_be_bytes().to_vec());
    let string = |value: &Value| value.as_str().map(|it| it.as_bytes().to_vec());
    let id = |value: &Value| Some(hex::decode(value.as_str()?.replace('-', "")).unwrap());
    let time = |value: &Value| {
        let time = humantime::parse_rfc3339(value.as_str().unwrap()).unwrap();
        let since = time.duration_since(UNIX_EPOCH).unwrap().as_micros();
        Some(i64::try_from(since).unwrap().to_be_bytes().to_vec())
    };
    put(number(&shown["position"]));
    put(id(&event["id"]));
    let subject = event["subject"].as_str().unwrap().split_once('/').unwrap();
    put(Some(subject.0.into()));
    put(Some(subject.1.into()));
    put(number(&event["aggregateversion"]));
    put(string(&event["type"]));
    put(time(&event["time"]));
    put(string(&event["authid"]));
    put(string(&event["correlationid"]));
    put(id(&event["causationid"]));
    put(string(&event["traceparent"]));
    put(time(&shown["placedAt"]));
    // As it was answered, byte for byte.
    let data = text.split_once("\"data\":").unwrap().1;
    put(Some(data.strip_suffix("}}").unwrap().into()));
    Sha256::digest(bytes).into()
}

async fn get(service: &Service, path: &str) -> Answer {
    let request = keyless(Method::GET, &format!("{AUDIT}/{path}")).header("x-api-key", LOG[0].1);
    send(&service.api, request).await
}

/// Changes a vehicle and a thousand other things, after which a checkpoint is due: the id of the
/// vehicle's event, and the checkpoint.
async fn grow(service: &Service, plate: &str, after: u64) -> (String, Checkpoint) {
    let saab = json!({ "make": "Saab", "model": "9-5", "modelYear": 2011 });
    let cause = "0192f3c4-0000-7000-8000-00000000abcd";
    let headers = [("if-none-match", "*"), ("x-causation-id", cause)];
    let path = format!("/api/v1/vehicles/{plate}");
    let changed = change(service, Method::PUT, &path, &headers, &saab).await;
    let fill = format!(
        "insert into vehicle_events.events
             (event_id, aggregate_type, aggregate_id, version, event_type, actor, correlation_id, data)
         select gen_random_uuid(), 'vehicle', '{plate} ' || n, 1, 'vehicle.changed.v1', 'key/x', 'none', '{{}}'
         from generate_series(1, 1000) as n"
    );
    service.database.execute(&fill).await;
    let checkpoint = until(async || {
        let answer = get(service, "checkpoint").await;
        if answer.status != 200 {
            return None;
        }
        assert!(answer.header("content-type").starts_with("text/plain"));
        let checkpoint = Checkpoint::open(&answer.text());
        (checkpoint.size >= after + 1_000).then_some(checkpoint)
    })
    .await;
    (changed.header("event-id").to_owned(), checkpoint)
}

async fn assert_proven(service: &Service, event: &str, size: &str, checkpoint: &Checkpoint) {
    let shown = get(service, &format!("events/{event}")).await;
    let proof = get(service, &format!("events/{event}/proof{size}")).await;
    assert_eq!(proof.status, 200, "{}", proof.text());
    let proof = proof.json();
    let leaf = leaf(&shown);
    assert_eq!(hash(proof["leafHash"].as_str().unwrap()), leaf);
    assert_eq!(proof["position"], shown.json()["position"]);
    assert_eq!(proof["checkpoint"], checkpoint.note);
    assert_eq!(proof["size"], checkpoint.size);
    let index = proof["position"].as_u64().unwrap() - 1;
    let mut path = hashes(&proof);
    let root = root_of(leaf, index, checkpoint.size, &mut path);
    assert_eq!((root, path), (checkpoint.root, vec![]), "{event} {size}");
}

#[tokio::test]
async fn what_the_service_proves_is_verified_without_it() {
    let service = Service::with(&[&LOG[..], &WRITER].concat()).await;
    let (first, old) = grow(&service, "NEW001", 0).await;
    let (second, new) = grow(&service, "NEW002", old.size).await;
    for (event, size, checkpoint) in [
        (&first, String::new(), &new),
        (&second, String::new(), &new),
        (&first, format!("?size={}", old.size), &old),
        (&second, format!("?size={}", new.size), &new),
    ] {
        assert_proven(&service, event, &size, checkpoint).await;
    }
    for to in [String::new(), format!("&to={}", new.size)] {
        let path = format!("checkpoint/consistency?from={}{to}", old.size);
        let proof = get(&service, &path).await.json();
        assert_eq!(
            (&proof["from"], &proof["to"]),
            (&json!(old.size), &json!(new.size))
        );
        let mut path = hashes(&proof);
        let roots = roots_of(old.size, new.size, Some(old.root), &mut path);
        assert_eq!((roots, path), ((old.root, new.root), vec![]));
    }
    let earlier = get(&service, &format!("checkpoint?size={}", old.size)).await;
    assert_eq!(Checkpoint::open(&earlier.text()), old);

    // What is not proven yet, and what never will be.
    let (old, beyond) = (old.size, new.size + 1_000_000);
    let new_one = [("if-none-match", "*")];
    let saab = json!({ "make": "Saab", "model": null, "modelYear": null });
    change(
        &service,
        Method::PUT,
        "/api/v1/vehicles/NEW003",
        &new_one,
        &saab,
    )
    .await;
    let unsigned = new.size + 1;
    let placed = format!("/api/v1/events?fromPosition={unsigned}&timeout=20000");
    let request = keyless(Method::GET, &placed).header("x-api-key", LOG[0].1);
    assert_eq!(send(&service.api, request).await.status, 200);
    for (path, status, code) in [
        ("checkpoint?size=1".to_owned(), 404, "checkpoint_not_found"),
        (
            format!("events/{second}/proof?size={old}"),
            404,
            "checkpoint_not_found",
        ),
        (
            format!("events/{first}/proof?size=1"),
            404,
            "checkpoint_not_found",
        ),
        (
            format!("events/{first}/proof?size={beyond}"),
            409,
            "not_yet_signed",
        ),
        (format!("checkpoint?size={beyond}"), 409, "not_yet_signed"),
        (
            format!("checkpoint/consistency?from=1&to={beyond}"),
            409,
            "not_yet_signed",
        ),
        (
            format!("checkpoint/consistency?from=1&to={unsigned}"),
            409,
            "not_yet_signed",
        ),
        (
            format!("checkpoint/consistency?from={beyond}"),
            409,
            "not_yet_signed",
        ),
    ] {
        let answer = get(&service, &path).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.problem()["code"]),
            (status, &json!(code)),
            "{path}"
        );
        assert_eq!(
            answer.header("retry-after").is_empty(),
            status == 404,
            "{path}"
        );
    }
}
