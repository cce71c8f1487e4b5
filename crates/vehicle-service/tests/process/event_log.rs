use std::fs;

use tempfile::tempdir;
use test_support::TestDatabase;
use vehicle_service::{NAME, SCHEMA};

use super::{
    binary::{Serving, command, run, text},
    caller::within,
};

const API_KEY: (&str, &str) = ("API_KEYS__TEST__KEY", "test-key-0123456789");

/// As many events as are due for a checkpoint, of things that are no vehicles.
const EVENTS: &str = "insert into vehicle_events.events
    (event_id, aggregate_type, aggregate_id, version, event_type, actor, correlation_id, data)
    select gen_random_uuid(), 'vehicle', 'test ' || n, 1, 'vehicle.registered.v1', 'key/desk', 'none', 'null'
    from generate_series(1, 1000) as n";

/// What the owner of the tables can do.
const TAMPER: &str = "alter table vehicle_events.events disable trigger append_only;
    update vehicle_events.events set actor = 'key/other'
        where event_id = (select event_id from vehicle_events.log where position = 700)";

#[tokio::test]
async fn the_service_places_and_signs_events_and_a_command_verifies_them() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let seed = "1".repeat(64);
    let key = ("EVENT_LOG__SIGNING_KEY", seed.as_str());
    let mut serving = Serving::start(&database, &[key]).await;
    database.execute(EVENTS).await;
    let exported = serving.until_line("a checkpoint of the event log").await;
    let folder = tempdir().unwrap();
    let file = folder.path().join("checkpoint").display().to_string();
    fs::write(&file, exported["note"].as_str().unwrap()).unwrap();
    let verify = ["verify-log", "--checkpoint", &file];

    let whole = run(&database, &verify, &[key]).await;
    let said = text(&whole.stdout);
    assert_eq!(whole.status.code(), Some(0), "{said}");
    assert!(said.contains("the log is whole"), "{said}");

    database.execute(TAMPER).await;
    for arguments in [&verify[..], &verify[..1]] {
        let bad = run(&database, arguments, &[key]).await;
        let said = text(&bad.stdout);
        assert_eq!(bad.status.code(), Some(1), "{said}");
        assert!(
            said.contains("position 700: the event is not the one that was hashed"),
            "{said}"
        );
    }

    fs::write(
        &file,
        exported["note"].as_str().unwrap().replace("\n1", "\n2"),
    )
    .unwrap();
    let forged = run(&database, &verify, &[key]).await;
    let said = text(&forged.stdout);
    assert_eq!(forged.status.code(), Some(1), "{said}");
    assert!(said.contains("the note is forged"), "{said}");
}

#[tokio::test]
async fn check_shows_the_public_key_and_never_the_other_one() {
    let seed = "1".repeat(64);
    for (setting, shown) in [
        (seed.as_str(), "event_log.public_key  threadpilot/vehicle+"),
        (
            "",
            "event_log.public_key  none: event_log.signing_key is not set",
        ),
    ] {
        let settings = [API_KEY, ("EVENT_LOG__SIGNING_KEY", setting)];
        let output = within(command(&["check"], &settings).output())
            .await
            .unwrap();
        let said = text(&output.stdout);
        assert!(said.contains(shown) && !said.contains(&seed), "{said}");
        let settings = [API_KEY, ("EVENT_LOG__SIGNING_KEY", "no key")];
        let output = within(command(&["check"], &settings).output())
            .await
            .unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        let named = "event_log.signing_key: is not 64 hexadecimal digits";
        assert!(said.contains(named) && !said.contains("no key"), "{said}");
    }
}
