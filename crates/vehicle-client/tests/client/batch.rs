//! Batch calls: how numbers are shared out, and what an answer says about each.

use contracts::Source;
use serde_json::{Value, json};
use test_support::{FakeVehicle, Reply, Request};
use vehicle_client::{FailureKind, Lookup, Strategy};

use crate::setup::{client, found, kind, many, patient, unhurried};

fn answer(vehicles: &[Value], not_found: &[&str], invalid: &Value) -> Reply {
    let body = json!({ "vehicles": vehicles, "notFound": not_found, "invalid": invalid });
    Reply::json(200, &body)
}

#[tokio::test]
async fn numbers_are_shared_out_over_calls_of_the_largest_size() {
    let fake = FakeVehicle::healthy().await;
    let client = client(&patient(&fake));
    let numbers = many("ABC", 120);
    let lookups = client
        .vehicles
        .look_up(&numbers, Strategy::Batch, &unhurried())
        .await;
    assert_eq!(lookups.len(), 120);
    assert!(lookups.values().all(|it| found(it) == Source::Batch));
    let requests = fake.requests();
    let sizes: Vec<_> = requests.iter().map(|it| it.numbers().len()).collect();
    assert_eq!(sizes, [50, 50, 20]);
    let mut asked: Vec<_> = requests.iter().flat_map(Request::numbers).collect();
    asked.sort();
    let mut expected: Vec<_> = numbers.iter().map(ToString::to_string).collect();
    expected.sort();
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn a_batch_says_of_each_number_what_vehicle_says() {
    let fake = FakeVehicle::healthy().await;
    let lookups = client(&patient(&fake))
        .all(&["ABC123", "ZZZ999"], Strategy::Batch, &unhurried())
        .await;
    assert_eq!(found(&lookups["ABC123"]), Source::Batch);
    let not_found = Lookup::NotFound {
        source: Source::Batch,
    };
    assert_eq!(lookups["ZZZ999"], not_found);
}

#[tokio::test]
async fn a_failed_batch_is_told_honestly_and_followed_by_no_single_calls() {
    let fake = FakeVehicle::start(|request| match request.number {
        1 => Reply::status(500),
        _ => Reply::healthy(request),
    })
    .await;
    let mut options = patient(&fake);
    options.max_batch_size = 2;
    let lookups = client(&options)
        .all(
            &["AAA11", "AAA12", "BBB21", "BBB22", "CCC31"],
            Strategy::Batch,
            &unhurried(),
        )
        .await;
    for number in ["AAA11", "AAA12", "CCC31"] {
        assert_eq!(found(&lookups[number]), Source::Batch);
    }
    for number in ["BBB21", "BBB22"] {
        assert_eq!(kind(&lookups[number]), FailureKind::ServerError);
    }
    let methods: Vec<_> = fake.requests().into_iter().map(|it| it.method).collect();
    assert_eq!(methods, ["POST", "POST", "POST"]);
}

#[tokio::test]
async fn a_batch_that_fails_for_a_passing_reason_is_made_again() {
    let fake = FakeVehicle::start(|request| match request.number {
        0 => Reply::status(503),
        _ => Reply::healthy(request),
    })
    .await;
    let lookups = client(&patient(&fake))
        .all(&["AAA111", "BBB222"], Strategy::Batch, &unhurried())
        .await;
    assert!(lookups.values().all(|it| found(it) == Source::Batch));
    assert_eq!(fake.calls(), 2);
}

#[tokio::test]
async fn an_answer_to_another_question_is_used_for_no_number() {
    let volvo = Reply::vehicle;
    for reply in [
        answer(&[volvo("ABC123"), volvo("XXX999")], &["DEF456"], &json!([])),
        answer(
            &[volvo("ABC123"), volvo("abc 123")],
            &["DEF456"],
            &json!([]),
        ),
        answer(&[volvo("ABC123")], &["ABC123", "DEF456"], &json!([])),
        answer(&[volvo("ABC123")], &["DEF456", "XXX999"], &json!([])),
        answer(
            &[volvo("ABC123"), volvo("DEF456")],
            &[],
            &json!([{ "registrationNumber": "DEF456", "reason": "…" }]),
        ),
        Reply::json(200, &json!([volvo("ABC123"), volvo("DEF456")])),
        Reply::json(200, &json!({ "vehicles": [volvo("ABC123")] })),
        Reply::json(200, &Value::Null),
        Reply::status(404),
        Reply::status(413),
    ] {
        let sent = reply.clone();
        let fake = FakeVehicle::start(move |_| sent.clone()).await;
        let lookups = client(&patient(&fake))
            .all(&["ABC123", "DEF456"], Strategy::Batch, &unhurried())
            .await;
        for lookup in lookups.values() {
            assert_eq!(kind(lookup), FailureKind::ContractViolation, "{reply:?}");
        }
        assert_eq!(fake.calls(), 1, "{reply:?}");
    }
}

#[tokio::test]
async fn a_number_that_is_left_out_harms_no_other() {
    for invalid in [
        json!([]),
        json!([{ "registrationNumber": "DEF456", "reason": "…" }]),
    ] {
        let fake =
            FakeVehicle::start(move |_| answer(&[Reply::vehicle("ABC123")], &[], &invalid)).await;
        let lookups = client(&patient(&fake))
            .all(&["ABC123", "DEF456"], Strategy::Batch, &unhurried())
            .await;
        assert_eq!(found(&lookups["ABC123"]), Source::Batch);
        assert_eq!(kind(&lookups["DEF456"]), FailureKind::ContractViolation);
        assert_eq!(fake.calls(), 1);
    }
}
