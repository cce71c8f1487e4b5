use event_log::EventLog;
use test_support::TestDatabase;

use crate::support::{SERVICES, append, drain, insurance, number, sequencer};

const RELAY: &str = "nats";

#[tokio::test]
async fn one_process_has_the_lease_of_a_relay_until_it_ends() {
    for (name, schema, _) in SERVICES {
        let database = TestDatabase::new(name, schema).await;
        let log = EventLog::new(name);
        let mut connection = database.connect_as(&format!("{name}_service")).await;
        let mut lease = async |held| log.lease_relay(&mut connection, RELAY, held).await.unwrap();
        let first = lease(None).await;
        assert!(first.is_some());
        assert_eq!(lease(None).await, None);
        assert_eq!(lease(first).await, first);
        let over = format!("update {name}_events.relays set leased_until = now()");
        database.execute(&over).await;
        let second = lease(None).await;
        assert!(second > first);
        // It was stopped for too long, and neither renews nor ends the other one's.
        assert_eq!(lease(first).await, None);
        let ended = log.end_relay_lease(&mut connection, RELAY, first.unwrap());
        ended.await.unwrap();
        assert_eq!(
            log.lease_relay(&mut connection, RELAY, None).await.unwrap(),
            None
        );
        let ended = log.end_relay_lease(&mut connection, RELAY, second.unwrap());
        ended.await.unwrap();
        let third = log.lease_relay(&mut connection, RELAY, None).await.unwrap();
        assert!(third > second);
    }
}

#[tokio::test]
async fn the_lag_of_a_relay_is_counted_from_what_its_holder_noted() {
    let (database, log) = insurance().await;
    let mut connection = database.connect_as("insurance_service").await;
    for version in 1..=5 {
        let appended = append(&log, &mut connection, ("policy", "A"), version);
        appended.await.unwrap();
    }
    drain(&mut sequencer(&database, &log)).await;
    let fence = log
        .lease_relay(&mut connection, RELAY, None)
        .await
        .unwrap()
        .unwrap();
    let log_id = log.head(&mut connection).await.unwrap().log_id;
    let stream = &*format!("stream-{log_id}");
    let lag = log.relay_lag(&mut connection, RELAY, "stream-");
    assert_eq!(lag.await.unwrap(), 5);
    let note = log.note_relayed(&mut connection, (RELAY, fence), (stream, 3));
    note.await.unwrap();
    // From a process that had the lease before.
    let note = log.note_relayed(&mut connection, (RELAY, fence - 1), (stream, 5));
    note.await.unwrap();
    let lag = log.relay_lag(&mut connection, RELAY, "stream-");
    assert_eq!(lag.await.unwrap(), 2);
    // What was published of another log is none of this one.
    let lag = log.relay_lag(&mut connection, RELAY, "other-");
    assert_eq!(lag.await.unwrap(), 5);
    let select = "select position from insurance_events.relays";
    assert_eq!(number(&mut connection, select).await, 3);
}
