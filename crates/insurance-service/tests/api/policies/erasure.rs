//! Persons who are forgotten.

use std::{pin::pin, sync::Arc};

use axum::body::Body;
use http::{Method, Request};
use serde_json::json;
use test_support::{Answer, FakeVehicle, Gate, Reply};
use tokio::sync::Notify;
use tracing_subscriber::filter::LevelFilter;

use super::{
    Desk,
    desk::{DESK, day, draft, key},
};
use crate::api::{
    capture::Capture,
    privacy::{PERSONS, assert_free_of_persons, forms},
};

const ERASURES: &str = "/api/v1/operations/erasures";
const PERSON: &str = PERSONS[3];
const POLICIES: &str = "/api/v1/policies";

async fn erase(desk: &Desk, key: &str, person: &str) -> Answer {
    let body = json!({ "personalIdentityNumber": person });
    let key = [("idempotency-key", key)];
    desk.administer(Method::POST, ERASURES, &key, &body).await
}

/// A policy of the person that came by SQL, with these days from today.
async fn insured(desk: &Desk, id: i64, from: i64, until: &str, car: &str) {
    let sql = format!(
        "insert into insurance.insurances
             (insurance_id, personal_identity_number, product, monthly_cost,
              car_registration_number, valid_from, valid_until)
         values ({id}, '{PERSON}', 'car', 30, '{car}', '{}', {until})",
        day(from)
    );
    desk.0.database.execute(&sql).await;
}

/// What the tables hold, but for what an erasure takes.
async fn digest(desk: &Desk) -> i64 {
    desk.number(
        "select hashtextextended(
             (select string_agg(i::text, '|' order by i::text) from insurance.insurances i)
             || (select string_agg(e::text, '|' order by e::text) from insurance_events.events e)
             || (select coalesce(string_agg(k::text, '|' order by k::text), '')
                 from insurance.idempotency_keys k), 0)",
    )
    .await
}

#[tokio::test]
async fn an_erased_person_is_in_no_table_and_the_log_stays() {
    let desk = Desk::open().await;
    insured(&desk, 5, -90, &format!("'{}'", day(-1)), "OLD123").await;
    let drafting = key();
    let body = draft(json!({ "personalIdentityNumber": PERSON }));
    let drafted = desk.post(POLICIES, &drafting, "", &body).await;
    assert_eq!(drafted.status, 201, "{}", drafted.text());
    let id = drafted.json()["insuranceId"].as_i64().unwrap();
    let longer = json!({ "validUntil": day(9) });
    let path = format!("{POLICIES}/{id}");
    let tag = drafted.header("etag").to_owned();
    let log = "select count(*) from insurance_events.events";
    let before = desk.number(log).await;
    let first_key = key();
    let erased = erase(
        &desk,
        &first_key,
        &format!("{}-{}", &PERSON[..8], &PERSON[8..]),
    )
    .await;
    assert_eq!(erased.status, 200, "{}", erased.text());
    assert_eq!(erased.json(), json!({ "policies": 2, "answers": 1 }));
    // The end of the one whose day has come, and nothing else.
    assert_eq!(desk.number(log).await, before + 1);
    let told = desk.events(5).await;
    assert!(told[1].starts_with("2 policy.expired.v1"), "{told:?}");
    assert_eq!(desk.events(id).await.len(), 1);
    // As a text, and as the hexadecimal digits of bytes.
    let bytes: String = PERSON.chars().flat_map(|digit| ['3', digit]).collect();
    for table in ["insurances", "idempotency_keys"] {
        let named = format!(
            "select count(*) from insurance.{table} t
             where t::text like '%{PERSON}%' or t::text like '%{bytes}%'"
        );
        assert_eq!(desk.number(&named).await, 0, "{table}");
    }
    assert_eq!(desk.0.look_up(PERSON).await.status, 404);

    let late = desk.post(POLICIES, &drafting, "", &body).await;
    assert_eq!(
        (late.status.as_u16(), &late.problem()["code"]),
        (410, &json!("erased"))
    );
    let policy = desk.policy(id).await;
    assert_eq!(policy.json()["allowed"], json!(["cancelled"]));
    let refused = desk
        .ask(Method::PATCH, &path, &[("if-match", &*tag)], Some(&longer))
        .await;
    assert_eq!(refused.status, 410);
    assert_eq!(desk.go(id, &tag, "active").await.status, 409);
    assert_eq!(desk.go(id, &tag, "cancelled").await.status, 200);

    let replayed = erase(
        &desk,
        &first_key,
        &format!("{}-{}", &PERSON[..8], &PERSON[8..]),
    )
    .await;
    assert_eq!(replayed.text(), erased.text());
    assert_eq!(replayed.header("idempotency-replayed"), "true");
    let again = erase(&desk, &key(), PERSON).await;
    assert_eq!(again.json(), json!({ "policies": 0, "answers": 0 }));
}

#[tokio::test]
async fn a_person_with_a_policy_in_force_or_to_come_is_kept_whole() {
    for (from, until) in [(-5, "null".to_owned()), (3, format!("'{}'", day(9)))] {
        let desk = Desk::open().await;
        insured(&desk, 5, -90, &format!("'{}'", day(-30)), "OLD123").await;
        insured(&desk, 6, from, &until, "NEW123").await;
        let before = digest(&desk).await;
        let refused = erase(&desk, &key(), PERSON).await;
        assert_eq!(refused.status, 409, "{}", refused.text());
        assert_eq!(refused.problem()["code"], "policy_in_force");
        assert_eq!(digest(&desk).await, before);
        assert_eq!(
            desk.0.look_up(PERSON).await.status,
            if from < 0 { 200 } else { 404 }
        );
    }
}

#[tokio::test]
async fn a_policy_that_is_cancelled_before_its_first_day_does_not_keep_its_person() {
    let desk = Desk::open().await;
    let later = json!({ "personalIdentityNumber": PERSON, "validFrom": day(30) });
    let drafted = desk.draft_with(later).await;
    let id = drafted.json()["insuranceId"].as_i64().unwrap();
    let active = desk.go(id, drafted.header("etag"), "active").await;
    let path = format!("{POLICIES}/{id}/transitions");
    let cancel = json!({ "to": "cancelled", "reason": "other", "effectiveOn": day(10) });
    let cancelled = desk.send(&path, active.header("etag"), &cancel).await;
    assert_eq!(cancelled.json()["status"], "active", "{}", cancelled.text());
    let erased = erase(&desk, &key(), PERSON).await;
    assert_eq!(erased.json()["policies"], 1, "{}", erased.text());
    assert_eq!(desk.policy(id).await.json()["status"], "cancelled");
    let told = desk.events(id).await;
    assert!(told[3].starts_with("4 policy.ended.v1"), "{told:?}");
    let known = format!(
        "select count(*) from insurance.insurances
         where insurance_id = {id} and personal_identity_number is null"
    );
    assert_eq!(desk.number(&known).await, 1);
}

#[tokio::test]
async fn a_policy_that_somebody_changes_is_not_erased_behind_their_back() {
    let desk = Desk::open().await;
    insured(&desk, 5, -90, &format!("'{}'", day(-1)), "OLD123").await;
    let mut holder = desk.0.database.connect().await;
    let lock = "begin; select from insurance.insurances where insurance_id = 5 for update";
    sqlx::raw_sql(lock).execute(&mut holder).await.unwrap();
    let busy = erase(&desk, &key(), PERSON).await;
    assert_eq!(busy.status, 409, "{}", busy.text());
    assert_eq!(busy.problem()["code"], "busy");
    assert_eq!(busy.header("retry-after"), "1");
    sqlx::raw_sql("rollback")
        .execute(&mut holder)
        .await
        .unwrap();
    assert_eq!(erase(&desk, &key(), PERSON).await.json()["policies"], 1);
}

#[tokio::test]
async fn a_person_who_is_erased_while_vehicle_is_asked_is_insured_no_more() {
    let (asked, answered) = (Arc::new(Notify::new()), Gate::closed());
    let (asks, answer) = (asked.clone(), answered.clone());
    let vehicle = FakeVehicle::start(move |request| {
        asks.notify_one();
        Reply::Held(answer.clone(), Box::new(Reply::healthy(request)))
    })
    .await;
    let desk = Desk::with(vehicle, &[]).await;
    let drafted = desk
        .draft_with(json!({ "personalIdentityNumber": PERSON }))
        .await;
    let id = drafted.json()["insuranceId"].as_i64().unwrap();
    let erased = async {
        asked.notified().await;
        let erased = erase(&desk, &key(), PERSON).await;
        answered.open();
        erased
    };
    let (refused, erased) = tokio::join!(desk.go(id, drafted.header("etag"), "active"), erased);
    assert_eq!(erased.json()["policies"], 1, "{}", erased.text());
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert_eq!(refused.problem()["code"], "transition_not_allowed");
    assert_eq!(desk.events(id).await.len(), 1);
}

#[tokio::test]
async fn a_draft_whose_person_is_erased_while_it_is_changed_stays_as_it_is() {
    let desk = Desk::open().await;
    let drafted = desk
        .draft_with(json!({ "personalIdentityNumber": PERSON }))
        .await;
    let (path, tag) = (drafted.header("location"), drafted.header("etag"));
    // The price is looked at after the draft.
    let mut lock = desk.0.database.lock("insurance.prices").await;
    let headers = [("if-match", tag)];
    let other = json!({ "validUntil": day(9) });
    let (patched, erased) = tokio::join!(
        desk.ask(Method::PATCH, path, &headers, Some(&other)),
        async {
            lock.queued(1).await;
            let erased = erase(&desk, &key(), PERSON).await;
            lock.release().await;
            erased
        }
    );
    assert_eq!(erased.json()["policies"], 1, "{}", erased.text());
    assert_eq!(patched.status, 410, "{}", patched.text());
    assert_eq!(desk.get(path).await.json()["version"], 1);
}

/// By another process, while the secrets of both are changed.
#[tokio::test]
async fn a_draft_that_was_begun_before_an_erasure_is_found_by_it() {
    let desk = Desk::open().await;
    let own = "5f".repeat(32);
    let other = [&DESK[..], &[("IDEMPOTENCY__FINGERPRINT_KEY", &*own)]].concat();
    let other = desk.0.beside(&other);
    let erase = || {
        let erase = Request::post(ERASURES).header("x-api-key", DESK[2].1);
        let erase = erase.header("idempotency-key", key());
        let erase = erase.header("content-type", "application/json");
        let person = json!({ "personalIdentityNumber": PERSON });
        other.send(erase.body(Body::from(person.to_string())).unwrap())
    };
    let named = format!(
        "select count(*) from insurance.insurances where personal_identity_number = '{PERSON}'"
    );
    let waiting = "select count(*) from pg_locks join pg_database on pg_database.oid = database
        where not granted and locktype = 'advisory' and datname = current_database()";
    loop {
        // The draft waits with its transaction begun.
        let mut lock = desk.0.database.lock("insurance.prices").await;
        let (drafted, erased) = tokio::join!(
            desk.draft_with(json!({ "personalIdentityNumber": PERSON })),
            async {
                lock.queued(1).await;
                let mut erased = pin!(erase());
                let early = tokio::select! {
                    erased = &mut erased => Some(erased),
                    () = async { while desk.number(waiting).await == 0 {} } => None,
                };
                lock.release().await;
                match early {
                    Some(erased) => erased,
                    None => erased.await,
                }
            }
        );
        // Each waits for 250 ms at most.
        let busy = |answer: &Answer| answer.status == 409 && answer.problem()["code"] == "busy";
        if !busy(&drafted) && !busy(&erased) {
            assert_eq!(drafted.status, 201, "{}", drafted.text());
            assert_eq!(erased.status, 200, "{}", erased.text());
            break;
        }
    }
    assert_eq!(desk.number(&named).await, 0);
}

#[tokio::test]
async fn an_erasure_is_told_in_figures() {
    let (capture, _guard) = Capture::start(LevelFilter::WARN);
    let desk = Desk::open().await;
    insured(&desk, 5, -90, &format!("'{}'", day(-1)), "OLD123").await;
    erase(&desk, &key(), PERSON).await;
    for outcome in [r#""outcome":"begun""#, r#""outcome":"done""#] {
        let audited = [
            r#""target":"audit""#,
            r#""action":"erase_person""#,
            outcome,
            r#""key_id":"admin""#,
            r#""policies":1"#,
            r#""answers":0"#,
        ];
        assert_eq!(capture.lines_with(&audited), 1, "{}", capture.text());
    }
}

/// Nobody knows whether it took effect.
#[tokio::test]
async fn an_erasure_whose_commit_is_cut_off_is_told_as_begun() {
    let (capture, _guard) = Capture::start(LevelFilter::WARN);
    let desk = Desk::open().await;
    let cut = "create function insurance.cut() returns trigger
            language plpgsql security definer as
            $$ begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$;
        create constraint trigger cut after insert on insurance.idempotency_keys
        deferrable initially deferred for each row execute function insurance.cut()";
    desk.0.database.execute(cut).await;
    let failed = erase(&desk, &key(), PERSON).await;
    assert_eq!(failed.status, 503, "{}", failed.text());
    let told = |outcome| capture.lines_with(&[r#""action":"erase_person""#, outcome]);
    assert_eq!(told(r#""outcome":"begun""#), 1, "{}", capture.text());
    assert_eq!(told(r#""outcome":"done""#), 0, "{}", capture.text());
}

#[tokio::test]
async fn no_erasure_and_no_draft_names_a_person_in_logs_metrics_or_errors() {
    let desk = Desk::open().await;
    insured(&desk, 5, -90, &format!("'{}'", day(-1)), "OLD123").await;
    let (capture, _guard) = Capture::start(LevelFilter::TRACE);
    let mut erased = 0;
    for broken in [false, true] {
        if broken {
            let away = "alter table insurance.insurances rename to moved";
            desk.0.database.execute(away).await;
        }
        for form in PERSONS.into_iter().flat_map(forms) {
            for (path, body) in [
                (ERASURES, json!({ "personalIdentityNumber": form })),
                (ERASURES, json!({ "personalIdentityNumber": [form] })),
                (
                    ERASURES,
                    json!({ "personalIdentityNumber": form, &form: 1 }),
                ),
                (POLICIES, draft(json!({ "personalIdentityNumber": form }))),
            ] {
                let fresh = key();
                for key in [&*fresh, &*form] {
                    let headers = [("idempotency-key", key), ("if-match", &*form)];
                    let answer = if path == ERASURES {
                        desk.administer(Method::POST, path, &headers, &body).await
                    } else {
                        desk.ask(Method::POST, path, &headers, Some(&body)).await
                    };
                    erased += usize::from(path == ERASURES && answer.status == 200);
                    assert_free_of_persons(&format!("{:?}", answer.headers), "headers");
                    assert_free_of_persons(&answer.text(), "body");
                }
            }
        }
    }
    assert!(erased > 1, "{erased}");
    let log = capture.text();
    assert!(log.contains("the request failed"), "nothing failed");
    assert_free_of_persons(&log, "log");
    let metrics = desk.0.api.get("/metrics").await.text();
    assert_free_of_persons(&metrics, "metrics");
    for person in PERSONS {
        let events = format!(
            "select count(*) from insurance_events.events e where e::text like '%{person}%'"
        );
        assert_eq!(desk.number(&events).await, 0);
    }
}
