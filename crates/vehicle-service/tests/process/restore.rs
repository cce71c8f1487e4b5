//! A failover or a restore that loses events.

use std::fs;

use tempfile::{TempDir, tempdir};
use test_support::{Remote, TestDatabase};
use vehicle_service::{NAME, SCHEMA};

use super::{
    binary::{Serving, run, text},
    caller::Caller,
};

const KEY: (&str, &str) = (
    "EVENT_LOG__SIGNING_KEY",
    "1111111111111111111111111111111111111111111111111111111111111111",
);

/// A key that reads the feed.
const FOLLOWER: [(&str, &str); 2] = [
    ("API_KEYS__FOLLOWER__KEY", "feed-key-0123456789"),
    ("API_KEYS__FOLLOWER__SCOPES", "feed"),
];

/// As many events as are due for a checkpoint, which is exported to a file.
async fn export(
    serving: &mut Serving,
    database: &TestDatabase,
    (folder, name): (&TempDir, &str),
) -> String {
    let events = format!(
        "insert into vehicle_events.events
             (event_id, aggregate_type, aggregate_id, version, event_type, actor, correlation_id, data)
         select gen_random_uuid(), 'vehicle', '{name} ' || n, 1, 'vehicle.deregistered.v1', 'key/desk',
             'none', 'null'
         from generate_series(1, 1000) as n"
    );
    database.execute(&events).await;
    let exported = serving.until_line("a checkpoint of the event log").await;
    let file = folder.path().join(name).display().to_string();
    fs::write(&file, exported["note"].as_str().unwrap()).unwrap();
    file
}

async fn value(database: &TestDatabase, sql: &str) -> String {
    let mut connection = database.connect().await;
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned()))
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

/// The exit code of a command, and what it said.
async fn told(database: &TestDatabase, command: &[&str]) -> (Option<i32>, String) {
    let output = run(database, command, &[KEY]).await;
    (output.status.code(), text(&output.stdout))
}

fn renewal<'a>(because: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    [&["new-log", "--because", because], arguments].concat()
}

#[tokio::test]
async fn a_log_that_lost_events_gets_a_new_id_and_its_readers_are_told() {
    const LOG: &str = "select log_id::text from vehicle_events.head";
    const VERSION: &str = "select last_value::text from vehicle.versions";
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let folder = tempdir().unwrap();
    let mut serving = Serving::start(&database, &[KEY]).await;
    let old = export(&mut serving, &database, (&folder, "old")).await;
    let backup = database.copy().await;
    let newest = export(&mut serving, &database, (&folder, "newest")).await;
    let newest_id = "select event_id::text from vehicle_events.log order by position desc limit 1";
    let lost = value(&database, newest_id).await;

    // A process that lives through it says so.
    database.restore(&backup).await;
    let left = value(&database, newest_id).await;
    let refused = "the event log does not extend its checkpoint of this size: nothing is signed";
    serving.until_line(refused).await;
    let mut caller = Caller::connect(serving.address).await;
    while !caller
        .get("/readyz")
        .await
        .1
        .contains("it does not extend its last checkpoint; run verify-log")
    {}
    drop(serving);

    // One that starts afterwards cannot know; an exported checkpoint does.
    let verify = async |file: &str| told(&database, &["verify-log", "--checkpoint", file]).await;
    let (code, said) = verify(&old).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = verify(&newest).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is SHORTER than it was"), "{said}");

    let (log, version) = (value(&database, LOG).await, value(&database, VERSION).await);
    for (arguments, why) in [
        (&["restored"][..], "give the newest one"),
        (&["restored", "--checkpoint", &old], "give the newest one"),
        (&["restored", "--checkpoint", &newest], "give an older one"),
        (
            &["for 19900101-1234", "--checkpoint", &newest],
            "--because has",
        ),
        (&[" ", "--checkpoint", &newest], "--because has"),
    ] {
        let (code, said) = told(&database, &renewal(arguments[0], &arguments[1..])).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(value(&database, LOG).await, log);
    let renew = renewal("restored", &["--checkpoint", &newest, "--checkpoint", &old]);
    let (code, said) = told(&database, &renew).await;
    assert_eq!(code, Some(0), "{said}");
    let renewed = value(&database, LOG).await;
    assert!(renewed != log && said.contains(&renewed), "{said}");
    let skipped = value(&database, VERSION).await.parse::<i64>().unwrap();
    assert_eq!(skipped, version.parse::<i64>().unwrap() + 1_000_000);
    // The first checkpoint of the new log comes with it.
    let (_, note) = said.split_once("to be kept:\n\n").unwrap();
    let origin = format!("threadpilot/vehicle/{renewed}\n");
    assert!(note.starts_with(&origin), "{said}");
    let first = folder.path().join("first").display().to_string();
    fs::write(&first, note).unwrap();
    assert_eq!(verify(&first).await.0, Some(0));

    // Old checkpoints hold as far as the old log is left, and no further.
    assert_eq!(verify(&old).await.0, Some(0));
    let (code, said) = verify(&newest).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("were lost"), "{said}");
    let (code, said) = told(&database, &renew).await;
    assert_eq!(code, Some(1), "{said}");

    let settings = [&[KEY][..], &FOLLOWER].concat();
    let mut serving = Serving::start(&database, &settings).await;
    let next = export(&mut serving, &database, (&folder, "next")).await;
    let note = fs::read_to_string(&next).unwrap();
    assert!(note.starts_with(&origin), "{note}");
    let (code, said) = verify(&next).await;
    assert_eq!(code, Some(0), "{said}");
    // A reader of an event that was lost begins anew; the others see that the log is another one.
    let at = Remote(serving.address);
    for (event, status) in [(lost, 410), (left, 200)] {
        let path = format!("/api/v1/events?lastEventId={event}");
        let answer = at.get_as(FOLLOWER[0].1, &path).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(status == 410 || answer.header("log-id") == renewed);
    }
    drop(serving);

    // The same backup, once more: the log that went on from it is not known there.
    database.restore(&backup).await;
    let (code, said) = verify(&next).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is SHORTER than it was"), "{said}");
    let next = ["--checkpoint", &next, "--even-if-none-agrees"];
    let renew = renewal("restored again", &next);
    let (code, said) = told(&database, &renew).await;
    assert_eq!(code, Some(0), "{said}");
    let again = value(&database, LOG).await;
    assert!(again != renewed && again != log, "{said}");
    // The log that was lost had left out as many numbers, and used others behind them.
    let skipped = value(&database, VERSION).await.parse::<i64>().unwrap();
    assert_eq!(skipped, version.parse::<i64>().unwrap() + 2_000_000);
    let (code, said) = told(&database, &renew).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("give the newest one"), "{said}");
}

/// Somebody starts the service before the log is verified.
#[tokio::test]
async fn a_log_that_was_written_to_since_its_restore_is_shorter_and_not_changed() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let folder = tempdir().unwrap();
    let mut serving = Serving::start(&database, &[KEY]).await;
    let old = export(&mut serving, &database, (&folder, "old")).await;
    let backup = database.copy().await;
    let newest = export(&mut serving, &database, (&folder, "newest")).await;
    drop(serving);
    database.restore(&backup).await;
    let mut serving = Serving::start(&database, &[KEY]).await;
    for name in ["other", "further"] {
        export(&mut serving, &database, (&folder, name)).await;
    }
    drop(serving);
    let (code, said) = told(&database, &["verify-log", "--checkpoint", &newest]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is SHORTER than it was"), "{said}");
    let renew = renewal("restored", &["--checkpoint", &newest, "--checkpoint", &old]);
    let (code, said) = told(&database, &renew).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = told(&database, &["verify-log"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = told(&database, &renew).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("give the newest one"), "{said}");
}

#[tokio::test]
async fn a_log_that_was_changed_keeps_its_id() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    let folder = tempdir().unwrap();
    let mut serving = Serving::start(&database, &[KEY]).await;
    let old = export(&mut serving, &database, (&folder, "old")).await;
    drop(serving);
    let renew = renewal("a drill", &["--checkpoint", &old, "--even-if-whole"]);
    let (code, said) = told(&database, &renew).await;
    assert_eq!(code, Some(0), "{said}");
    database
        .execute(
            "alter table vehicle_events.events disable trigger append_only;
             update vehicle_events.events set actor = 'key/other'
                 where event_id = (select event_id from vehicle_events.log where position = 700)",
        )
        .await;
    let (code, said) = told(&database, &renew).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("keep it as it is") && said.contains("position 700"),
        "{said}"
    );
}

#[tokio::test]
async fn what_is_stored_is_compared_with_the_events() {
    let database = TestDatabase::new(NAME, SCHEMA).await;
    database
        .execute("delete from vehicle.vehicles where registration_number = 'GHI789'")
        .await;
    let (code, said) = told(&database, &["verify-state"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("3 compared, 0 differ"), "{said}");
    for change in [
        "update vehicle.vehicles set model = 'V70' where registration_number = 'ABC123'",
        "delete from vehicle.vehicles where registration_number = 'ABC123'",
        "insert into vehicle.vehicles (registration_number, make, model, model_year, version)
             values ('GHI789', 'Tesla', 'Model 3', 2020, 9)",
    ] {
        let backup = database.copy().await;
        let tampered = format!("alter table vehicle.vehicles disable trigger all; {change}");
        database.execute(&tampered).await;
        let (code, said) = told(&database, &["verify-state"]).await;
        assert_eq!(code, Some(1), "{change}: {said}");
        assert!(said.contains("the vehicle of the event "), "{said}");
        assert!(
            !said.contains("ABC123") && !said.contains("GHI789"),
            "{said}"
        );
        database.restore(&backup).await;
    }
}
