use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::PgConnection;
use tracing_subscriber::filter::LevelFilter;

use super::{
    Operator,
    operator::{CONSUMER, CONSUMERS, LETTERS},
};
use crate::api::{
    capture::Capture,
    privacy::{PERSONS, assert_free_of_persons, forms},
};

fn order(mode: &str) -> Value {
    json!({ "mode": mode, "reason": "a bad release", "owner": "on-call" })
}

#[tokio::test]
async fn the_state_is_whole_and_writes_what_is_absent_as_null() {
    let operator = Operator::new().await;
    let mut consumer = operator.read(CONSUMER).await;
    assert_eq!(
        operator.read(CONSUMERS).await["consumers"],
        json!([consumer])
    );
    assert!(consumer["updatedAt"].take().is_string());
    let expected = json!({
        "consumer": "vehicle_replica", "mode": "snapshot", "control": null, "logId": null,
        "position": 0, "sourcePosition": null, "lagEvents": null, "lagSeconds": null,
        "generation": 0, "snapshot": null, "attempts": 0, "openDeadLetters": 0,
        "lastError": null, "updatedAt": null,
    });
    assert_eq!(consumer, expected);
    let progress = "update insurance_replica.consumers
        set log_id = gen_random_uuid(), position = 40, source_position = 42, generation = 1,
            generations = 2, filling = 2, filled = 7, attempts = 3, last_error = 'timeout',
            caught_up_at = clock_timestamp() - interval '90.5 seconds'";
    operator.0.database.execute(progress).await;
    for (number, status) in [(1, "parked"), (2, "retrying"), (3, "resolved")] {
        operator.park(number, status).await;
    }
    let consumer = operator.read(CONSUMER).await;
    for (member, value) in [
        ("position", json!(40)),
        ("sourcePosition", json!(42)),
        ("lagEvents", json!(2)),
        ("snapshot", json!({ "generation": 2, "copied": 7 })),
        ("attempts", json!(3)),
        ("openDeadLetters", json!(2)),
        ("lastError", json!("timeout")),
    ] {
        assert_eq!(consumer[member], value, "{member}");
    }
    let lag = consumer["lagSeconds"].as_u64().unwrap();
    assert!((90..150).contains(&lag), "{lag}");
}

#[tokio::test]
async fn an_order_is_kept_shown_and_one_audit_line() {
    let (capture, _guard) = Capture::start(LevelFilter::INFO);
    let operator = Operator::new().await;
    let stopped = "update insurance_replica.consumers
        set last_error = 'too_many_dead_letters', last_error_at = now()";
    operator.0.database.execute(stopped).await;
    for mode in ["paused", "snapshot", "follow"] {
        let answer = operator.order(&order(mode)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let consumer = operator.read(CONSUMER).await;
        assert_eq!(answer.json()["mode"], mode);
        assert_eq!(consumer["mode"], mode);
        let control = &consumer["control"];
        assert_eq!(control["by"], "key/operator");
        assert_eq!(control["reason"], "a bad release");
        assert_eq!(control["owner"], "on-call");
        assert!(control["since"].is_string());
        // What went wrong before it is over with it.
        assert_eq!(consumer["lastError"], Value::Null);
        let quoted = format!("\"mode\":\"{mode}\"");
        let told = [
            "\"level\":\"WARN\"",
            "\"target\":\"audit\"",
            "\"action\":\"set_consumer\"",
            "\"key_id\":\"operator\"",
            "\"request_id\":\"change-42\"",
            "\"a bad release\"",
            "\"on-call\"",
            &quoted,
        ];
        assert_eq!(capture.lines_with(&told), 1, "{}", capture.text());
    }
}

#[tokio::test]
async fn a_snapshot_is_a_new_one_where_one_is_being_made() {
    let operator = Operator::new().await;
    let filling = "update insurance_replica.consumers
        set generation = 1, generations = 2, filling = 2, snapshot_at = 'ABC123'";
    operator.0.database.execute(filling).await;
    let being_made = json!({ "generation": 2, "copied": 0 });
    for mode in ["paused", "follow"] {
        let answer = operator.order(&order(mode)).await.json();
        assert_eq!(answer["snapshot"], being_made, "{mode}");
    }
    let answer = operator.order(&order("snapshot")).await.json();
    assert_eq!(
        (&answer["mode"], &answer["snapshot"]),
        (&json!("snapshot"), &Value::Null)
    );
}

/// Holds what a consumer holds while it is at a page.
async fn hold(operator: &Operator) -> PgConnection {
    let mut consumer = operator.0.database.connect().await;
    let page = "begin; select from insurance_replica.consumers for update;
        select from insurance_replica.dead_letters for update";
    execute(&mut consumer, page).await;
    consumer
}

async fn execute(connection: &mut PgConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

#[tokio::test]
async fn orders_wait_for_the_page_that_the_consumer_is_at() {
    let operator = Operator::new().await;
    let letter = format!("{LETTERS}/{}/retry", operator.park(1, "parked").await);
    let retry = json!({ "limit": 1, "reason": "r" });
    let oldest = format!("{LETTERS}/retry");
    for number in 0..3 {
        let parked = "update insurance_replica.dead_letters set status = 'parked'";
        operator.0.database.execute(parked).await;
        let mut consumer = hold(&operator).await;
        let asked = async {
            match number {
                0 => operator.order(&order("paused")).await,
                1 => operator.post(&letter, &Value::Null).await,
                _ => operator.post(&oldest, &retry).await,
            }
        };
        let page = async {
            operator.0.blocked().await;
            execute(&mut consumer, "commit").await;
        };
        let (answer, ()) = tokio::join!(asked, page);
        assert!(answer.status.is_success(), "{number}: {}", answer.text());
    }
}

#[tokio::test]
async fn an_order_that_has_waited_too_long_says_when_to_try_again() {
    let operator = Operator::new().await;
    let _consumer = hold(&operator).await;
    let began = Instant::now();
    let refused = operator.order(&order("paused")).await;
    // Longer than a page of the consumer takes as a rule.
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.problem()["code"], "database_busy");
    assert_eq!(refused.header("retry-after"), "1");
}

#[tokio::test]
async fn an_order_that_breaks_a_rule_changes_nothing() {
    let (capture, _guard) = Capture::start(LevelFilter::INFO);
    let operator = Operator::new().await;
    let before = operator.read(CONSUMER).await;
    for (member, value, code) in [
        ("reason", json!(""), "invalid_reason"),
        ("reason", json!("x".repeat(201)), "invalid_reason"),
        ("reason", json!("a\u{202e}b"), "invalid_reason"),
        ("owner", json!("  "), "invalid_owner"),
        ("owner", json!("x".repeat(101)), "invalid_owner"),
        ("mode", json!("stopped"), "invalid_body"),
        ("mode", json!({ "paused": null }), "invalid_body"),
        ("force", json!(true), "invalid_body"),
    ] {
        let mut body = order("paused");
        body[member] = value.clone();
        let answer = operator.order(&body).await;
        assert_eq!(answer.status, 400, "{member} {value}");
        assert_eq!(answer.problem()["code"], code, "{member} {value}");
    }
    let path = format!("{CONSUMERS}/none");
    let unknown = operator
        .ask(http::Method::PUT, &path, &order("paused"))
        .await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.problem()["code"], "consumer_not_found");
    assert_eq!(operator.get(&path).await.status, 404);
    assert_eq!(operator.read(CONSUMER).await, before);
    assert_eq!(capture.lines_with(&["\"target\":\"audit\""]), 0);
}

#[tokio::test]
async fn what_could_name_a_person_is_refused_and_reaches_nobody() {
    let (capture, _guard) = Capture::start(LevelFilter::TRACE);
    let operator = Operator::new().await;
    let id = operator.park(1, "parked").await;
    let letter = |action: &str| format!("{LETTERS}/{id}/{action}");
    for form in PERSONS.into_iter().flat_map(forms) {
        let about = format!("asked for {form} twice");
        let mut refused = Vec::new();
        for (reason, owner) in [(&*about, "o"), ("r", &about)] {
            let order = json!({ "mode": "paused", "reason": reason, "owner": owner });
            refused.push(operator.order(&order).await);
        }
        for action in ["resolve", "discard"] {
            let note = json!({ "note": about });
            refused.push(operator.post(&letter(action), &note).await);
        }
        let retry = json!({ "limit": 1, "reason": about });
        refused.push(operator.post(&format!("{LETTERS}/retry"), &retry).await);
        for path in [
            format!("{CONSUMERS}/{form}/dead-letters"),
            format!("{LETTERS}/{form}"),
            format!("{LETTERS}?after={form}"),
            format!("{LETTERS}?status={form}"),
        ] {
            refused.push(operator.get(&path).await);
        }
        for answer in refused {
            assert!(matches!(answer.status.as_u16(), 400 | 404), "{form}");
            assert_free_of_persons(&answer.text(), "problem");
        }
    }
    assert!(capture.text().contains("request ended"));
    assert_free_of_persons(&capture.text(), "log");
    let kept = [CONSUMERS, LETTERS, "/metrics"];
    for path in kept {
        assert_free_of_persons(&operator.get(path).await.text(), path);
    }
}
