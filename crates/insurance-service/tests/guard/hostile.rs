//! Whatever Vehicle answers, nobody gets a 5xx or another's car.

use std::time::Duration;

use serde_json::{Value, json};
use test_support::{FakeVehicle, Reply, Request};

use super::{
    load::{closely, strikes},
    service::{PATIENT, Policy, Service, WITHOUT_BREAKER, WITHOUT_CACHE},
};

const BATCH: [(&str, &str); 1] = [("FEATURE_TOGGLES__ENABLE_BATCH_VEHICLE_CALL", "true")];

#[tokio::test]
async fn a_hostile_answer_is_told_by_its_documented_cause() {
    let vehicle = FakeVehicle::healthy().await;
    let wrong_plate = Reply::json(200, &Reply::vehicle("WRONG99"));
    let batch_with_wrong_plate = json!({
        "vehicles": [Reply::vehicle("C000000"), Reply::vehicle("WRONG99")],
        "notFound": [],
        "invalid": [],
    });
    let redirect = format!("{}/elsewhere", vehicle.url());
    for settings in [&[][..], &BATCH] {
        let settings = [settings, &PATIENT, &WITHOUT_CACHE, &WITHOUT_BREAKER].concat();
        let service = Service::with_cars(&vehicle, 1, 4, &settings).await;
        for (reply, cause) in [
            (raw("content-length: 1000", b"{"), "contract_violation"),
            (
                raw("transfer-encoding: chunked", b"5\r\n{\"reg"),
                "contract_violation",
            ),
            (
                Reply::Answer(200, Vec::new(), "<html>".into()),
                "contract_violation",
            ),
            (Reply::json(200, &json!([])), "contract_violation"),
            (wrong_plate.clone(), "contract_violation"),
            (
                Reply::json(200, &batch_with_wrong_plate),
                "contract_violation",
            ),
            (Reply::Endless, "contract_violation"),
            (
                Reply::with_header(302, "location", &redirect),
                "contract_violation",
            ),
            (gzip_bomb(), "contract_violation"),
        ] {
            let told = format!("{reply:?}").chars().take(80).collect::<String>();
            vehicle.script(move |_| reply.clone());
            for policy in service.policies(0).await {
                assert_eq!(
                    (policy.status(), policy.cause()),
                    ("unavailable", cause),
                    "{told}"
                );
                assert_eq!(policy.0["vehicle"], Value::Null, "{told}");
            }
        }
    }
    // Nobody followed the redirect.
    assert!(
        vehicle
            .requests()
            .iter()
            .all(|call| call.path.starts_with("/api/v1/vehicles/"))
    );
}

#[tokio::test]
async fn nobody_gets_the_vehicle_of_another_number_from_single_calls() {
    let settings = [("VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_SINGLE", "50")];
    no_vehicle_is_mixed_up(&settings).await;
}

#[tokio::test]
async fn nobody_gets_the_vehicle_of_another_number_from_batch_calls() {
    let settings = [("VEHICLE_CLIENT__MAX_DEGREE_OF_PARALLELISM_BATCH", "4")];
    no_vehicle_is_mixed_up(&[&settings[..], &BATCH].concat()).await;
}

/// 1,000 vehicles, asked for side by side and by two at a time, with answers out of order and
/// some of them for other numbers.
async fn no_vehicle_is_mixed_up(settings: &[(&str, &str)]) {
    const PERSONS: usize = 50;
    const CARS_EACH: usize = 20;
    let vehicle = FakeVehicle::start(|request| {
        let pause = Duration::from_millis((request.number * 7_919 % 20) as u64);
        let reply = if strikes(5, request.number) {
            Reply::json(200, &marked("WRONG99"))
        } else {
            marked_for(request)
        };
        reply.after(pause)
    })
    .await;
    let settings = [settings, &PATIENT, &WITHOUT_CACHE, &WITHOUT_BREAKER].concat();
    let service = Service::with_cars(&vehicle, PERSONS, CARS_EACH, &settings).await;
    let ask = async |request: usize| service.policies(request / 2).await;
    let policies = closely(4, 0..2 * PERSONS, ask).await.concat();
    let mut enriched = 0;
    for Policy(policy) in &policies {
        let number = policy["carRegistrationNumber"].as_str().unwrap();
        if policy["enrichment"]["status"] == "enriched" {
            assert_eq!(policy["vehicle"], marked(number));
            enriched += 1;
        } else {
            assert_eq!(policy["vehicle"], Value::Null);
        }
    }
    assert!(enriched >= policies.len() * 3 / 4);
}

/// A vehicle that has its number for a model as well.
fn marked(number: &str) -> Value {
    let mut vehicle = Reply::vehicle(number);
    vehicle["model"] = number.into();
    vehicle
}

fn marked_for(request: &Request) -> Reply {
    if request.method == "POST" {
        let numbers = request.numbers();
        let vehicles: Vec<_> = numbers.iter().rev().map(|number| marked(number)).collect();
        let body = json!({ "vehicles": vehicles, "notFound": [], "invalid": [] });
        return Reply::json(200, &body);
    }
    Reply::json(200, &marked(request.path.rsplit('/').next().unwrap()))
}

/// An answer of 200 with this header that ends in the middle of its body.
fn raw(header: &str, body: &[u8]) -> Reply {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{header}\r\n\r\n");
    Reply::Raw([head.as_bytes(), body].concat())
}

/// 100 KiB that are 16 MiB of spaces once they are unpacked (RFC 1951, fixed Huffman codes): one
/// space, and again and again "258 bytes like the last one".
fn gzip_bomb() -> Reply {
    const COPIES: usize = 65_000;
    // A last block of fixed codes, then the code of a space, highest bit first.
    let mut bits = vec![1, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0];
    for _ in 0..COPIES {
        // Length 258, distance 1.
        bits.extend([1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
    }
    bits.extend([0; 7]);
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    packed.extend(bits.chunks(8).map(|byte| {
        let bits = byte.iter().enumerate();
        bits.fold(0, |byte, (place, bit)| byte | bit << place)
    }));
    let length = packed.len();
    raw(
        &format!("connection: close\r\ncontent-encoding: gzip\r\ncontent-length: {length}"),
        &packed,
    )
}
