//! What the owner of the tables can do to them, and what is found of it.

use event_log::{Checkpoint, EventLog, Fault, Report, SigningKey};
use settings::Secret;
use sqlx::Connection;
use test_support::TestDatabase;

use crate::{
    checkpoints::{grow, key, sign_note, signer},
    support::{THINGS, drain, fill, insurance, rewrite, sequencer, tamper},
};

/// 700 events, with checkpoints of the sizes 200 and 600 that were exported. Somebody has kept what
/// `head` was at 200.
async fn filled() -> (TestDatabase, EventLog, Vec<String>) {
    let (database, log) = insurance().await;
    let mut signer = signer(&database, &log);
    grow(&database, &log, 200).await;
    let mut exported = vec![sign_note(&mut signer).await];
    let keep = "create table kept as select * from insurance_events.head";
    database.execute(keep).await;
    grow(&database, &log, 400).await;
    exported.push(sign_note(&mut signer).await);
    grow(&database, &log, 100).await;
    (database, log, exported)
}

async fn verify(database: &TestDatabase, log: &EventLog, exported: &[String]) -> Report {
    let mut connection = database.connect_as("insurance_service").await;
    let mut transaction = connection.begin().await.unwrap();
    log.verify(&mut transaction, exported, Some(&key().public()))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_log_that_nobody_touched_is_whole() {
    let (database, log, exported) = filled().await;
    let report = verify(&database, &log, &exported).await;
    assert_eq!(
        (report.events, report.checkpoints, report.is_whole()),
        (700, 4, true)
    );
    assert!(
        report
            .to_string()
            .contains("700 events and 4 checkpoints are as they were"),
        "{report}"
    );
}

/// Whoever places events is told the moment that was kept, as the owner of the database can.
async fn stop_the_clock(database: &TestDatabase) {
    let stop = "create schema stopped;
        grant usage on schema stopped to public;
        create function stopped.clock_timestamp() returns timestamptz
            language plpgsql security definer
            as 'begin return (select placed_at from public.kept); end';
        do $$ begin
            execute format('alter database %I set search_path = stopped, pg_catalog, public', current_database());
        end $$";
    database.execute(stop).await;
}

#[tokio::test]
async fn six_kinds_of_tampering_are_found_with_the_first_bad_position() {
    const FORGET: &str = "delete from insurance_events.checkpoints;
        delete from insurance_events.hours;
        insert into insurance_events.hours
            select date_trunc('hour', placed_at, 'UTC'), event_type, actor, count(*)
            from insurance_events.log group by 1, 2, 3";
    for (kind, changes, position) in [
        (
            "change",
            "update insurance_events.events set actor = 'key/other' where sequence = 300",
            300,
        ),
        ("delete", "delete from insurance_events.events where sequence = 300", 300),
        (
            "swap",
            "update insurance_events.log set position = position + 1000000;
             update insurance_events.log set position =
                 case position when 1000300 then 301 when 1000301 then 300 else position - 1000000 end",
            300,
        ),
        (
            "insert",
            "update insurance_events.log set position = position + 1000000;
             update insurance_events.log set position =
                 position - case when position >= 1000300 then 999999 else 1000000 end;
             insert into insurance_events.log select 300, gen_random_uuid(), event_type, actor,
                 leaf_hash, placed_at from insurance_events.log where position = 301;
             update insurance_events.head set position = position + 1",
            300,
        ),
        (
            "truncate",
            "delete from insurance_events.events where sequence > 200;
             delete from insurance_events.log where position > 200;
             delete from insurance_events.event_tiles;
             update insurance_events.head set position = kept.position, edge = kept.edge from kept",
            201,
        ),
        (
            "rewrite",
            "update insurance_events.events set actor = 'key/other' where sequence = 300;
             delete from insurance_events.log where position > 200;
             delete from insurance_events.event_tiles;
             update insurance_events.head
                 set position = kept.position, edge = kept.edge, placed_at = kept.placed_at from kept;
             insert into insurance_events.unplaced
                 select sequence, event_id from insurance_events.events where sequence > 200",
            201,
        ),
    ] {
        let (database, log, exported) = filled().await;
        tamper(&database, &format!("{changes};{FORGET}")).await;
        if kind == "rewrite" {
            stop_the_clock(&database).await;
            drain(&mut sequencer(&database, &log)).await;
        }
        let report = verify(&database, &log, &exported).await;
        // What is missing at the end looks as after a restore.
        let (found, other) = match kind {
            "truncate" => (&report.lost, &report.fault),
            _ => (&report.fault, &report.lost),
        };
        assert_eq!(found.as_ref().map(|it| it.position), Some(position), "{kind}: {report}");
        assert_eq!(*other, None, "{kind}: {report}");
        if ["truncate", "rewrite"].contains(&kind) {
            // Nobody but a keeper of a checkpoint can know.
            assert!(verify(&database, &log, &[]).await.is_whole(), "{kind}");
        }
    }
}

#[tokio::test]
async fn what_is_kept_beside_the_events_is_compared_with_them() {
    for (changes, position) in [
        ("update insurance_events.log set actor = 'key/other' where position = 300", 300),
        ("update insurance_events.log set event_type = 'a.b.v1' where position = 300", 300),
        ("update insurance_events.log set leaf_hash = sha256('') where position = 300", 300),
        ("update insurance_events.log set placed_at = '2000-01-01' where position = 300", 300),
        ("update insurance_events.event_tiles set root = sha256('') where tile = 1", 512),
        ("delete from insurance_events.event_tiles where tile = 0", 256),
        ("update insurance_events.head set position = 699", 701),
        ("update insurance_events.head set edge = ''", 701),
        ("delete from insurance_events.log where position > 699", 700),
        ("update insurance_events.checkpoints set root = sha256('') where position = 600", 600),
        ("update insurance_events.checkpoints set note = replace(note, '200', '201')", 200),
        (
            "insert into insurance_events.events (event_id, sequence, aggregate_type, aggregate_id, version,
                 event_type, actor, correlation_id, data)
             values (gen_random_uuid(), 0, 'policy', 'A', 1, 'policy.drafted.v1', 'key/x', 'none', '{}');
             delete from insurance_events.unplaced",
            701,
        ),
        ("update insurance_events.hours set events = events - 1 where hour = (select min(hour) from insurance_events.hours)", 701),
        ("delete from insurance_events.hours", 701),
        (
            "alter table insurance_events.events drop constraint events_pkey;
             insert into insurance_events.events (event_id, sequence, aggregate_type, aggregate_id, version,
                 event_type, actor, correlation_id, data)
             select event_id, 0, 'policy', 'A', 1, 'policy.drafted.v1', 'key/x', 'none', '{}'
             from insurance_events.log where position = 300;
             delete from insurance_events.unplaced",
            300,
        ),
        (
            "alter table insurance_events.log drop constraint position_starts_at_one;
             insert into insurance_events.events (event_id, sequence, aggregate_type, aggregate_id, version,
                 event_type, actor, correlation_id, data)
             values (gen_random_uuid(), 0, 'policy', 'A', 1, 'policy.drafted.v1', 'key/x', 'none', '{}');
             insert into insurance_events.log select 0, event_id, event_type, actor, sha256(''), now()
             from insurance_events.events where aggregate_id = 'A';
             delete from insurance_events.unplaced",
            1,
        ),
    ] {
        let (database, log, _) = filled().await;
        tamper(&database, changes).await;
        let fault = verify(&database, &log, &[]).await.fault;
        assert_eq!(fault.map(|it| it.position), Some(position), "{changes}");
    }
}

/// The exported checkpoint that [`filled`] gives, of another log.
fn of_log(note: &str, id: &str, key: &SigningKey) -> String {
    let told = Checkpoint::read(note).unwrap();
    key.sign(&Checkpoint {
        origin: format!("threadpilot/insurance/{id}"),
        ..told
    })
}

#[tokio::test]
async fn a_checkpoint_of_another_log_says_so() {
    const ID: &str = "0192f3c4-0000-7000-8000-00000000abcd";
    let (database, log, exported) = filled().await;
    let other = SigningKey::new("insurance", &Secret::from("3".repeat(64).as_str())).unwrap();
    for (id, key) in [("other", &key()), (ID, &other)] {
        let note = of_log(&exported[0], id, key);
        let report = verify(&database, &log, &[note]).await;
        let fault = report.fault.unwrap();
        assert!(fault.what.contains("another log"), "{fault}");
    }
    // Our key signs for no log but those that go on from this one.
    let notes = [&exported[0], &of_log(&exported[0], ID, &key())].map(Clone::clone);
    let report = verify(&database, &log, &notes).await;
    assert_eq!(
        (&report.fault, report.lost_logs.len()),
        (&None, 1),
        "{report}"
    );
    assert!(
        report.to_string().contains("is SHORTER than it was"),
        "{report}"
    );
}

/// Whoever was served by a database that was restored has written to it before anybody looked.
#[tokio::test]
async fn events_that_came_after_a_restore_are_not_taken_for_changed_ones() {
    let (database, log) = insurance().await;
    grow(&database, &log, 200).await;
    let kept = sign_note(&mut signer(&database, &log)).await;
    let backup = database.copy().await;
    grow(&database, &log, 100).await;
    let lost = sign_note(&mut signer(&database, &log)).await;
    database.restore(&backup).await;
    let log = EventLog::new("insurance");
    grow(&database, &log, 150).await;
    sign_note(&mut signer(&database, &log)).await;
    let report = verify(&database, &log, &[kept, lost]).await;
    let Fault { position, what } = report.lost.as_ref().unwrap();
    assert_eq!((*position, &report.fault), (201, &None), "{report}");
    assert!(what.contains("from here to 300"), "{report}");
    assert_eq!((report.events, report.checkpoints), (350, 3), "{report}");
}

/// A backup holds events that wait for their places: they are placed anew, at another time.
#[tokio::test]
async fn events_that_waited_in_a_backup_are_not_taken_for_changed_ones() {
    let (database, log) = insurance().await;
    grow(&database, &log, 200).await;
    let kept = sign_note(&mut signer(&database, &log)).await;
    let values = THINGS.replace("n::text", "'waiting ' || n");
    fill(&database, 50, &values).await;
    let backup = database.copy().await;
    assert_eq!(drain(&mut sequencer(&database, &log)).await, 50);
    let lost = sign_note(&mut signer(&database, &log)).await;
    database.restore(&backup).await;
    let log = EventLog::new("insurance");
    assert_eq!(drain(&mut sequencer(&database, &log)).await, 50);
    let report = verify(&database, &log, &[kept, lost]).await;
    let Fault { position, what } = report.lost.as_ref().unwrap();
    assert_eq!((*position, &report.fault), (201, &None), "{report}");
    assert!(what.contains("from here to 250"), "{report}");
    assert_eq!((report.checkpoints, report.given), (2, 1), "{report}");
}

/// Every checkpoint that was kept is then one of a log that is not known here, as after a restore.
#[tokio::test]
async fn a_log_that_was_rewritten_under_another_id_is_not_one_that_was_lost() {
    let (database, log, exported) = filled().await;
    let changes = "update insurance_events.events set actor = 'key/other' where sequence = 300;
        delete from insurance_events.checkpoints;
        update insurance_events.head set log_id = gen_random_uuid()";
    rewrite(&database, &log, changes).await;
    for signed_since in [false, true] {
        if signed_since {
            sign_note(&mut signer(&database, &log)).await;
        }
        let report = verify(&database, &log, &exported).await;
        let fault = report.fault.as_ref().unwrap();
        assert_eq!((fault.position, &report.lost), (1, &None), "{report}");
        assert!(fault.what.contains("another log"), "{report}");
    }
}
