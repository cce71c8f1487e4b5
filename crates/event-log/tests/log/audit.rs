use std::time::{Duration, SystemTime};

use event_log::{Answer, Bucket, By, EventLog, Question};
use sqlx::PgConnection;
use test_support::TestDatabase;

use crate::support::{begin_counting, drain, fill, insurance, number, rows_read, sequencer};

const DAY: Duration = Duration::from_hours(24);

/// Everything of today and tomorrow.
fn question() -> Question {
    let now = SystemTime::now();
    Question {
        aggregate: None,
        correlation_id: None,
        event_type: None,
        actor: None,
        from: now - DAY,
        until: now + DAY,
        before: None,
        limit: 20,
    }
}

/// 3,000 events: 30 things of 100 versions, two types, three actors, 300 requests.
async fn filled() -> (TestDatabase, EventLog) {
    let (database, log) = insurance().await;
    let values = "'policy', (n % 30)::text, n / 30 + 1,
        case n % 2 when 0 then 'policy.changed.v1' else 'policy.suspended.v1' end,
        'key/' || n % 3, 'request-' || n % 300";
    fill(&database, 3_000, values).await;
    drain(&mut sequencer(&database, &log)).await;
    (database, log)
}

async fn ask(log: &EventLog, connection: &mut PgConnection, question: &Question) -> Answer {
    log.ask(connection, question).await.unwrap()
}

/// All pages of a question, and how many rows the service reads for each.
async fn all(
    log: &EventLog,
    connection: &mut PgConnection,
    mut question: Question,
) -> (Vec<i64>, Vec<i64>) {
    let (mut positions, mut costs) = (Vec::new(), Vec::new());
    loop {
        let (mut transaction, before) = begin_counting(connection).await;
        let answer = ask(log, &mut transaction, &question).await;
        costs.push(rows_read(&mut transaction).await - before);
        transaction.rollback().await.unwrap();
        positions.extend(answer.events.iter().map(|it| it.position));
        match answer.next {
            Some(next) => question.before = Some(next),
            None => return (positions, costs),
        }
    }
}

#[tokio::test]
async fn each_question_has_its_events_newest_first_and_page_n_costs_as_page_1() {
    let (database, log) = filled().await;
    let mut connection = database.connect_as("insurance_service").await;
    let some = |text: &str| Some(text.to_owned());
    let thing = || Some(("policy".to_owned(), "7".to_owned()));
    // The last one: the most rows that a page reads beside the two searches for the window.
    for (question, matching, most) in [
        (
            Question {
                aggregate: thing(),
                ..question()
            },
            "aggregate_id = '7'",
            50,
        ),
        (
            Question {
                aggregate: thing(),
                actor: some("key/1"),
                ..question()
            },
            "aggregate_id = '7' and events.actor = 'key/1'",
            150,
        ),
        (
            Question {
                correlation_id: some("request-7"),
                ..question()
            },
            "correlation_id = 'request-7'",
            50,
        ),
        (
            Question {
                aggregate: thing(),
                correlation_id: some("request-7"),
                ..question()
            },
            "aggregate_id = '7' and correlation_id = 'request-7'",
            210,
        ),
        (
            Question {
                event_type: some("policy.changed.v1"),
                ..question()
            },
            "events.event_type = 'policy.changed.v1'",
            50,
        ),
        (
            Question {
                actor: some("key/2"),
                ..question()
            },
            "events.actor = 'key/2'",
            50,
        ),
        (
            Question {
                event_type: some("policy.changed.v1"),
                actor: some("key/2"),
                ..question()
            },
            "events.event_type = 'policy.changed.v1' and events.actor = 'key/2'",
            200,
        ),
        (question(), "true", 50),
        (
            Question {
                correlation_id: some("none"),
                ..question()
            },
            "true",
            50,
        ),
    ] {
        let expected = format!(
            "select coalesce(sum(position * position), 0)::bigint from insurance_events.log
             join insurance_events.events using (event_id) where {matching}"
        );
        let expected = number(&mut connection, &expected).await;
        let (positions, costs) = all(&log, &mut connection, question).await;
        assert_eq!(
            positions.iter().map(|it| it * it).sum::<i64>(),
            expected,
            "{matching}"
        );
        assert!(
            positions.is_sorted_by(|newer, older| newer > older),
            "{matching}"
        );
        let searches = 40;
        assert!(
            costs.iter().all(|cost| *cost <= most + searches),
            "{matching}: {costs:?}"
        );
    }
}

/// The planner takes any type or actor for one of many events, and would walk over all others from
/// the newest one on.
#[tokio::test]
async fn what_is_rare_and_old_is_found_by_its_own_index_whatever_the_plan() {
    let (database, log) = insurance().await;
    let values = "'policy', n::text, 1,
        case when n <= 3 then 'policy.rare.v1' else 'policy.drafted.v1' end,
        case when n <= 3 then 'key/rare' else 'key/desk' end, 'none'";
    fill(&database, 5_000, values).await;
    drain(&mut sequencer(&database, &log)).await;
    database
        .execute("analyze insurance_events.log, insurance_events.events")
        .await;
    let mut connection = database.connect_as("insurance_service").await;
    let (rare, actor) = ("policy.rare.v1".to_owned(), "key/rare".to_owned());
    for (event_type, actor) in [
        (Some(rare.clone()), None),
        (None, Some(actor.clone())),
        (Some(rare), Some(actor)),
    ] {
        let question = Question {
            event_type,
            actor,
            ..question()
        };
        let (positions, costs) = all(&log, &mut connection, question).await;
        assert_eq!(positions, [3, 2, 1]);
        // Beside the searches for the window.
        assert!(costs.iter().all(|cost| *cost <= 80), "{costs:?}");
    }
    // The one leaps over what the other has between.
    for (event_type, actor) in [
        ("policy.drafted.v1", "key/rare"),
        ("policy.rare.v1", "key/desk"),
    ] {
        let question = Question {
            event_type: Some(event_type.to_owned()),
            actor: Some(actor.to_owned()),
            ..question()
        };
        let (positions, costs) = all(&log, &mut connection, question).await;
        assert_eq!((positions, costs.len()), (vec![], 1));
        assert!(costs[0] <= 80, "{costs:?}");
    }
}

#[tokio::test]
async fn the_window_holds() {
    let (database, log) = filled().await;
    let mut connection = database.connect_as("insurance_service").await;
    let first = ask(
        &log,
        &mut connection,
        &Question {
            before: Some(1_001),
            ..question()
        },
    )
    .await;
    let moment = SystemTime::from(first.events[0].placed_at);
    let earlier = Question {
        until: moment,
        limit: 500,
        ..question()
    };
    let later = Question {
        from: moment,
        ..question()
    };
    let (earlier, _) = all(&log, &mut connection, earlier).await;
    let (later, _) = all(&log, &mut connection, later).await;
    assert_eq!(earlier.len() + later.len(), 3_000);
    // A batch has one time.
    assert_eq!(earlier.first(), Some(&500));
    let never = Question {
        from: SystemTime::now() + DAY,
        ..question()
    };
    assert!(all(&log, &mut connection, never).await.0.is_empty());
}

/// Types and actors alternate, so that neither leaps over anything: a page looks 300 times.
#[tokio::test]
async fn a_page_that_finds_too_little_says_where_to_go_on() {
    let (database, log) = insurance().await;
    let mut connection = database.connect_as("insurance_service").await;
    let values = "'policy', n::text, 1,
        case when n % 2 = 1 or n <= 4 then 'policy.drafted.v1' else 'policy.changed.v1' end,
        case when n % 2 = 0 or n <= 3 then 'key/rare' else 'key/desk' end, 'none'";
    fill(&database, 614, values).await;
    drain(&mut sequencer(&database, &log)).await;
    let rare = Question {
        event_type: Some("policy.drafted.v1".to_owned()),
        actor: Some("key/rare".to_owned()),
        ..question()
    };
    let first = ask(&log, &mut connection, &rare).await;
    assert_eq!((first.events.len(), first.next), (0, Some(15)));
    let (positions, costs) = all(&log, &mut connection, rare).await;
    assert_eq!((positions, costs.len()), (vec![4, 3, 2, 1], 2));
    assert!(costs[0] <= 690, "{costs:?}");
}

/// A page of one thing or one request looks at 300 events.
#[tokio::test]
async fn what_has_many_events_is_read_in_pages_however_few_are_found() {
    let (database, log) = insurance().await;
    let mut connection = database.connect_as("insurance_service").await;
    let values = "'policy', 'A', n, 'policy.drafted.v1',
        case when n <= 3 then 'key/rare' else 'key/desk' end, 'request-1'";
    fill(&database, 2_010, values).await;
    drain(&mut sequencer(&database, &log)).await;
    let thing = Question {
        aggregate: Some(("policy".to_owned(), "A".to_owned())),
        ..question()
    };
    let request = Question {
        correlation_id: Some("request-1".to_owned()),
        ..question()
    };
    for question in [thing, request] {
        let (positions, costs) = all(&log, &mut connection, question.clone()).await;
        assert!(positions.into_iter().eq((1..=2_010).rev()));
        assert!(costs.iter().all(|cost| *cost <= 90), "{costs:?}");
        let rare = Question {
            actor: Some("key/rare".to_owned()),
            ..question.clone()
        };
        let first = ask(&log, &mut connection, &rare).await;
        assert_eq!((first.events.len(), first.next), (0, Some(1_711)));
        let (positions, costs) = all(&log, &mut connection, rare).await;
        assert_eq!((positions, costs.len()), (vec![3, 2, 1], 7));
        // Once for what is found, and once for where the next page begins.
        assert!(costs.iter().all(|cost| *cost <= 690), "{costs:?}");
        let never = Question {
            until: SystemTime::now() - DAY / 2,
            ..question
        };
        let (positions, costs) = all(&log, &mut connection, never).await;
        assert_eq!((positions, costs.len()), (vec![], 7));
        assert!(costs.iter().all(|cost| *cost <= 990), "{costs:?}");
    }
}

#[tokio::test]
async fn a_page_is_cut_at_a_mebibyte() {
    let (database, log) = insurance().await;
    let mut connection = database.connect_as("insurance_service").await;
    let values = "'policy', 'A', n, 'policy.drafted.v1', 'key/desk', 'request-1'";
    fill(&database, 100, values).await;
    let lengthen = "alter table insurance_events.events disable trigger append_only;
        update insurance_events.events set data = to_json(repeat('x', 16000))";
    database.execute(lengthen).await;
    drain(&mut sequencer(&database, &log)).await;
    let some = |text: &str| Some(text.to_owned());
    let most = (1 << 20) / 16_002 + 1;
    for narrowed in [
        Question {
            aggregate: Some(("policy".to_owned(), "A".to_owned())),
            ..question()
        },
        Question {
            correlation_id: some("request-1"),
            ..question()
        },
        Question {
            event_type: some("policy.drafted.v1"),
            ..question()
        },
        question(),
    ] {
        let mut wide = Question {
            limit: 500,
            ..narrowed
        };
        let first = ask(&log, &mut connection, &wide).await;
        let positions = first.events.iter().map(|it| it.position);
        assert!(positions.eq((101 - most..=100).rev()));
        wide.before = first.next;
        let second = ask(&log, &mut connection, &wide).await;
        let positions = second.events.iter().map(|it| it.position);
        assert!(positions.eq((1..=100 - most).rev()));
        assert_eq!(second.next, None);
    }
}

#[tokio::test]
async fn one_event_is_found_by_its_id() {
    let (database, log) = filled().await;
    let mut connection = database.connect_as("insurance_service").await;
    let newest = ask(&log, &mut connection, &question())
        .await
        .events
        .remove(0);
    let found = log.event(&mut connection, newest.event_id).await.unwrap();
    assert_eq!(found, Some(newest));
    let other = event_log::new_event_id();
    assert_eq!(log.event(&mut connection, other).await.unwrap(), None);
}

#[tokio::test]
async fn events_are_counted_while_they_are_placed() {
    let (database, log) = filled().await;
    let mut connection = database.connect_as("insurance_service").await;
    let bucket = |key: &str, count| Bucket {
        key: key.to_owned(),
        count,
    };
    let now = SystemTime::now();
    let mut count = async |by, until| {
        log.count(&mut connection, by, (now - DAY, until))
            .await
            .unwrap()
    };
    let types = [
        bucket("policy.changed.v1", 1_500),
        bucket("policy.suspended.v1", 1_500),
    ];
    assert_eq!(count(By::Type, now + DAY).await.unwrap(), types);
    let actors = [
        bucket("key/0", 1_000),
        bucket("key/1", 1_000),
        bucket("key/2", 1_000),
    ];
    assert_eq!(count(By::Actor, now + DAY).await.unwrap(), actors);
    let hours = count(By::Hour, now + DAY).await.unwrap();
    assert_eq!(hours.iter().map(|it| it.count).sum::<i64>(), 3_000);
    assert!(hours[0].key.ends_with(":00:00Z"), "{hours:?}");
    assert_eq!(count(By::Type, now - DAY / 2).await.unwrap(), []);
}
