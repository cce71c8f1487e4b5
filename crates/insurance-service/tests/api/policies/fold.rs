//! What is stored of a policy is what its events say.

use std::fmt::Write;

use event_log::StateError;
use insurance_service::{InsuranceService, Look};
use proptest::{
    prelude::{Just, Strategy, any, prop},
    strategy::ValueTree,
    test_runner::TestRunner,
};
use serde_json::{Value, json};
use service_defaults::service::Service;
use test_support::Answer;

use super::{Desk, desk::day, expiry::worker_on};

async fn verify(desk: &Desk) -> Result<String, String> {
    let settings = desk.0.process.settings();
    let verified = InsuranceService::verify_state(&settings.service).await;
    verified.map_err(|error| error.to_string())
}

/// Changes tables as their owner can: past the triggers.
async fn tamper(desk: &Desk, changes: &str) {
    let tampered = [
        "alter table insurance.insurances disable trigger demand_an_event;
         alter table insurance_events.events disable trigger append_only;",
        changes,
        ";alter table insurance.insurances enable always trigger demand_an_event;
         alter table insurance_events.events enable always trigger append_only",
    ];
    desk.0.database.execute(&tampered.concat()).await;
}

/// What is done to a policy, and what is said of it.
const DIFFERENCES: [(&str, &str); 18] = [
    ("update insurances set status = 'active'", "status differ"),
    ("update insurances set version = 9", "version differ"),
    (
        "update insurances set valid_from = '2020-01-02'",
        "validFrom differ",
    ),
    (
        "update insurances set valid_until = '2099-01-02'",
        "validUntil differ",
    ),
    (
        "update insurances set cancelled_on = '2099-01-02', valid_until = '2099-01-02'",
        "validUntil, cancelledOn differ",
    ),
    (
        "update insurances set monthly_cost = 31",
        "monthlyCost differ",
    ),
    (
        "update insurances set car_registration_number = 'JKL012'",
        "carRegistrationNumber differ",
    ),
    (
        "update insurances set product = 'pet', car_registration_number = null",
        "product, carRegistrationNumber differ",
    ),
    ("update covers set car = 'JKL012'", "covers differ"),
    ("update covers set monthly_cost = 31", "covers differ"),
    ("update covers set overlapping = true", "covers differ"),
    (
        "update covers set cover = '[2020-01-01,2020-01-02)'",
        "covers differ",
    ),
    ("delete from covers", "covers differ"),
    (
        "delete from told where version = 1",
        "an event cannot follow the one before it",
    ),
    ("delete from told where version = 2", "an event is missing"),
    (
        "delete from told where version = 3",
        "status, version differ",
    ),
    ("delete from told", "it has no event"),
    (
        "update told set data = replace(data::text, '30', '31')::json",
        "monthlyCost, covers differ",
    ),
];

#[tokio::test]
async fn every_kind_of_difference_from_the_events_is_found_and_named() {
    let desk = Desk::open().await;
    let (mut expected, mut changes) = (Vec::new(), String::new());
    for (number, (change, why)) in DIFFERENCES.iter().enumerate() {
        let (id, tag) = desk.activate(&format!("TAM{number:03}")).await;
        desk.go(id, &tag, "suspended").await;
        // Views of the one policy.
        writeln!(
            changes,
            "create view insurances as select * from insurance.insurances where insurance_id = {id};
             create view covers as select * from insurance.covers where insurance_id = {id};
             create view told as select * from insurance_events.events
                 where aggregate_type = 'policy' and aggregate_id = '{id}';
             {change};
             drop view insurances, covers, told;"
        )
        .unwrap();
        expected.push(format!("policy {id}: {why}"));
    }
    let (id, _) = desk.activate("TAM999").await;
    writeln!(
        changes,
        "delete from insurance.covers where insurance_id = {id};
         delete from insurance.insurances where insurance_id = {id};"
    )
    .unwrap();
    expected.push(format!("policy {id}: it has events and is gone"));
    let whole = verify(&desk).await.unwrap();
    assert_eq!(
        whole.trim_end(),
        "24 compared, 0 differ from what their events say"
    );
    tamper(&desk, &changes).await;
    let said = verify(&desk).await.unwrap_err();
    let named: Vec<_> = said.lines().skip(1).collect();
    assert_eq!(named, expected);
}

#[tokio::test]
async fn a_report_names_the_first_of_many() {
    let desk = Desk::open().await;
    let load = "insert into insurance.insurances
             (insurance_id, personal_identity_number, product, monthly_cost)
         select n, '197001019999', 'pet', 1 from generate_series(1, 2500) n";
    desk.0.database.execute(load).await;
    let whole = verify(&desk).await.unwrap();
    assert!(whole.contains("2505 compared, 0 differ"), "{whole}");
    tamper(
        &desk,
        "update insurance.insurances set monthly_cost = 2 where insurance_id > 1200",
    )
    .await;
    let settings = desk.0.process.settings();
    let error = InsuranceService::verify_state(&settings.service)
        .await
        .unwrap_err();
    let insurance_service::RunError::VerifyState(StateError::Differs(found)) = error else {
        panic!("{error}");
    };
    assert_eq!(
        (found.compared, found.differing, found.first.len()),
        (2505, 1305, 100)
    );
    assert_eq!(found.first[0], "policy 1201: monthlyCost differ");
}

/// What was answered is what is stored.
async fn assert_stored(desk: &Desk, id: i64, answer: &Answer) {
    let stored = desk.policy(id).await;
    assert_eq!(stored.text(), answer.text());
    assert_eq!(stored.header("etag"), answer.header("etag"));
}

/// What somebody does next with a policy.
fn step(first: i64) -> impl Strategy<Value = (&'static str, Value)> {
    let number = || first..first + 20;
    let car = (0..8).prop_map(|number| format!("CAR{number:03}"));
    let moved = vec!["active", "active", "active", "suspended", "cancelled"];
    let moved = prop::sample::select(moved);
    let end = prop::option::of(number());
    prop::strategy::Union::new_weighted(vec![
        (
            4,
            (moved, prop::option::of(number()))
                .prop_map(|(to, on)| {
                    let mut body = json!({ "to": to, "reason": "other" });
                    if let ("cancelled", Some(on)) = (to, on) {
                        body["effectiveOn"] = json!(day(on));
                    }
                    ("transitions", body)
                })
                .boxed(),
        ),
        (
            4,
            (number(), prop::option::of(car), end, any::<bool>())
                .prop_map(|(on, car, end, ends)| {
                    let mut body = json!({ "effectiveOn": day(on) });
                    if let Some(car) = car {
                        body["carRegistrationNumber"] = json!(car);
                    }
                    if ends {
                        body["validUntil"] = json!(end.map(day));
                    }
                    ("changes", body)
                })
                .boxed(),
        ),
        (
            1,
            Just(("", json!({ "validUntil": day(first + 15) }))).boxed(),
        ),
    ])
}

#[tokio::test]
async fn whatever_becomes_of_policies_they_are_what_their_events_say() {
    let desk = Desk::open().await;
    let mut runner = TestRunner::deterministic();
    let settings = desk.0.process.settings();
    let mut worker = worker_on(&settings.service.database, desk.0.process.meter());
    let (mut done, mut refused, mut ended) = (0, 0, 0);
    for history in 0..30_i64 {
        let first = history % 6 * 20;
        let terms = json!({
            "carRegistrationNumber": format!("CAR{:03}", history % 8), "validFrom": day(first), "validUntil": day(first + 20),
        });
        let drafted = desk.draft_with(terms).await;
        let id = drafted.json()["insuranceId"].as_i64().unwrap();
        assert_stored(&desk, id, &drafted).await;
        let mut tag = drafted.header("etag").to_owned();
        for _ in 0..10 {
            let (what, body) = step(first).new_tree(&mut runner).unwrap().current();
            let path = format!("/api/v1/policies/{id}/{what}");
            let answer = if what.is_empty() {
                let (path, headers) = (path.trim_end_matches('/'), [("if-match", &*tag)]);
                desk.ask(http::Method::PATCH, path, &headers, Some(&body))
                    .await
            } else {
                desk.send(&path, &tag, &body).await
            };
            match answer.status.as_u16() {
                200 => {
                    done += 1;
                    assert_stored(&desk, id, &answer).await;
                    answer.header("etag").clone_into(&mut tag);
                }
                409 | 422 => refused += 1,
                _ => panic!("{body}: {}", answer.text()),
            }
        }
        // Somebody far in the east.
        if history % 10 == 9 {
            let look = worker.look(day(30).parse().unwrap()).await.unwrap();
            let Look::Done { ended: some, .. } = look else {
                panic!("{look:?}");
            };
            ended += some;
        }
    }
    // Each kind often enough; the commands are the same in each run.
    assert!(
        done >= 50 && refused >= 50 && ended >= 3,
        "{done} {refused} {ended}"
    );
    verify(&desk).await.unwrap();
}
