//! Of several tries at once, and of those that are cut off.

use std::{future::pending, pin::pin};

use futures_util::future::join_all;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, postgres::PgDatabaseError};
use test_support::{Answer, FakeVehicle};

use super::{
    super::{
        Desk,
        desk::{day, draft, key},
        plans::statement,
    },
    POLICIES,
};

#[tokio::test]
async fn one_of_many_at_once_under_a_key_takes_effect_and_the_others_get_its_answer() {
    let many = [("DATABASE__MAX_CONNECTIONS", "16")];
    let desk = Desk::with(FakeVehicle::healthy().await, &many).await;
    let body = draft(json!({}));
    for _ in 0..10 {
        let before = desk
            .number("select count(*) from insurance.insurances")
            .await;
        let key = key();
        let answers = join_all((0..16).map(|_| desk.post(POLICIES, &key, "", &body))).await;
        let done: Vec<_> = answers.iter().filter(|it| it.status == 201).collect();
        for other in answers.iter().filter(|it| it.status != 201) {
            assert_eq!(other.problem()["code"], "busy", "{}", other.text());
        }
        assert!(done.iter().all(|it| it.text() == done[0].text()));
        let first = done
            .iter()
            .filter(|it| it.header("idempotency-replayed").is_empty());
        assert_eq!(first.count(), 1);
        let after = desk
            .number("select count(*) from insurance.insurances")
            .await;
        assert_eq!(after, before + 1);
    }
}

/// The second looks for the key before the first has finished, and is judged after it.
#[tokio::test]
async fn a_try_that_would_be_refused_for_what_its_twin_has_done_gets_the_twins_answer() {
    let desk = Desk::open().await;
    let (id, tag) = desk.activate("GHI789").await;
    let (path, key) = (format!("{POLICIES}/{id}/changes"), key());
    // It may be done twice, so that the second try gets as far as to the policy's row.
    let tags = format!("{tag}, {}", tag.replace("-2-", "-3-"));
    let longer = json!({ "effectiveOn": day(1), "validUntil": day(30) });
    let first = desk.post(&path, &key, &tags, &longer).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let kept_since = async |since: &str| {
        let sql = format!("update insurance.idempotency_keys set created_at = {since}");
        desk.0.database.execute(&sql).await;
    };
    let waiting = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and query like 'with changed%'";
    let late = loop {
        // Not to be found yet.
        kept_since("now() - interval '25 hours'").await;
        let mut twin = desk.0.database.connect().await;
        let lock =
            format!("begin; select from insurance.insurances where insurance_id = {id} for update");
        sqlx::raw_sql(AssertSqlSafe(lock))
            .execute(&mut twin)
            .await
            .unwrap();
        let mut late = pin!(desk.post(&path, &key, &tags, &longer));
        let waits = async { while desk.number(waiting).await == 0 {} };
        let answered = tokio::select! {
            answered = &mut late => Some(answered),
            () = waits => None,
        };
        if let Some(answered) = answered {
            // It waited too long before it was seen.
            assert_eq!(answered.problem()["code"], "busy", "{}", answered.text());
            twin.close().await.unwrap();
            continue;
        }
        kept_since("now()").await;
        let done = format!(
            "insert into insurance_events.events
                 (event_id, aggregate_type, aggregate_id, version, event_type, actor, correlation_id, data)
             values (gen_random_uuid(), 'policy', '{id}', 4, 'policy.changed.v1', 'test', 'none', '{{}}');
             update insurance.insurances set version = 4 where insurance_id = {id}; commit"
        );
        sqlx::raw_sql(AssertSqlSafe(done))
            .execute(&mut twin)
            .await
            .unwrap();
        break late.await;
    };
    assert_eq!(late.status, 200, "{}", late.text());
    assert_eq!(late.header("idempotency-replayed"), "true");
    assert_eq!(late.text(), first.text());
}

/// It looks for the key before the other request has finished, which is about another policy.
#[tokio::test]
async fn a_key_that_another_request_claims_meanwhile_is_that_requests() {
    let desk = Desk::open().await;
    let key = key();
    let activate = json!({ "to": "active", "reason": "other" });
    let pet = json!({ "product": "pet", "carRegistrationNumber": null });
    let (one, other) = (
        desk.draft_with(pet.clone()).await,
        desk.draft_with(pet).await,
    );
    let path = |drafted: &Answer| format!("{}/transitions", drafted.header("location"));
    let done = desk
        .post(&path(&one), &key, one.header("etag"), &activate)
        .await;
    assert_eq!(done.status, 200, "{}", done.text());
    let kept_since = async |since: &str| {
        let sql = format!("update insurance.idempotency_keys set created_at = {since}");
        desk.0.database.execute(&sql).await;
    };
    // Not to be found yet; the price is looked at after the key.
    kept_since("now() - interval '25 hours'").await;
    let mut lock = desk.0.database.lock("insurance.prices").await;
    let finish = async {
        lock.queued(1).await;
        kept_since("now()").await;
        lock.release().await;
    };
    let path = path(&other);
    let late = desk.post(&path, &key, other.header("etag"), &activate);
    let (late, ()) = tokio::join!(late, finish);
    assert_eq!(late.status, 422, "{}", late.text());
    assert_eq!(late.problem()["code"], "idempotency_key_reused");
    let policy = desk.get(other.header("location")).await;
    assert_eq!(policy.json()["status"], "draft");
}

/// PostgreSQL's log has its own words for it.
#[tokio::test]
async fn a_claim_that_comes_second_is_refused_in_words_that_name_nothing() {
    let desk = Desk::open().await;
    let keep = "insert into insurance.idempotency_keys (caller, key, fingerprint, status)
        values ('somebody', 'a-key-that-is-kept', sha256('kept'), 200)";
    desk.0.database.execute(keep).await;
    let change = format!(
        "prepare change as {};
         execute change(1000001, 'pet', 'suspended', 2, '2020-01-01', null, null, '10', null, 1,
             gen_random_uuid(), 'policy.suspended.v1', 'key/desk', 'a-request', null, null, '{{}}',
             'somebody', 'a-key-that-is-kept', sha256('kept'), 200, '[]', 'the body', false)",
        statement("claimed as (")
    );
    let mut service = desk.0.database.connect_as("insurance_service").await;
    let refused = sqlx::raw_sql(AssertSqlSafe(change)).execute(&mut service);
    let refused = refused.await.unwrap_err().into_database_error().unwrap();
    assert_eq!(refused.constraint(), Some("idempotency_keys_pkey"));
    let told = refused.downcast_ref::<PgDatabaseError>();
    assert_eq!((told.code(), told.detail()), ("23505", None));
    let told = format!("{told:?}");
    for named in ["somebody", "a-key-that", "a-request", "1000001", "the body"] {
        assert!(!told.contains(named), "{told}");
    }
    let versions = desk.number("select max(version) from insurance.insurances");
    assert_eq!(versions.await, 1);
}

#[tokio::test]
async fn of_many_transitions_at_once_under_a_key_one_is_done_and_none_is_refused() {
    let many = [
        ("DATABASE__MAX_CONNECTIONS", "8"),
        ("VEHICLE_CLIENT__CACHE__ENABLED", "true"),
    ];
    let desk = Desk::with(FakeVehicle::healthy().await, &many).await;
    for round in 0..10 {
        let (id, tag) = desk.draft(&format!("TWN{round:03}")).await;
        let (path, key) = (format!("{POLICIES}/{id}/transitions"), key());
        let activate = json!({ "to": "active", "reason": "other" });
        let answers = join_all((0..16).map(|_| desk.post(&path, &key, &tag, &activate))).await;
        let mut executed = 0;
        for answer in &answers {
            if answer.status == 200 {
                executed += usize::from(answer.header("idempotency-replayed").is_empty());
            } else {
                assert_eq!(answer.problem()["code"], "busy", "{}", answer.text());
            }
        }
        assert_eq!(executed, 1);
        assert_eq!(desk.events(id).await.len(), 2);
    }
}

/// A process that dies in mid-work leaves the key free.
#[tokio::test]
async fn a_connection_that_is_cut_leaves_no_claim() {
    let desk = Desk::open().await;
    let (id, tag) = desk.draft("GHI789").await;
    let (path, key) = (format!("{POLICIES}/{id}/transitions"), key());
    let activate = json!({ "to": "active", "reason": "other" });
    // The work waits with its claim made and its policy written: the event's trigger cannot go on.
    // Not the sequencer's session, which waits as well.
    let cut = "with cut as (
            select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'
                and query like 'with changed%')
        select count(*) from cut";
    loop {
        let mut lock = desk.0.database.lock("insurance_events.unplaced").await;
        let mut answer = pin!(desk.post(&path, &key, &tag, &activate));
        let answered = tokio::select! {
            answered = &mut answer => answered,
            () = async { while desk.number(cut).await == 0 {} } => {
                lock.release().await;
                answer.await
            }
        };
        lock.release().await;
        if answered.status.is_server_error() {
            break;
        }
        // It waited too long before it was cut.
        assert_eq!(answered.status, 409, "{}", answered.text());
    }
    assert_eq!(
        desk.number("select count(*) from insurance.covers where car = 'GHI789'")
            .await,
        0
    );
    let again = desk.post(&path, &key, &tag, &activate).await;
    assert_eq!(again.status, 200, "{}", again.text());
    assert_eq!(again.header("idempotency-replayed"), "");
}

/// A change that one statement writes commits by itself, and is tried again where it was cut off.
#[tokio::test]
async fn a_change_that_is_cut_off_is_tried_again_and_takes_effect_once() {
    let desk = Desk::open().await;
    let (id, tag) = desk.activate("GHI789").await;
    let (path, key) = (format!("{POLICIES}/{id}/transitions"), key());
    let suspend = json!({ "to": "suspended", "reason": "other" });
    let cut = "with cut as (
            select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'
                and query like 'with changed%')
        select count(*) from cut";
    let suspended = loop {
        let mut lock = desk.0.database.lock("insurance_events.unplaced").await;
        let mut answer = pin!(desk.post(&path, &key, &tag, &suspend));
        let early = tokio::select! {
            answer = &mut answer => Some(answer),
            () = async { while desk.number(cut).await == 0 {} } => None,
        };
        lock.release().await;
        let answer = match early {
            Some(answer) => answer,
            None => answer.await,
        };
        if answer.status == 200 {
            break answer;
        }
        // It waited too long before it was cut, or after.
        assert_eq!(answer.problem()["code"], "busy", "{}", answer.text());
    };
    assert_eq!(suspended.json()["status"], "suspended");
    assert_eq!(desk.events(id).await.len(), 3);
    let again = desk.post(&path, &key, &tag, &suspend).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.text(), suspended.text());
}

/// Whoever got no answer tries again under the key, as clients do.
#[tokio::test]
#[ignore = "takes half a minute; `.ci/run simulation` runs it"]
async fn a_hundred_keys_of_sixteen_at_once_take_effect_once_each_while_connections_are_cut() {
    const KEYS: i64 = 100;
    let many = [("DATABASE__MAX_CONNECTIONS", "16")];
    let desk = Desk::with(FakeVehicle::healthy().await, &many).await;
    let policies = "select count(*) from insurance.insurances";
    let before = desk.number(policies).await;
    // One or two of sixteen, in the midst of a transaction.
    let cut = "with cut as (
            select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and usename = 'insurance_service'
                and xact_start is not null
                and query ~ 'insurance\\.(person_lock_key|prices|insurances|idempotency_keys)'
            order by random() limit 1)
        select count(*) from cut";
    let (mut cuts, mut failed) = (0, 0);
    for number in 0..KEYS {
        let (key, body) = (key(), draft(json!({})));
        let posts = join_all((0..16).map(|_| desk.post(POLICIES, &key, "", &body)));
        let wanted = (number + 1) * 16 / 10;
        let cutting = async {
            while cuts < wanted {
                cuts += desk.number(cut).await;
            }
            pending().await
        };
        let answers = tokio::select! {
            answers = posts => answers,
            answers = cutting => answers,
        };
        let mut texts = Vec::new();
        for mut answer in answers {
            while answer.status != 201 {
                failed += i32::from(answer.status.is_server_error());
                let busy = answer.status == 409 && answer.problem()["code"] == "busy";
                assert!(busy || answer.status == 503, "{}", answer.text());
                answer = desk.post(POLICIES, &key, "", &body).await;
            }
            texts.push(answer.text());
        }
        texts.dedup();
        assert_eq!(texts.len(), 1, "{texts:?}");
    }
    assert!(cuts >= KEYS && failed > 0, "{cuts} cuts, {failed} failures");
    assert_eq!(desk.number(policies).await, before + KEYS);
    let events =
        "select count(*) from insurance_events.events where event_type = 'policy.drafted.v1'";
    assert_eq!(desk.number(events).await, KEYS);
}
