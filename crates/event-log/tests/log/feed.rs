use std::time::{Duration, SystemTime};

use event_log::{EventLog, LOOKED_AT, Page, Wanted, new_event_id};
use sqlx::PgConnection;
use tokio::task::yield_now;

use crate::support::{
    THINGS, append, begin_counting, drain, fill, insurance, rows_read, sequencer,
};

fn wanted(after: i64, limit: u16) -> Wanted {
    Wanted {
        after,
        limit,
        types: vec![],
        subject: None,
    }
}

fn positions(page: &Page) -> Vec<i64> {
    page.events.iter().map(|it| it.position).collect()
}

async fn page(log: &EventLog, connection: &mut PgConnection, wanted: &Wanted) -> Page {
    log.page(connection, wanted).await.unwrap()
}

#[tokio::test]
async fn a_reader_follows_the_log_page_by_page() {
    let (database, log) = insurance().await;
    let mut connection = database.connect_as("insurance_service").await;
    assert_eq!(
        page(&log, &mut connection, &wanted(0, 2)).await,
        Page::default()
    );
    for version in 1..=5 {
        append(&log, &mut connection, ("policy", "A"), version)
            .await
            .unwrap();
    }
    assert_eq!(
        page(&log, &mut connection, &wanted(0, 2)).await,
        Page::default(),
        "none is placed"
    );
    drain(&mut sequencer(&database, &log)).await;
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let page = page(&log, &mut connection, &wanted(after, 2)).await;
        let Some((last, id)) = page.last else { break };
        assert_eq!(
            log.position_after(&mut connection, id).await.unwrap(),
            Some(last)
        );
        seen.push(positions(&page));
        after = last;
    }
    assert_eq!(seen, [vec![1, 2], vec![3, 4], vec![5]]);
    let head = log.head(&mut connection).await.unwrap();
    assert_eq!(head.position, 5);
    let other = new_event_id();
    assert_eq!(
        log.position_after(&mut connection, other).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn a_moment_is_found_in_the_order_of_positions() {
    let (database, log) = insurance().await;
    let mut sequencer = sequencer(&database, &log);
    let mut connection = database.connect_as("insurance_service").await;
    let begun = SystemTime::now();
    assert_eq!(
        log.position_before(&mut connection, begun).await.unwrap(),
        0
    );
    let mut moments = Vec::new();
    for version in 1..=9 {
        append(&log, &mut connection, ("policy", "A"), version)
            .await
            .unwrap();
        drain(&mut sequencer).await;
        let page = page(&log, &mut connection, &wanted(version - 1, 1)).await;
        moments.push(SystemTime::from(page.events[0].placed_at));
    }
    for (earlier, moment) in (0..).zip(&moments) {
        let found = log.position_before(&mut connection, *moment).await.unwrap();
        assert_eq!(found, earlier);
        let later = *moment + Duration::from_micros(1);
        assert_eq!(
            log.position_before(&mut connection, later).await.unwrap(),
            earlier + 1
        );
    }
}

#[tokio::test]
async fn a_filtered_reader_goes_on_behind_what_is_not_wanted() {
    let (database, log) = insurance().await;
    let mut connection = database.connect_as("insurance_service").await;
    let count = u32::try_from(LOOKED_AT).unwrap() + 5;
    fill(&database, count, THINGS).await;
    append(&log, &mut connection, ("price", "car"), 1)
        .await
        .unwrap();
    append(&log, &mut connection, ("policy", "A"), 1)
        .await
        .unwrap();
    drain(&mut sequencer(&database, &log)).await;
    let by_type = Wanted {
        types: vec!["price.changed.v1".to_owned()],
        ..wanted(0, 10)
    };
    let by_subject = Wanted {
        subject: Some(("price".to_owned(), "car".to_owned())),
        ..wanted(0, 10)
    };
    for mut wanted in [by_type, by_subject] {
        let first = page(&log, &mut connection, &wanted).await;
        assert_eq!(
            (positions(&first), first.last.unwrap().0),
            (vec![], LOOKED_AT)
        );
        wanted.after = LOOKED_AT;
        let second = page(&log, &mut connection, &wanted).await;
        assert_eq!(positions(&second), [LOOKED_AT + 6]);
        assert_eq!(
            second.last.unwrap().0,
            LOOKED_AT + 7,
            "the last one was looked at"
        );
        wanted.after = LOOKED_AT + 7;
        assert_eq!(page(&log, &mut connection, &wanted).await, Page::default());
    }
}

#[tokio::test]
async fn a_page_is_cut_at_a_mebibyte() {
    let (database, log) = insurance().await;
    let mut connection = database.connect_as("insurance_service").await;
    fill(&database, 100, THINGS).await;
    let lengthen = "alter table insurance_events.events disable trigger append_only;
        update insurance_events.events set data = to_json(repeat('x', 16000))";
    database.execute(lengthen).await;
    drain(&mut sequencer(&database, &log)).await;
    let all = Wanted {
        types: vec!["policy.drafted.v1".to_owned()],
        ..wanted(0, 1_000)
    };
    let page = page(&log, &mut connection, &all).await;
    assert_eq!(page.events.len(), (1 << 20) / 16_002 + 1);
    assert_eq!(page.last.unwrap().0, page.events.last().unwrap().position);
}

#[tokio::test]
async fn a_page_costs_as_much_at_the_end_as_at_the_beginning() {
    let (database, log) = insurance().await;
    let mut connection = database.connect_as("insurance_service").await;
    fill(&database, 3_000, THINGS).await;
    drain(&mut sequencer(&database, &log)).await;
    let mut costs = Vec::new();
    for after in [0, 1_500, 2_950] {
        let (mut transaction, before) = begin_counting(&mut connection).await;
        let page = page(&log, &mut transaction, &wanted(after, 50)).await;
        assert_eq!(page.events.len(), 50);
        costs.push(rows_read(&mut transaction).await - before);
        transaction.rollback().await.unwrap();
    }
    assert!(
        costs.iter().all(|cost| *cost <= 110),
        "rows read: {costs:?}"
    );
}

#[tokio::test]
async fn a_waiting_reader_is_woken_by_the_next_event() {
    let (database, log) = insurance().await;
    let mut connection = database.connect_as("insurance_service").await;
    let mut sequencer = sequencer(&database, &log);
    let waiting = log.clone();
    let reader = tokio::spawn(async move { waiting.placed_after(0).await });
    drain(&mut sequencer).await;
    yield_now().await;
    assert!(!reader.is_finished());
    append(&log, &mut connection, ("policy", "A"), 1)
        .await
        .unwrap();
    drain(&mut sequencer).await;
    reader.await.unwrap();
}
