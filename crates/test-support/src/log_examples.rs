use http::Method;

use crate::{Api, Examples, TestDatabase, client::keyed, keyless, send, until};

/// Settings for [`record_log`]: a key that reads the log, and one that signs it.
pub const LOG: [(&str, &str); 3] = [
    ("API_KEYS__LOG__KEY", "log-key-0123456789"),
    ("API_KEYS__LOG__SCOPES", "feed,audit"),
    (
        "EVENT_LOG__SIGNING_KEY",
        "1111111111111111111111111111111111111111111111111111111111111111",
    ),
];

const AUDIT: &str = "/api/v1/audit";
const UNKNOWN: &str = "0192f3c4-0000-7000-8000-00000000abcd";

/// Takes what the routes of an event log answer, which every service that keeps one has alike. So
/// many changes of the subject were committed, and nothing is signed yet.
pub async fn record_log(
    examples: &mut Examples,
    (database, api): (&TestDatabase, &Api),
    (subject, changes): (&str, usize),
) {
    let ask = async |path: &str| {
        let request = keyless(Method::GET, path).header("x-api-key", LOG[0].1);
        send(api, request).await
    };
    let feed = format!("/api/v1/events?subject={subject}");
    let page = until(async || {
        let page = ask(&feed).await;
        (page.json().as_array().unwrap().len() == changes).then_some(page)
    })
    .await;
    examples.answer("get_events", "one_thing", &page);
    let page = page.json();
    let event = format!("{AUDIT}/events/{}", page[0]["id"].as_str().unwrap());
    let (kind, id) = subject.split_once('/').unwrap();
    let consistency = format!("{AUDIT}/checkpoint/consistency?from=1");
    for (operation, name, path) in [
        (
            "find_audited_events",
            "one_thing",
            format!("{AUDIT}/events?aggregateType={kind}&aggregateId={id}"),
        ),
        ("get_audited_event", "found", event.clone()),
        (
            "get_statistics",
            "by_type",
            format!("{AUDIT}/statistics?by=type"),
        ),
    ] {
        examples.answer(operation, name, &ask(&path).await);
    }
    let signed = [
        ("get_checkpoint", "last", format!("{AUDIT}/checkpoint")),
        ("get_inclusion_proof", "proof", format!("{event}/proof")),
        ("get_consistency_proof", "proof", consistency),
    ];
    for (operation, _, path) in &signed {
        examples.problem(operation, &ask(path).await);
    }
    // A checkpoint is due after 1000 events.
    let fill = format!(
        "insert into {}_events.events
             (event_id, aggregate_type, aggregate_id, version, event_type, actor, correlation_id, data)
         select gen_random_uuid(), '{kind}', 'N' || n, 1, '{kind}.changed.v1', 'key/log', 'none', '{{}}'
         from generate_series(1, 1000) as n",
        database.service()
    );
    database.execute(&fill).await;
    until(async || (ask(&signed[0].2).await.status == 200).then_some(())).await;
    for (operation, name, path) in &signed {
        examples.answer(operation, name, &ask(path).await);
    }
    for (operation, path) in refused() {
        examples.problem(operation, &ask(&path).await);
    }
    for (operation, path) in [
        ("get_events", "/api/v1/events".to_owned()),
        ("find_audited_events", format!("{AUDIT}/events")),
        ("get_audited_event", event.clone()),
        ("get_statistics", format!("{AUDIT}/statistics?by=type")),
        ("get_inclusion_proof", format!("{event}/proof")),
        ("get_checkpoint", format!("{AUDIT}/checkpoint")),
        ("get_consistency_proof", signed[2].2.clone()),
    ] {
        let answer = send(api, keyed(Method::GET, &path)).await;
        examples.problem(operation, &answer);
    }
}

/// Questions that make no sense, and those about what there is not.
fn refused() -> Vec<(&'static str, String)> {
    let feed = [
        "lastEventId=x",
        "fromPosition=0",
        "since=now",
        "limit=0",
        "timeout=x",
        "types=",
        "subject=x",
        "page=2",
    ];
    let mut refused: Vec<_> = feed
        .iter()
        .map(|query| ("get_events", format!("/api/v1/events?{query}")))
        .collect();
    let gone = format!("/api/v1/events?lastEventId={UNKNOWN}");
    refused.push(("get_events", gone));
    for (operation, path) in [
        ("find_audited_events", "events"),
        ("find_audited_events", "events?aggregateType="),
        ("find_audited_events", "events?aggregateType=x"),
        ("find_audited_events", "events?correlationId="),
        ("find_audited_events", "events?type="),
        ("find_audited_events", "events?actor="),
        (
            "find_audited_events",
            "events?actor=x&from=2999-01-01T00:00:00Z",
        ),
        ("find_audited_events", "events?actor=x&until=now"),
        ("find_audited_events", "events?actor=x&after=x"),
        ("find_audited_events", "events?actor=x&limit=0"),
        ("find_audited_events", "events?actor=x&page=2"),
        ("get_audited_event", "events/x"),
        ("get_audited_event", &format!("events/{UNKNOWN}")),
        ("get_statistics", "statistics"),
        (
            "get_statistics",
            "statistics?by=type&from=2999-01-01T00:00:00Z",
        ),
        ("get_statistics", "statistics?by=type&until=now"),
        ("get_statistics", "statistics?by=type&page=2"),
        ("get_inclusion_proof", "events/x/proof"),
        ("get_inclusion_proof", &format!("events/{UNKNOWN}/proof")),
        (
            "get_inclusion_proof",
            &format!("events/{UNKNOWN}/proof?size=0"),
        ),
        (
            "get_inclusion_proof",
            &format!("events/{UNKNOWN}/proof?page=2"),
        ),
        ("get_checkpoint", "checkpoint?size=0"),
        ("get_checkpoint", "checkpoint?size=1"),
        ("get_checkpoint", "checkpoint?page=2"),
        ("get_consistency_proof", "checkpoint/consistency"),
        (
            "get_consistency_proof",
            "checkpoint/consistency?from=1&to=x",
        ),
        (
            "get_consistency_proof",
            "checkpoint/consistency?from=1&page=2",
        ),
    ] {
        refused.push((operation, format!("{AUDIT}/{path}")));
    }
    refused
}
