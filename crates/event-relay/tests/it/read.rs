//! Readers of a stream.

use std::time::Duration;

use event_relay::{ReadError, StreamEvent, StreamReader};
use test_support::until;
use tokio::time::sleep;
use uuid::Uuid;

use crate::support::{Bed, relay_settings, within_limit};

/// Longer than a page takes.
const LONG: Duration = Duration::from_mins(1);
/// Longer than a test may take.
const LONGER: Duration = Duration::from_mins(10);

fn reader(bed: &Bed) -> StreamReader {
    StreamReader::new(relay_settings(&bed.nats.url()).nats, "test", "insurance")
}

/// A bed whose stream has so many events, and its log.
async fn bed(events: u32) -> Option<(Bed, Uuid)> {
    let bed = Bed::publishing_anew(events).await?;
    let log = bed.log_id().await;
    Some((bed, log))
}

fn places(events: &[StreamEvent]) -> Vec<(i64, Uuid)> {
    events.iter().map(|it| (it.position, it.id)).collect()
}

/// Asks until there are events.
async fn until_read(
    reader: &mut StreamReader,
    log: Uuid,
    after: Option<(i64, Uuid)>,
) -> Vec<(i64, Uuid)> {
    until(async || {
        let wait = Duration::from_millis(100);
        let events = reader.events(log, after, 100, wait).await.ok()?;
        (!events.is_empty()).then(|| places(&events))
    })
    .await
}

#[tokio::test]
async fn the_events_of_the_log_are_read_from_wherever_the_reader_is() {
    let Some((bed, log)) = bed(250).await else {
        return;
    };
    let (logged, mut reader) = (bed.logged().await, reader(&bed));
    let (mut read, mut after) = (Vec::new(), None);
    for count in [100, 100, 50] {
        let page = places(&reader.events(log, after, 100, LONG).await.unwrap());
        assert_eq!(page.len(), count);
        after = page.last().copied();
        read.extend(page);
    }
    assert_eq!(read, logged);
    // What had no effect is asked for again.
    let page = reader.events(log, Some(logged[9]), 5, LONG).await.unwrap();
    assert_eq!(places(&page), logged[10..15]);
    // The first event that comes ends the wait.
    let reading = reader.events(log, after, 100, LONGER);
    let (page, ()) = tokio::join!(within_limit("the end of the wait", reading), async {
        sleep(Duration::from_millis(100)).await;
        bed.append(1).await;
    });
    assert_eq!(places(&page.unwrap()), bed.logged().await[250..]);
    let wait = Duration::from_millis(50);
    let after = bed.logged().await.last().copied();
    assert!(
        reader
            .events(log, after, 100, wait)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_stream_that_is_missing_or_not_so_far_is_behind_and_read_on_once_it_was_filled_again() {
    let Some((bed, log)) = bed(20).await else {
        return;
    };
    let (logged, mut reader) = (bed.logged().await, reader(&bed));
    let wait = Duration::from_millis(50);
    let first = reader.events(log, None, 100, wait).await.unwrap();
    assert_eq!(places(&first), logged);
    let missing = reader.events(Uuid::new_v4(), None, 100, wait).await;
    assert!(matches!(missing, Err(ReadError::Behind)));
    let ahead = Some((21, Uuid::new_v4()));
    let behind = reader.events(log, ahead, 100, wait).await;
    assert!(matches!(behind, Err(ReadError::Behind)));
    // Its sequences go on where they were.
    bed.forget_ids().await;
    let stream = bed.jetstream().await.get_stream(bed.name().await).await;
    stream.unwrap().purge().await.unwrap();
    bed.assert_complete(20).await;
    bed.append(1).await;
    let read = until_read(&mut reader, log, logged.last().copied()).await;
    assert_eq!(read, bed.logged().await[20..]);
}

#[tokio::test]
async fn a_stream_with_other_events_or_without_the_next_one_has_a_gap() {
    let Some((bed, log)) = bed(20).await else {
        return;
    };
    let (logged, mut reader) = (bed.logged().await, reader(&bed));
    let wait = Duration::from_millis(50);
    let other = Some((10, Uuid::new_v4()));
    let gap = reader.events(log, other, 100, wait).await;
    assert!(matches!(gap, Err(ReadError::Gap)));
    let stream = bed.jetstream().await.get_stream(bed.name().await).await;
    stream.unwrap().delete_message(11).await.unwrap();
    // Up to there it is read.
    let page = reader.events(log, Some(logged[4]), 100, wait).await;
    assert_eq!(places(&page.unwrap()), logged[5..10]);
    for _ in 0..2 {
        let gap = reader.events(log, Some(logged[9]), 100, wait).await;
        assert!(matches!(gap, Err(ReadError::Gap)));
    }
}

#[tokio::test]
async fn a_broken_connection_ends_the_wait_for_an_event() {
    let Some((mut bed, log)) = bed(10).await else {
        return;
    };
    let (last, mut reader) = (bed.logged().await.last().copied(), reader(&bed));
    let wait = Duration::from_millis(50);
    reader.events(log, last, 100, wait).await.unwrap();
    let reading = reader.events(log, last, 100, LONGER);
    let (read, ()) = tokio::join!(within_limit("the end of the wait", reading), async {
        bed.nats.kill();
    });
    assert!(matches!(read, Err(ReadError::Broker(_))), "{read:?}");
}

#[tokio::test]
async fn a_broker_that_is_away_or_stands_still_is_an_error_and_read_on_afterwards() {
    let Some((mut bed, log)) = bed(10).await else {
        return;
    };
    let (logged, mut reader) = (bed.logged().await, reader(&bed));
    let wait = Duration::from_millis(50);
    let first = reader.events(log, None, 4, wait).await.unwrap();
    assert_eq!(places(&first), logged[..4]);
    bed.nats.freeze(true);
    let after = Some(logged[3]);
    // The signal takes its time.
    let still = async { while reader.events(log, after, 4, wait).await.is_ok() {} };
    within_limit("an error", still).await;
    let still = reader.events(log, after, 4, wait).await;
    assert!(matches!(still, Err(ReadError::Broker(_))));
    bed.nats.freeze(false);
    let read = until_read(&mut reader, log, after).await;
    assert_eq!(read, logged[4..]);
    bed.nats.kill();
    let away = reader.events(log, logged.last().copied(), 4, LONG).await;
    assert!(matches!(away, Err(ReadError::Broker(_))));
    bed.nats.start_again();
    bed.append(1).await;
    let read = until_read(&mut reader, log, logged.last().copied()).await;
    assert_eq!(read, bed.logged().await[10..]);
}
