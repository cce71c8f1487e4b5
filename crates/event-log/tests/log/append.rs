use event_log::{NewEvent, Origin, new_event_id};
use sqlx::{Connection, FromRow};
use uuid::Uuid;

use crate::support::{append, insurance, number, origin, refusal};

const POLICY: (&str, &str) = ("policy", "1000000");

#[derive(Debug, FromRow, PartialEq)]
struct Row {
    event_id: Uuid,
    aggregate_type: String,
    aggregate_id: String,
    version: i64,
    event_type: String,
    actor: String,
    correlation_id: String,
    causation_id: Option<Uuid>,
    traceparent: Option<String>,
    data: String,
}

#[tokio::test]
async fn an_event_is_kept_as_it_was_given_and_waits_for_a_place() {
    let (database, log) = insurance().await;
    let mut connection = database.connect_as("insurance_service").await;
    let origin = Origin {
        causation_id: Some(new_event_id()),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        ..origin()
    };
    let event = NewEvent {
        id: new_event_id(),
        aggregate_type: "policy",
        aggregate_id: "1000000",
        version: 7,
        event_type: "policy.changed.v1",
        origin: &origin,
        data: r#"{ "monthlyCost": 30.00,  "b": 1, "a": 1 }"#,
    };
    log.append(&mut connection, &event).await.unwrap();
    let row: Row = sqlx::query_as(
        "select event_id, aggregate_type, aggregate_id, version, event_type, actor,
             correlation_id, causation_id, traceparent, data::text
         from insurance_events.events join insurance_events.unplaced using (event_id, sequence)",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    let expected = Row {
        event_id: event.id,
        aggregate_type: "policy".to_owned(),
        aggregate_id: "1000000".to_owned(),
        version: 7,
        event_type: "policy.changed.v1".to_owned(),
        actor: origin.actor.clone(),
        correlation_id: origin.correlation_id.clone(),
        causation_id: origin.causation_id,
        traceparent: origin.traceparent.clone(),
        data: event.data.to_owned(),
    };
    assert_eq!(row, expected);
}

#[tokio::test]
async fn a_version_is_told_once() {
    let (database, log) = insurance().await;
    let mut connection = database.connect_as("insurance_service").await;
    append(&log, &mut connection, POLICY, 1).await.unwrap();
    let error = append(&log, &mut connection, POLICY, 1).await.unwrap_err();
    let constraint = error.as_database_error().unwrap().constraint();
    assert_eq!(constraint, Some("one_event_per_version"));
}

#[tokio::test]
async fn an_event_of_a_change_that_is_rolled_back_is_none() {
    let (database, log) = insurance().await;
    let mut connection = database.connect_as("insurance_service").await;
    let mut change = connection.begin().await.unwrap();
    append(&log, &mut change, POLICY, 1).await.unwrap();
    change.rollback().await.unwrap();
    let left = "select (select count(*) from insurance_events.events)
        + (select count(*) from insurance_events.unplaced)";
    assert_eq!(number(&mut connection, left).await, 0);
}

/// An apply worker of a logical replication writes as a replica does.
#[tokio::test]
async fn whoever_writes_the_sequence_is_the_triggers() {
    let (database, _) = insurance().await;
    let mut connection = database.connect().await;
    for role in ["origin", "replica"] {
        let insert = format!(
            "set session_replication_role = {role};
             insert into insurance_events.events (event_id, sequence, aggregate_type, aggregate_id,
                 version, event_type, actor, correlation_id, data)
             values (gen_random_uuid(), 1000000, 'policy', '{role}', 1, 'policy.drafted.v1', 'database/x',
                 'none', '{{}}')"
        );
        assert_eq!(refusal(&mut connection, &insert).await, None);
    }
    let waiting = "select count(*) from insurance_events.events
        join insurance_events.unplaced using (event_id, sequence) where sequence < 1000000";
    assert_eq!(number(&mut connection, waiting).await, 2);
}

#[tokio::test]
async fn triggers_are_told_the_origin_until_the_end_of_the_transaction() {
    let (database, _) = insurance().await;
    let mut connection = database.connect_as("insurance_service").await;
    let (id, cause) = (new_event_id(), new_event_id());
    let origin = Origin {
        causation_id: Some(cause),
        ..origin()
    };
    let told = "select concat_ws('|', current_setting('threadpilot.event_id', true),
        current_setting('threadpilot.actor', true), current_setting('threadpilot.correlation_id', true),
        current_setting('threadpilot.causation_id', true), current_setting('threadpilot.traceparent', true))";
    let mut change = connection.begin().await.unwrap();
    origin.announce(&mut change, Some(id)).await.unwrap();
    let inside: String = sqlx::query_scalar(told)
        .fetch_one(&mut *change)
        .await
        .unwrap();
    assert_eq!(inside, format!("{id}|key/desk|request-1|{cause}|"));
    change.commit().await.unwrap();
    let after: String = sqlx::query_scalar(told)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(after, "||||");
}
