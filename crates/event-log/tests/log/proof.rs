use event_log::{
    EventLog,
    tree::{Hash, verify_consistency, verify_inclusion},
};
use sqlx::{Connection, PgConnection};
use test_support::TestDatabase;

use crate::support::{THINGS, drain, fill, insurance, rows_read, sequencer};

const SIZE: u64 = 1_356;

async fn filled() -> (TestDatabase, EventLog) {
    let (database, log) = insurance().await;
    fill(&database, 1_356, THINGS).await;
    assert_eq!(drain(&mut sequencer(&database, &log)).await, SIZE);
    (database, log)
}

async fn leaves(connection: &mut PgConnection) -> Vec<Hash> {
    let select = "select leaf_hash from insurance_events.log order by position";
    let leaves: Vec<Vec<u8>> = sqlx::query_scalar(select)
        .fetch_all(connection)
        .await
        .unwrap();
    leaves
        .into_iter()
        .map(|it| it.try_into().unwrap())
        .collect()
}

async fn root(log: &EventLog, connection: &mut PgConnection, size: u64) -> Hash {
    log.root(connection, size).await.unwrap().unwrap()
}

#[tokio::test]
async fn every_event_is_proven_to_be_in_every_size_of_the_log() {
    let (database, log) = filled().await;
    let mut connection = database.connect_as("insurance_service").await;
    let leaves = leaves(&mut connection).await;
    for (position, size) in [
        (1, 1),
        (1, 2),
        (2, 3),
        (256, 256),
        (257, 257),
        (1, 512),
        (700, 1_000),
        (1_280, 1_300),
        (1_281, 1_356),
        (1_356, 1_356),
    ] {
        let root = root(&log, &mut connection, size).await;
        let proof = log
            .inclusion(&mut connection, position, size)
            .await
            .unwrap()
            .unwrap();
        let leaf = leaves[usize::try_from(position - 1).unwrap()];
        assert!(
            verify_inclusion(leaf, position - 1, size, root, &proof),
            "{position} in {size}"
        );
    }
}

#[tokio::test]
async fn every_size_of_the_log_is_proven_to_begin_with_the_ones_before() {
    let (database, log) = filled().await;
    let mut connection = database.connect_as("insurance_service").await;
    for (from, to) in [
        (1, 1),
        (1, 2),
        (255, 256),
        (256, 257),
        (512, 1_024),
        (700, 1_300),
        (1_281, 1_356),
    ] {
        let first = (from, root(&log, &mut connection, from).await);
        let second = (to, root(&log, &mut connection, to).await);
        let proof = log
            .consistency(&mut connection, from, to)
            .await
            .unwrap()
            .unwrap();
        assert!(verify_consistency(first, second, &proof), "{from} in {to}");
    }
}

#[tokio::test]
async fn there_is_no_proof_of_what_is_not_in_the_log() {
    let (database, log) = filled().await;
    let mut connection = database.connect_as("insurance_service").await;
    for (position, size) in [(0, 1), (2, 1), (1, SIZE + 1), (SIZE + 1, SIZE + 1), (0, 0)] {
        let none = log
            .inclusion(&mut connection, position, size)
            .await
            .unwrap();
        assert_eq!(none, None, "{position} in {size}");
        let none = log
            .consistency(&mut connection, position, size)
            .await
            .unwrap();
        assert_eq!(none, None, "{position} in {size}");
    }
    assert_eq!(log.root(&mut connection, 0).await.unwrap(), None);
    assert_eq!(log.root(&mut connection, SIZE + 1).await.unwrap(), None);
}

#[tokio::test]
async fn a_proof_reads_the_right_edge_and_a_tile_and_not_the_log() {
    let (database, log) = filled().await;
    let mut connection = database.connect_as("insurance_service").await;
    for (position, size) in [(1, SIZE), (700, SIZE), (SIZE, SIZE)] {
        let mut transaction = connection.begin().await.unwrap();
        let before = rows_read(&mut transaction).await;
        log.inclusion(&mut transaction, position, size)
            .await
            .unwrap();
        let rows = rows_read(&mut transaction).await - before;
        // 76 leaves and 5 roots at the right edge, each by the index and from the table; one tile.
        assert!(rows <= 2 * (76 + 5) + 10, "{rows}");
        transaction.rollback().await.unwrap();
    }
}
