use event_log::EventLog;
use test_support::TestDatabase;

use crate::support::SERVICES;

#[tokio::test]
async fn every_trigger_that_is_not_armed_is_named() {
    for (service, schema, _) in SERVICES {
        let database = TestDatabase::new(service, schema).await;
        let mut connection = database.connect_as(&format!("{service}_service")).await;
        let log = EventLog::new(service);
        assert_eq!(log.disarmed(&mut connection, &[]).await.unwrap(), [""; 0]);
        for (table, triggers) in [
            (
                "events",
                &[
                    "take_a_sequence",
                    "await_a_place",
                    "append_only",
                    "never_truncated",
                ][..],
            ),
            ("log", &["append_only", "never_truncated"]),
            ("event_tiles", &["append_only", "never_truncated"]),
            ("checkpoints", &["append_only", "never_truncated"]),
            ("former_logs", &["append_only", "never_truncated"]),
        ] {
            for trigger in triggers {
                // Not armed where it is silent for a replica, either.
                for state in ["disable", "enable"] {
                    let change =
                        format!("alter table {service}_events.{table} {state} trigger {trigger}");
                    database.execute(&change).await;
                    let named = format!("{service}_events.{table}.{trigger}");
                    assert_eq!(log.disarmed(&mut connection, &[]).await.unwrap(), [named]);
                }
                let arm =
                    format!("alter table {service}_events.{table} enable always trigger {trigger}");
                database.execute(&arm).await;
            }
            let grant = format!("grant update on {service}_events.{table} to {service}_migrator");
            database.execute(&grant).await;
            let named = format!("{service}_events.{table}");
            assert_eq!(log.disarmed(&mut connection, &[]).await.unwrap(), [named]);
            database
                .execute(&grant.replace("grant", "revoke").replace(" to ", " from "))
                .await;
        }
        assert_eq!(log.disarmed(&mut connection, &[]).await.unwrap(), [""; 0]);
        let other = [("no_such.table", "append_only")];
        let missing = log.disarmed(&mut connection, &other).await.unwrap();
        assert_eq!(missing, ["no_such.table.append_only"]);
    }
}
