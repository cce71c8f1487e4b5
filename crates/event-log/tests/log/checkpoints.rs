use std::{sync::atomic::Ordering, time::Duration};

use event_log::{Checkpoint, EventLog, Signed, Signer, SigningKey, tree::verify_consistency};
use service_defaults::metrics::Metrics;
use settings::Secret;
use sqlx::Connection as _;
use test_support::{TestDatabase, until};
use tokio::time::{pause, resume, sleep};

use crate::support::{
    THINGS, connect, drain, fill, insurance, measured, rewrite, sequencer, tamper,
    waiting_for_a_lock,
};

pub(crate) fn key() -> SigningKey {
    SigningKey::new("insurance", &Secret::from("1".repeat(64).as_str())).unwrap()
}

pub(crate) fn signer(database: &TestDatabase, log: &EventLog) -> Signer {
    let meter = opentelemetry::global::meter("test");
    Signer::new(log.clone(), connect(database, 1), key(), &meter)
}

/// Events of things of their own, placed.
pub(crate) async fn grow(database: &TestDatabase, log: &EventLog, count: u32) {
    let values = THINGS.replace("n::text", "gen_random_uuid()::text");
    fill(database, count, &values).await;
    assert_eq!(drain(&mut sequencer(database, log)).await, u64::from(count));
}

/// The note that this step signs.
pub(crate) async fn sign_note(signer: &mut Signer) -> String {
    match signer.step().await.unwrap() {
        Signed::Note(note) => note,
        other => panic!("{other:?}"),
    }
}

/// The checkpoint that this step signs.
async fn sign(signer: &mut Signer) -> Checkpoint {
    let note = sign_note(signer).await;
    key().public().open(&note).unwrap().unwrap()
}

#[tokio::test]
async fn a_checkpoint_extends_the_one_before() {
    let (database, log) = insurance().await;
    let mut signer = signer(&database, &log);
    assert_eq!(
        signer.step().await.unwrap(),
        Signed::Nothing,
        "of an empty log"
    );
    grow(&database, &log, 300).await;
    let first = sign(&mut signer).await;
    assert_eq!(
        signer.step().await.unwrap(),
        Signed::Nothing,
        "there is nothing new"
    );
    grow(&database, &log, 313).await;
    let second = sign(&mut signer).await;
    assert_eq!((first.size, second.size), (300, 613));
    assert_eq!(first.origin, second.origin);
    let mut connection = database.connect_as("insurance_service").await;
    let proof = log
        .consistency(&mut connection, 300, 613)
        .await
        .unwrap()
        .unwrap();
    assert!(verify_consistency(
        (300, first.root),
        (613, second.root),
        &proof
    ));
}

/// Readers would wait for each proof that the signer makes first.
#[tokio::test]
async fn events_get_their_places_while_somebody_signs() {
    let (database, log) = insurance().await;
    grow(&database, &log, 3).await;
    let slow = "create function insurance_events.wait() returns trigger language plpgsql as
            'begin perform pg_advisory_xact_lock(7); return new; end';
        create trigger wait before insert on insurance_events.checkpoints
            for each row execute function insurance_events.wait()";
    database.execute(slow).await;
    let mut gate = database.connect().await;
    sqlx::raw_sql("select pg_advisory_lock(7)")
        .execute(&mut gate)
        .await
        .unwrap();
    let mut signer = signer(&database, &log);
    let signing = tokio::spawn(async move { sign(&mut signer).await });
    waiting_for_a_lock(&mut gate).await;
    grow(&database, &log, 2).await;
    sqlx::raw_sql("select pg_advisory_unlock(7)")
        .execute(&mut gate)
        .await
        .unwrap();
    assert_eq!(signing.await.unwrap().size, 3);
    assert_eq!(sign(&mut self::signer(&database, &log)).await.size, 5);
}

#[tokio::test]
async fn how_long_events_wait_for_a_checkpoint_is_measured() {
    let (database, log) = insurance().await;
    let metrics = Metrics::new("insurance").unwrap();
    let signer = Signer::new(log.clone(), connect(&database, 1), key(), metrics.meter());
    let age = || measured(&metrics, "event_log_checkpoint_age_seconds");
    let pass = async || {
        pause();
        sleep(Duration::from_secs(30)).await;
        resume();
    };
    let signing = tokio::spawn(signer.run());
    pass().await;
    assert_eq!(age().to_string(), "0", "there is no event");
    grow(&database, &log, 3).await;
    pass().await;
    let waits = age();
    assert!((25.0..60.0).contains(&waits), "{waits}");
    // So many that one is due at once.
    grow(&database, &log, 1_000).await;
    until(async || (age() < 1.0).then_some(())).await;
    signing.abort();
}

/// Also where the clock was set back since they got their places.
#[tokio::test]
async fn a_checkpoint_is_never_older_than_the_events_that_it_covers() {
    let (database, log) = insurance().await;
    database
        .execute("update insurance_events.head set placed_at = '2100-01-01'")
        .await;
    grow(&database, &log, 1).await;
    let signed_at = sign(&mut signer(&database, &log)).await.signed_at.unwrap();
    assert!(signed_at.to_string().starts_with("2100-"), "{signed_at}");
}

#[tokio::test]
async fn a_log_that_does_not_extend_its_checkpoint_is_not_signed() {
    const CHANGE: &str =
        "update insurance_events.events set actor = 'key/other' where sequence = 7";
    const FORGE: &str = "update insurance_events.checkpoints set root = sha256('')";
    const FORGET: &str = "delete from insurance_events.checkpoints";
    const SHORTEN: &str = "delete from insurance_events.events where sequence > 200";
    // What the owner of the tables does, and whether a process that was started since notices it.
    for (changes, made_anew, noticed_by_a_new_one) in [
        ([CHANGE, ""], true, true),
        ([FORGE, ""], false, true),
        ([SHORTEN, ""], true, true),
        ([CHANGE, FORGET], true, false),
        ([SHORTEN, FORGET], true, false),
    ] {
        let (database, log) = insurance().await;
        let mut old = signer(&database, &log);
        grow(&database, &log, 300).await;
        sign(&mut old).await;
        if made_anew {
            rewrite(&database, &log, &changes.join(";")).await;
        } else {
            tamper(&database, &changes.join(";")).await;
        }
        grow(&database, &log, 5).await;
        assert_eq!(
            old.step().await.unwrap(),
            Signed::Refused(300),
            "{changes:?}"
        );
        let new = signer(&database, &log).step().await.unwrap();
        let refused = matches!(new, Signed::Refused(300));
        assert_eq!(refused, noticed_by_a_new_one, "{changes:?}: {new:?}");
    }
}

/// Whoever makes the log and the column of the root anew cannot sign the note.
#[tokio::test]
async fn a_root_in_the_table_that_the_note_does_not_say_is_not_believed() {
    let (database, log) = insurance().await;
    grow(&database, &log, 300).await;
    sign(&mut signer(&database, &log)).await;
    let change = "update insurance_events.events set actor = 'key/other' where sequence = 7";
    rewrite(&database, &log, change).await;
    let mut connection = database.connect_as("insurance_service").await;
    let root = log.root(&mut connection, 300).await.unwrap().unwrap();
    let root = hex::encode(root);
    let forge = format!("update insurance_events.checkpoints set root = '\\x{root}'");
    tamper(&database, &forge).await;
    let signed = signer(&database, &log).step().await.unwrap();
    assert_eq!(signed, Signed::Refused(300));
}

#[tokio::test]
async fn an_end_that_was_changed_is_refused_and_stays_so_while_another_one_works() {
    let (database, log) = insurance().await;
    let metrics = Metrics::new("insurance").unwrap();
    let signer = &mut Signer::new(log.clone(), connect(&database, 1), key(), metrics.meter());
    let told = || measured(&metrics, "event_log_checkpoint_refused").to_string();
    grow(&database, &log, 3).await;
    let refused = signer.refused();
    assert_eq!(told(), "0");
    database
        .execute("update insurance_events.head set edge = ''")
        .await;
    assert_eq!(signer.step().await.unwrap(), Signed::Refused(3));
    let mut connection = database.connect().await;
    let mut other = connection.begin().await.unwrap();
    let signs = "select pg_advisory_xact_lock(5084, hashtext('insurance_events.checkpoints'))";
    sqlx::raw_sql(signs).execute(&mut *other).await.unwrap();
    assert_eq!(signer.step().await.unwrap(), Signed::Busy);
    assert!(refused.load(Ordering::Relaxed), "nothing was looked at");
    assert_eq!(told(), "1");
}

fn other_key() -> SigningKey {
    SigningKey::new("insurance", &Secret::from("2".repeat(64).as_str())).unwrap()
}

/// What another key signs of the log as it is, without storing it.
async fn note_of_another_key(database: &TestDatabase, log: &EventLog) -> (Checkpoint, String) {
    let connections = connect(database, 1);
    let meter = opentelemetry::global::meter("test");
    database
        .execute("create table signed as select * from insurance_events.checkpoints")
        .await;
    tamper(database, "delete from insurance_events.checkpoints").await;
    let mut other = Signer::new(log.clone(), connections, other_key(), &meter);
    let Signed::Note(note) = other.step().await.unwrap() else {
        panic!("nothing was signed");
    };
    let restore = "delete from insurance_events.checkpoints;
        insert into insurance_events.checkpoints select * from signed; drop table signed";
    tamper(database, restore).await;
    (other_key().public().open(&note).unwrap().unwrap(), note)
}

#[tokio::test]
async fn a_checkpoint_that_somebody_planted_is_not_believed() {
    for signed_by_another in [false, true] {
        let (database, log) = insurance().await;
        grow(&database, &log, 300).await;
        sign(&mut signer(&database, &log)).await;
        let change = "update insurance_events.events set actor = 'key/other' where sequence = 7";
        rewrite(&database, &log, change).await;
        grow(&database, &log, 5).await;
        let (checkpoint, mut note) = note_of_another_key(&database, &log).await;
        if !signed_by_another {
            note = format!("{checkpoint}\n");
        }
        sqlx::query(
            "insert into insurance_events.checkpoints (position, root, note) values (305, $1, $2)",
        )
        .bind(checkpoint.root.to_vec())
        .bind(note)
        .execute(&mut database.connect().await)
        .await
        .unwrap();
        grow(&database, &log, 5).await;
        let mut new = signer(&database, &log);
        assert_eq!(new.step().await.unwrap(), Signed::Refused(305));
        let mut connection = database.connect_as("insurance_service").await;
        let mut transaction = connection.begin().await.unwrap();
        let public = key().public();
        let report = log.verify(&mut transaction, &[], Some(&public)).await;
        let fault = report.unwrap().fault.unwrap();
        assert_eq!(fault.position, 305, "{fault}");
        assert!(fault.what.contains("is not signed"), "{fault}");
    }
}

#[tokio::test]
async fn a_new_key_goes_on_where_the_old_one_ended() {
    let (database, log) = insurance().await;
    grow(&database, &log, 300).await;
    sign(&mut signer(&database, &log)).await;
    grow(&database, &log, 5).await;
    let meter = opentelemetry::global::meter("test");
    let mut new = Signer::new(log.clone(), connect(&database, 1), other_key(), &meter);
    assert!(matches!(new.step().await.unwrap(), Signed::Note(_)));
    assert_eq!(new.step().await.unwrap(), Signed::Nothing);
    let mut connection = database.connect_as("insurance_service").await;
    let mut transaction = connection.begin().await.unwrap();
    let public = other_key().public();
    let report = log.verify(&mut transaction, &[], Some(&public)).await;
    assert_eq!(report.unwrap().fault, None);
}
